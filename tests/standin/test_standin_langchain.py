"""The stand-ins serve the providers' own LangChain classes, as `litellm_enable = false` uses them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from google.oauth2.service_account import Credentials
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from pydantic import BaseModel, SecretStr

from liverouter.testing import StandIn, service_account_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from langchain_core.language_models import BaseChatModel

# google-genai's own: it subclasses aiohttp's session
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_KEY = SecretStr("standin-key")


class Thing(BaseModel):
    """A thing."""

    name: str
    count: int


@tool
def get_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"


@dataclass(frozen=True, slots=True)
class Client:
    """A LangChain class on a stand-in."""

    name: str
    provider: str
    says: str
    make: Callable[[StandIn], BaseChatModel]
    close: Callable[[Any], Awaitable[None]]


def _openai(standin: StandIn) -> BaseChatModel:
    return ChatOpenAI(model="gpt-4o", base_url=standin.api_base, api_key=_KEY, stream_usage=True, max_retries=0)


def _azure(standin: StandIn) -> BaseChatModel:
    return AzureChatOpenAI(
        azure_endpoint=standin.api_base,
        azure_deployment="my-deployment",
        api_version="2024-10-21",
        api_key=_KEY,
        max_retries=0,
    )


def _anthropic(standin: StandIn, temperature: float | None = None) -> BaseChatModel:
    return ChatAnthropic(
        model_name="claude-sonnet-4-6",
        base_url=standin.api_base,
        api_key=_KEY,
        temperature=temperature,
        max_retries=0,
        timeout=None,
        stop=None,
    )


async def _close_anthropic(model: Any) -> None:
    await model._async_client.close()  # noqa: SLF001 - it has no other way


def _credentials(standin: StandIn) -> Credentials:
    info = json.loads(service_account_json(standin.base_url))
    read: Callable[..., Credentials] = Credentials.from_service_account_info
    return read(info, scopes=[_SCOPE])


def _gemini(standin: StandIn) -> BaseChatModel:
    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash",
        vertexai=True,
        project="standin-project",
        location="us-east5",
        credentials=_credentials(standin),
        base_url=standin.api_base,
        max_retries=1,
    )


def _cortex(standin: StandIn) -> BaseChatModel:
    base_url = standin.api_base + "/cortex/v1"
    return ChatOpenAI(model="llama3.1-70b", base_url=base_url, api_key=_KEY, stream_usage=True, max_retries=0)


CLIENTS = (
    Client("openai", "openai", "gpt-4o says: ", _openai, lambda model: model.root_async_client.close()),
    Client("azure", "azure-openai", "my-deployment says: ", _azure, lambda model: model.root_async_client.close()),
    Client("anthropic", "anthropic", "claude-sonnet-4-6 says: ", _anthropic, _close_anthropic),
    Client("gemini", "vertex-ai", "gemini-2.5-flash says: ", _gemini, lambda model: model.client.aio.aclose()),
    Client("cortex", "snowflake-cortex", "llama3.1-70b says: ", _cortex, lambda model: model.root_async_client.close()),
)


@asynccontextmanager
async def serving(client: Client) -> AsyncIterator[Any]:
    """Yield the model; in the end nothing that it sent was foreign to its provider."""
    async with StandIn(client.provider) as standin:
        model = client.make(standin)
        try:
            yield model
        finally:
            await client.close(model)
        assert standin.violations == ()


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    """Each class."""
    found: Client = request.param
    return found


class TestPlainClients:
    async def test_invoke(self, client: Client) -> None:
        """Text and usage."""
        async with serving(client) as model:
            message = await model.ainvoke("one two three")
        assert message.text == client.says + "one two three"
        assert message.usage_metadata["input_tokens"] == 4

    async def test_stream(self, client: Client) -> None:
        """Several chunks; merged they are the whole, with usage."""
        async with serving(client) as model:
            chunks = [chunk async for chunk in model.astream("one two three")]
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        assert (whole.text, len([chunk for chunk in chunks if chunk.text])) == (client.says + "one two three", 5)
        assert whole.usage_metadata["input_tokens"] == 4

    async def test_tools(self, client: Client) -> None:
        """A forced call, its result, and an answer that takes it up."""
        async with serving(client) as model:
            call = await model.bind_tools([get_weather], tool_choice="any").ainvoke("weather?")
            result = ToolMessage("rain", tool_call_id=call.tool_calls[0]["id"], name="get_weather")
            answer = await model.bind_tools([get_weather]).ainvoke([HumanMessage("weather?"), call, result])
        assert [(one["name"], one["args"]) for one in call.tool_calls] == [("get_weather", {"city": "city"})]
        assert answer.text == client.says + "rain"

    async def test_structured_output(self, client: Client) -> None:
        """By whatever method the class prefers."""
        async with serving(client) as model:
            thing = await model.with_structured_output(Thing).ainvoke("give me 7")
        assert thing == Thing(name="name", count=7)


class TestAnthropicVersion:
    async def test_its_sdk_may_send_no_temperature(self) -> None:
        """API version 2026-10-21, which the SDK names, refuses it; litellm names 2023-06-01, which does not."""
        async with StandIn("anthropic") as standin:
            model = _anthropic(standin, temperature=0.2)
            with pytest.raises(Exception, match="temperature: Extra inputs are not permitted"):
                await model.ainvoke("hi")
            await _close_anthropic(model)
            assert standin.requests[0].headers["anthropic-version"] == "2026-10-21"

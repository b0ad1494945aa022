"""The wire formats there are, as litellm is told to use them."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from liverouter.testing import service_account_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.testing import StandIn

# litellm's own: its types, which pydantic reads when the first chunk is made, and how it looks for empty chunks
LITELLM_WARNINGS = (
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class .* `ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
)
PAT = "standin-token"
JWT = "standin.json.token"
_DEPLOYMENT = "my-deployment"


@dataclass(frozen=True, slots=True)
class Wire:
    """One provider and body format."""

    name: str
    provider: str
    model: str  # as litellm knows it
    path: str  # where a whole answer comes from
    params: Callable[[StandIn], dict[str, Any]]

    @property
    def says(self) -> str:
        """How the default answer begins."""
        return self.model.split("/")[-1] + " says: "


def _vertex(standin: StandIn) -> dict[str, Any]:
    return {
        "api_base": standin.api_base,
        "vertex_project": "standin-project",
        "vertex_location": "us-east5",
        "vertex_credentials": service_account_json(standin.base_url),
    }


def _azure(standin: StandIn) -> dict[str, Any]:
    return {"api_base": standin.api_base, "api_key": "standin-key", "api_version": "2024-10-21"}


def _azure_v1(standin: StandIn) -> dict[str, Any]:
    return {"api_base": standin.api_base, "azure_ad_token": "standin-token", "api_version": "v1"}


def _plain(standin: StandIn) -> dict[str, Any]:
    return {"api_base": standin.api_base, "api_key": "standin-key"}


_MODELS = "/v1/projects/standin-project/locations/us-east5/publishers"
_CLAUDE = "claude-sonnet-4-5@20250929"

WIRES: tuple[Wire, ...] = (
    Wire("openai", "openai", "openai/gpt-4o", "/v1/chat/completions", _plain),
    Wire(
        "azure",
        "azure-openai",
        f"azure/{_DEPLOYMENT}",
        f"/openai/deployments/{_DEPLOYMENT}/chat/completions",
        _azure,
    ),
    Wire("azure-v1", "azure-openai", f"azure/{_DEPLOYMENT}", "/openai/v1/chat/completions", _azure_v1),
    Wire("anthropic", "anthropic", "anthropic/claude-sonnet-4-5", "/v1/messages", _plain),
    Wire(
        "vertex-gemini",
        "vertex-ai",
        "vertex_ai/gemini-2.5-flash",
        f"{_MODELS}/google/models/gemini-2.5-flash:generateContent",
        _vertex,
    ),
    Wire(
        "vertex-claude",
        "vertex-ai",
        f"vertex_ai/{_CLAUDE}",
        f"{_MODELS}/anthropic/models/{_CLAUDE}:rawPredict",
        _vertex,
    ),
    Wire(
        "snowflake",
        "snowflake-cortex",
        "snowflake/llama3.1-70b",
        "/api/v2/cortex/v1/chat/completions",
        lambda standin: {"api_base": standin.api_base, "api_key": f"pat/{PAT}"},
    ),
    Wire(
        "snowflake-claude",
        "snowflake-cortex",
        "snowflake/claude-sonnet-4-5",
        "/api/v2/cortex/v1/messages",
        lambda standin: {"api_base": standin.api_base, "api_key": JWT},
    ),
)

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


def user(text: str) -> list[dict[str, Any]]:
    """Return a history of one user turn."""
    return [{"role": "user", "content": text}]


async def complete(wire: Wire, standin: StandIn, **request: Any) -> Any:
    """Ask through bare litellm, one attempt, and return a stream as its chunks."""
    import litellm

    params = {"timeout": 5, "num_retries": 0, "max_retries": 0, "messages": user("hi"), **wire.params(standin)}
    answer = await litellm.acompletion(model=wire.model, **{**params, **request})
    return [chunk async for chunk in answer] if request.get("stream") else answer


def text_of(chunks: list[Any]) -> list[str]:
    """Return the pieces of text in a stream."""
    texts = (chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
    return [text for text in texts if text]


async def close_clients() -> None:
    """Close the clients that litellm keeps for this event loop, and forget them: the next loop may get the same id.

    The client of Gemini's streams is kept for the whole process, with the timeout that was in force when it was made.
    """
    litellm = sys.modules["litellm"]
    kept: dict[str, Any] = litellm.in_memory_llm_clients_cache.cache_dict
    for key in [key for key in kept if key.endswith(f"-{id(asyncio.get_running_loop())}")]:
        await kept.pop(key).close()
    vars(litellm).pop("module_level_aclient", None)  # made anew when it is next asked for

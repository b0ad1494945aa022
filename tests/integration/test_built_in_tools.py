"""Tools that a provider runs itself: its own reach it, another one's are left out, or are what the call is about."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.exceptions import ModelInvalidRequestError

from liverouter.errors import CallError
from liverouter.events import CallFitted
from liverouter.testing import EventLog, MemoryRouter, StandIn
from tests.kit.hostile import OK, Hostile, answers
from tests.kit.standins import KEY, bodies, live, primary, served

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB_SEARCH: Final = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
CODE: Final = {"type": "code_execution_20250825", "name": "code_execution"}
GOOGLE: Final[dict[str, Any]] = {"googleSearch": {}}
URL_CONTEXT: Final[dict[str, Any]] = {"url_context": {}}
OPENAI: Final = tuple(
    {"type": kind}
    for kind in ("web_search", "code_interpreter", "file_search", "image_generation", "mcp", "computer_use_preview")
)
EVERY: Final[tuple[dict[str, Any], ...]] = (WEB_SEARCH, CODE, GOOGLE, URL_CONTEXT, *OPENAI)
PLACES: Final = {
    ("anthropic", "claude-sonnet-4-6"): (WEB_SEARCH, CODE),
    ("vertex-ai", "claude-sonnet-4-6"): (WEB_SEARCH,),
    ("vertex-ai", "gemini-3-flash-preview"): (GOOGLE, URL_CONTEXT),
    ("openai", "gpt-4o"): (),  # of its other API alone, see below
    ("azure-openai", "prod"): (),
    ("snowflake-cortex", "claude-sonnet-4-6"): (),
    ("snowflake-cortex", "llama3.1-70b"): (),
}


def strangers(place: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the built-in tools of other providers than *place*'s."""
    return [t for t in EVERY if t not in PLACES[place] and not (place[0] == "openai" and t in OPENAI)]


def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


def sent(standin: StandIn) -> list[str]:
    """Return the names of the tools in the newest request, of Gemini's those of their members."""
    tools = bodies(standin)[-1].get("tools", [])
    named = [tool.get("name") or tool.get("function", {}).get("name") for tool in tools]
    return sorted(name for tool, own in zip(tools, named, strict=True) for name in ([own] if own else tool))


@pytest.fixture(scope="module", params=[True, False])
def clients(request: pytest.FixtureRequest) -> Iterator[dict[Any, tuple[StandIn, MemoryRouter]]]:
    """A stand-in and a client of each place, with litellm and without."""
    with ExitStack() as stack:
        made = {}
        for provider, model in PLACES:
            standin = stack.enter_context(StandIn(provider))
            client = stack.enter_context(live(standin, model=model, litellm_enable=request.param))
            made[provider, model] = (standin, client)
        yield made


@pytest.mark.parametrize(("place", "tool"), [(place, tool) for place, own in PLACES.items() for tool in own])
def test_a_providers_own_tool_reaches_it(clients: Any, place: Any, tool: Any) -> None:
    """Alone, and beside a function where the provider takes both."""
    standin, client = clients[place]
    client.chat_model().bind_tools([tool]).invoke("hi")
    (only,) = sent(standin)
    assert only.lower().replace("_", "") in json.dumps(tool).lower().replace("_", "")


@pytest.mark.parametrize("place", PLACES)
class TestStrangers:
    def test_beside_others_they_are_left_out(self, clients: Any, place: Any) -> None:
        """The function stays, and a tool must be called as before."""
        standin, client = clients[place]
        model = client.chat_model().bind_tools([*strangers(place), add], tool_choice="any")
        assert [call["name"] for call in model.invoke("1 and 2").tool_calls] == ["add"]
        assert len(bodies(standin)[-1]["tools"]) == 1

    def test_a_call_about_one_is_one_error(self, clients: Any, place: Any) -> None:
        """Nothing leaves, nobody cools; the error says what is missing."""
        standin, client = clients[place]
        before = len(standin.requests)
        for tool in strangers(place):
            with pytest.raises(CallError, match="has no built-in tool") as caught:
                client.chat_model().bind_tools([tool]).invoke("hi")
            assert caught.value.code == "LR314"
            assert isinstance(caught.value, ModelInvalidRequestError)
        assert len(standin.requests) == before
        assert client.generation().cooling == {}


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "web_search"}, "web_search", "web_search_20250305"])
def test_a_forced_tool_is_what_the_call_is_about(clients: Any, choice: Any) -> None:
    """A function beside it does not make up for it."""
    _, client = clients["openai", "gpt-4o"]
    with pytest.raises(CallError, match="'web_search_20250305'"):
        client.chat_model().bind_tools([WEB_SEARCH, add], tool_choice=choice).invoke("hi")


@pytest.mark.parametrize("enabled", [True, False])
class TestSeveral:
    def test_the_walk_goes_on_to_who_has_the_tool(self, *, enabled: bool) -> None:
        """The primary is asked nothing, and cools not; the fallback, whose tool it is, answers."""
        with StandIn("openai") as first, StandIn("anthropic") as second:
            with live(first, second, litellm_enable=enabled, litellm_allowed_fails=0) as client:
                message = client.chat_model().bind_tools([WEB_SEARCH]).invoke("hi")
                assert served(message)["provider"] == "anthropic"
                assert client.generation().cooling == {}
            assert (len(first.requests), sent(second)) == (0, ["web_search"])

    def test_after_a_swap_the_other_tools_serve_and_an_event_tells(self, *, enabled: bool) -> None:
        """A bound model goes on with what the new provider has."""
        events = EventLog()
        with (
            StandIn("anthropic") as first,
            StandIn("openai") as second,
            live(first, second, observers=(events,), llm_fallback_config=None, litellm_enable=enabled) as client,
        ):
            model = client.chat_model().bind_tools([WEB_SEARCH, add])
            model.invoke("hi")
            assert sent(first) == ["add", "web_search"]
            client.set(**primary(second))
            model.invoke("hi")
            assert sent(second) == ["add"]
        (told,) = events.of(CallFitted)
        assert told.parameters == ("tool web_search_20250305",)


def test_openais_own_go_to_its_other_api_without_litellm() -> None:
    """They are of the Responses API, to which its LangChain class turns; with litellm there is no way there."""
    body = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "gpt-4o",
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "found", "annotations": []}],
            }
        ],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    asked: list[bytes] = []
    text = json.dumps(body).encode()

    def script(connection: Any) -> None:
        asked.append(connection.head)
        answers(OK, text)(connection)

    with Hostile(script) as server:
        rows = {"llm_provider": "openai", "llm_model": "gpt-4o", "openai_api_base": f"{server.origin}/v1"}
        with MemoryRouter(rows | {"litellm_enable": False}, secrets={"openai_api_key": KEY}) as client:
            message = client.chat_model().bind_tools([{"type": "web_search"}, add]).invoke("hi")
    assert message.text == "found"
    assert asked[0].startswith(b"POST /v1/responses ")

"""What the real APIs refuse of histories, tools and schemas the stand-ins refuse: no test would see it otherwise."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from liverouter.testing import StandIn
from tests.kit.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WAIT_S: Final = 60.0  # for an answer, however busy the machine is
BEARER: Final = {"authorization": "Bearer k"}
CLAUDE: Final = {**BEARER, "x-api-key": "k", "anthropic-version": "2023-06-01"}
HEADERS: Final[Mapping[str, dict[str, str]]] = {
    "openai": BEARER,
    "azure-openai": {"api-key": "k"},
    "anthropic": CLAUDE,
    "vertex-ai": BEARER,
    "vertex-ai claude": BEARER,
    "snowflake": BEARER,
    "snowflake claude": CLAUDE,
}
CHATS: Final = ("openai", "azure-openai", "snowflake")
CLAUDES: Final = ("anthropic", "vertex-ai claude", "snowflake claude")
OPEN: Final = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED: Final = {**OPEN, "required": ["a"], "additionalProperties": False}
PIXEL: Final = "data:image/png;base64,AAAA"


@pytest.fixture(scope="module")
def standins() -> Iterator[dict[str, StandIn]]:
    """One stand-in for each provider."""
    running = {name: StandIn(name).start() for name in {DIALECTS[dialect].provider for dialect in HEADERS}}
    yield running
    for standin in running.values():
        standin.stop()


def ask(standins: Mapping[str, StandIn], name: str, body: dict[str, Any]) -> httpx.Response:
    """Ask the dialect *name* with *body* and what every request of it must have."""
    dialect = DIALECTS[name]
    more: dict[str, Any] = {"model": dialect.model} if name not in ("azure-openai", "vertex-ai") else {}
    if name in CLAUDES:
        more |= {"max_tokens": 9000}
    if name == "vertex-ai claude":
        more = {"max_tokens": 9000, "anthropic_version": "vertex-2023-10-16"}
    return httpx.post(
        standins[dialect.provider].base_url + dialect.path,
        headers=HEADERS[name],
        params={"api-version": "2024-10-21"} if name == "azure-openai" else {},
        json={**more, **body},
        timeout=WAIT_S,
    )


def said(role: str, content: Any = "hi", **more: Any) -> dict[str, Any]:
    """Return a message."""
    return {"role": role, "content": content, **more}


def calls(*ids: str, name: str = "f") -> list[dict[str, Any]]:
    """Return OpenAI's tool calls with these *ids*."""
    return [{"id": one, "type": "function", "function": {"name": name, "arguments": "{}"}} for one in ids]


def chat(*messages: dict[str, Any]) -> dict[str, Any]:
    """Return OpenAI's body of *messages*."""
    return {"messages": [said("user"), *messages]}


def function(**more: Any) -> dict[str, Any]:
    """Return OpenAI's tool."""
    return {"type": "function", "function": {"name": "f", "parameters": CLOSED, **more}}


GOOD_CHAT: Final = chat(
    said("assistant", None, tool_calls=calls("a", "b")),
    said("tool", "1", tool_call_id="b"),
    said("tool", [{"type": "text", "text": "2"}, {"type": "text", "text": "3"}], tool_call_id="a"),
    said("user", [{"type": "text", "text": "and?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]),
) | {"tools": [function(strict=True)], "tool_choice": "auto"}
BAD_CHAT: Final[Mapping[str, dict[str, Any]]] = {
    "no such tool": chat() | {"tools": [{"type": "web_search"}]},
    "an open strict tool": chat() | {"tools": [function(parameters=OPEN, strict=True)]},
    "a strict tool with an optional property": chat()
    | {"tools": [function(parameters={**OPEN, "additionalProperties": False}, strict=True)]},
    "a strict schema that is open deep inside": chat()
    | {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "x",
                "strict": True,
                "schema": {**CLOSED, "properties": {"a": {"type": "array", "items": OPEN}}},
            },
        }
    },
    "a union at the top": chat() | {"tools": [function(parameters={"anyOf": [CLOSED]})]},
    "no tools": chat() | {"tools": []},
    "a choice without tools": chat() | {"tool_choice": "auto"},
    "two tools of a name": chat() | {"tools": [function(), function()]},
    "an odd tool name": chat() | {"tools": [function(name="a.b")]},
    "a long tool name": chat() | {"tools": [function(name="x" * 65)]},
    "a long id": chat(said("assistant", None, tool_calls=calls("x" * 41)), said("tool", tool_call_id="x" * 41)),
    "an odd name in a call": chat(
        said("assistant", None, tool_calls=calls("a", name="a b")), said("tool", tool_call_id="a")
    ),
    "a result without a call": chat(said("tool", "1", tool_call_id="a")),
    "a call without a result": chat(said("assistant", None, tool_calls=calls("a")), said("user")),
    "a result that comes late": chat(
        said("assistant", None, tool_calls=calls("a")), said("user"), said("tool", tool_call_id="a")
    ),
    "no content": chat(said("user", [])),
    "reasoning": chat(said("assistant", [{"type": "reasoning", "summary": []}])),
    "an image of the assistant": chat(said("assistant", [{"type": "image_url", "image_url": {"url": PIXEL}}])),
    "an image of the system": chat(said("system", [{"type": "image_url", "image_url": {"url": PIXEL}}])),
    "an image of a tool": chat(
        said("assistant", None, tool_calls=calls("a")),
        said("tool", [{"type": "image_url", "image_url": {"url": PIXEL}}], tool_call_id="a"),
    ),
    "an unknown member": chat(said("assistant", "hm", reasoning_content="hm"), said("user")),
    "an unknown member of a part": chat(said("user", [{"type": "text", "text": "x", "cache_control": {}}])),
    "a name with a space": chat(said("user", name="a b")),
    "an unknown part": chat(said("user", [{"type": "document"}])),
}


def use(*ids: str) -> dict[str, Any]:
    """Return Claude's message with calls."""
    return said("assistant", [{"type": "tool_use", "id": one, "name": "f", "input": {}} for one in ids])


def result(*ids: str, content: Any = "1") -> list[dict[str, Any]]:
    """Return the blocks that answer these calls."""
    return [{"type": "tool_result", "tool_use_id": one, "content": content} for one in ids]


IMAGE: Final = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
SCHEMA: Final = {"name": "f", "input_schema": {"type": "object"}}
GOOD_MESSAGES: Final = chat(
    use("a", "b"),
    said("user", [*result("b", "a", content=[IMAGE]), {"type": "text", "text": "and?"}]),
    said("assistant", [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]),
    said("user"),
) | {"tools": [SCHEMA, {"type": "web_search_20250305", "name": "web_search"}], "tool_choice": {"type": "auto"}}
BAD_MESSAGES: Final[Mapping[str, dict[str, Any]]] = {
    "an empty text block": chat(said("user", [{"type": "text", "text": ""}])),
    "a blank text": chat(said("user", " \n")),
    "an empty message": chat(said("assistant", []), said("user")),
    "an odd id": chat(use("a:b"), said("user", result("a:b"))),
    "an id twice": chat(use("a"), said("user", result("a")), use("a"), said("user", result("a"))),
    "a union at the top": chat() | {"tools": [{"name": "f", "input_schema": {"type": "object", "anyOf": []}}]},
    "two tools of a name": chat() | {"tools": [SCHEMA, SCHEMA]},
    "an odd tool name": chat() | {"tools": [{**SCHEMA, "name": "a.b"}]},
    "a stranger's tool": chat() | {"tools": [{"type": "code_interpreter"}]},
    "a choice without tools": chat() | {"tool_choice": {"type": "auto"}},
    "a call without a result": chat(use("a"), said("user")),
    "a call at the end": chat(use("a")),
    "a result without a call": chat(said("user", result("a"))),
    "a text before the results": chat(use("a"), said("user", [{"type": "text", "text": "x"}, *result("a")])),
    "two results of a call": chat(use("a"), said("user", result("a", "a"))),
    "a system message": chat(said("system")),
    "an image of the system": chat() | {"system": [IMAGE]},
    "an unknown block": chat(said("user", [{"type": "image_url", "image_url": {"url": PIXEL}}])),
    "an unknown member": chat(said("user", [{"type": "text", "text": "x", "id": "1"}])),
    "an image of the assistant": chat(said("assistant", [IMAGE]), said("user")),
    "a list in a text": chat(said("assistant", [{"type": "text", "text": [{"type": "text"}]}]), said("user")),
    "an unknown block in a result": chat(use("a"), said("user", result("a", content=[{"type": "json"}]))),
    "an assistant that begins": {"messages": [said("assistant"), said("user")]},
    "an answer begun, where none may be": chat(said("assistant")),
    "a stranger's thinking": chat(
        said("assistant", [{"type": "thinking", "thinking": "x", "signature": "x"}]), said("user")
    ),
}


def turn(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """Return Gemini's turn, by default with a text."""
    return {"role": role, "parts": list(parts) or [{"text": "hi"}]}


def contents(*turns: dict[str, Any]) -> dict[str, Any]:
    """Return Gemini's body of *turns*."""
    return {"contents": [turn("user"), *turns]}


def declared(**parameters: Any) -> dict[str, Any]:
    """Return Gemini's body with a function of these *parameters*."""
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING", **parameters}}}
    return contents() | {"tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]}


CALL: Final = {"functionCall": {"name": "f", "args": {}}}
RESPONSE: Final = {"functionResponse": {"name": "f", "response": {"output": "1"}}}
GOOD_CONTENTS: Final = contents(turn("model", {"text": "x"}, CALL, CALL), turn("user", RESPONSE, RESPONSE)) | {
    "tools": declared(nullable=True)["tools"]
}
BAD_CONTENTS: Final[Mapping[str, dict[str, Any]]] = {
    "additional properties": declared(additionalProperties=False),
    "definitions": declared(**{"$defs": {}}),
    "a reference": declared(**{"$ref": "#/$defs/x"}),
    "two types": declared(type=["string", "null"]),
    "a response without a call": contents(turn("user", RESPONSE)),
    "a response too few": contents(turn("model", CALL, CALL), turn("user", RESPONSE)),
    "a response of another": contents(
        turn("model", CALL), turn("user", {"functionResponse": {"name": "g", "response": {}}})
    ),
    "a call without a response": contents(turn("model", CALL), turn("user")),
    "a call after the model's own turn": contents(turn("model"), turn("model", CALL), turn("user", RESPONSE)),
    "a model that begins with a call": {"contents": [turn("model", CALL), turn("user", RESPONSE)]},
    "a model that ends": contents(turn("model")),
    "an unknown part": contents(turn("user", {"type": "text", "text": "x"})),
    "an empty part": contents(turn("user", {})),
    "an empty text": contents(turn("user", {"text": ""})),
    "another role": contents(turn("function", RESPONSE)),
    "two functions of a name": contents() | {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]},
}
LISTED: Final = [{"type": "text", "text": "x"}]
BAD_CORTEX: Final[Mapping[str, dict[str, Any]]] = {
    "a list of texts": chat(said("user", LISTED)),
    "an empty answer": chat(said("assistant", ""), said("user")),
    "an odd id": chat(said("assistant", "", tool_calls=calls("a:b")), said("tool", tool_call_id="a:b")),
    "an answer begun": chat(said("assistant")),
}
GOOD: Final = (
    *(("openai", GOOD_CHAT), ("azure-openai", GOOD_CHAT), ("vertex-ai", GOOD_CONTENTS)),
    *((name, GOOD_MESSAGES) for name in CLAUDES),
)
BAD: Final = [
    (dialect, name, body)
    for dialects, bodies in (
        (CHATS, BAD_CHAT),
        (CLAUDES, BAD_MESSAGES),
        (("vertex-ai",), BAD_CONTENTS),
        (("snowflake",), BAD_CORTEX),
    )
    for dialect in dialects
    for name, body in bodies.items()
]


@pytest.mark.parametrize(("dialect", "body"), GOOD, ids=[name for name, _ in GOOD])
def test_a_good_history_is_taken(standins: Mapping[str, StandIn], dialect: str, body: dict[str, Any]) -> None:
    """Calls in parallel with their results in any order, and what each provider has besides."""
    answer = ask(standins, dialect, copy.deepcopy(body))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("dialect", "body"), [(dialect, body) for dialect, _, body in BAD], ids=[f"{d}: {name}" for d, name, _ in BAD]
)
def test_what_the_provider_refuses_is_refused(
    standins: Mapping[str, StandIn], dialect: str, body: dict[str, Any]
) -> None:
    """As a bad request, in the provider's shape."""
    answer = ask(standins, dialect, copy.deepcopy(body))
    assert answer.status_code == 400, answer.text
    assert "error" in answer.json() or "message" in answer.json()


def test_an_older_claude_completes_what_was_begun(standins: Mapping[str, StandIn]) -> None:
    """The last answer may be begun by the caller, where it ends in no white space."""
    begun = chat(said("assistant", "The answer is")) | {"model": "claude-sonnet-4-5"}
    assert ask(standins, "anthropic", begun).status_code == 200
    begun["messages"][-1]["content"] += " "
    assert ask(standins, "anthropic", begun).status_code == 400

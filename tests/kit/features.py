"""What callers ask for beside text, each as one call, and how the request shows that its provider was told of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from liverouter.testing import Reply
from liverouter.testing.standin.answers import default_reply
from tests.kit.everybody import add
from tests.kit.histories import BLOCKS, IMAGES, PIXEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

    from liverouter.chat.model import LiveChatModel
    from liverouter.testing import Ask

OWN_TOOLS: Final[Mapping[str, dict[str, Any]]] = {  # the built-in tool of whose models a dialect serves
    "anthropic": {"type": "web_search_20250305", "name": "web_search"},
    "vertex-ai": {"google_search": {}},
    "vertex-ai claude": {"type": "web_search_20250305", "name": "web_search"},
    "snowflake claude": {"type": "web_search_20250305", "name": "web_search"},
}
OPENAIS_TOOL: Final = {"type": "web_search"}
NOBODYS_TOOL: Final = {"type": "crystal_ball_20300101", "name": "crystal_ball"}
REASONING: Final[Mapping[str, str]] = {"openai": "gpt-5", "azure-openai": "gpt-5"}  # where the usual model does not
_MARK: Final = {"cache_control": {"type": "ephemeral"}}
_CALL: Final = {"name": "add", "args": {"a": 1}, "id": "call_1"}


@tool
def double(a: int) -> int:
    """Double a number."""
    return 2 * a


class Sum(BaseModel):
    """The sum."""

    total: int


@dataclass(frozen=True, slots=True)
class Feature:
    """One kind of request.

    Attributes:
        made: (handle, dialect) -> what is called, bound once: it answers with a message, or an instance of `Sum`.
        shown: (body) -> how the request that the provider got has it; "" where it has not.
        messages: the caller's.
    """

    made: Callable[[LiveChatModel, str], Runnable[Any, Any]]
    shown: Callable[[Mapping[str, Any]], str]
    messages: Sequence[BaseMessage] = field(default_factory=lambda: [HumanMessage("1 and 2")])


def answered(ask: Ask) -> Reply:
    """Answer as a stand-in does, and to a wish for any JSON with a `Sum`."""
    return Reply(text='{"total": 3}') if ask.schema == {} else default_reply(ask)


def _plain(model: LiveChatModel, _: str) -> Runnable[Any, Any]:
    return model


def _bound(tools: Sequence[Any], **options: Any) -> Callable[..., Any]:
    return lambda model, _: model.bind_tools(tools, **options)


def _own(model: LiveChatModel, dialect: str) -> Runnable[Any, Any]:
    return model.bind_tools([OWN_TOOLS.get(dialect, OPENAIS_TOOL)])


def _structured(method: Any) -> Callable[..., Any]:
    return lambda model, _: model.with_structured_output(Sum, method=method)


def _reasoned(model: LiveChatModel, _: str) -> Runnable[Any, Any]:
    return model.bind(reasoning_effort="low")


def holds(*texts: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what tells that one of *texts* is in a body, as "yes"."""
    return lambda body: "yes" if any(text in json.dumps(body) for text in texts) else ""


def _format(body: Mapping[str, Any]) -> str:
    """Return by what *body* asks for a schema."""
    config: Mapping[str, Any] = body.get("generationConfig") or {}
    form = body.get("response_format") or body.get("output_format") or (body.get("output_config") or {}).get("format")
    schema = config.keys() & {"responseSchema", "responseJsonSchema", "response_schema", "response_json_schema"}
    if schema or (form or {}).get("type") == "json_schema":
        return "by its schema"
    if form or config.keys() & {"responseMimeType", "response_mime_type"}:
        return "by its JSON mode"
    return "by a tool" if '"Sum"' in json.dumps(body.get("tools")) else ""


def _left_by(maker: str) -> list[BaseMessage]:
    """Return a conversation with what models of *maker* leave in an answer."""
    blocks: list[Any] = [{"type": "text", "text": "BLUE"}, *BLOCKS[maker]]
    origin = {"model_provider": maker}
    return [
        HumanMessage("hi"),
        AIMessage(blocks, tool_calls=[_CALL], response_metadata=origin),
        ToolMessage("3", tool_call_id="call_1"),
        HumanMessage("and now?"),
    ]


def _whole(mark: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what tells how a history came, by a *mark* that only its maker's own API has a place for."""

    def shown(body: Mapping[str, Any]) -> str:
        text = json.dumps(body)
        return "" if "BLUE" not in text or '"add"' not in text else "whole" if mark in text else "text and calls"

    return shown


FEATURES: Final[Mapping[str, Feature]] = {
    "tools": Feature(_bound([add], tool_choice="any"), holds('"add"')),
    "strict tools": Feature(_bound([double], strict=True), holds('"strict": true')),
    "structured output, `function_calling`": Feature(_structured("function_calling"), _format),
    "structured output, `json_schema`": Feature(_structured("json_schema"), _format),
    "structured output, `json_mode`": Feature(_structured("json_mode"), _format),
    "a history of Claude's": Feature(_bound([add]), _whole("srvtoolu_1"), _left_by("anthropic")),
    "a history of OpenAI's": Feature(_bound([add]), _whole("ws_1"), _left_by("openai")),
    "a history of Gemini's": Feature(_bound([add]), _whole("print(1)"), _left_by("google_genai")),
    "a history of another maker's": Feature(_bound([add]), _whole("guard"), _left_by("somebody")),
    "an image": Feature(
        _plain, holds(PIXEL[:40]), [HumanMessage([IMAGES[0], {"type": "text", "text": "what is it?"}])]
    ),
    "an image in a tool's result": Feature(
        _bound([add]),
        holds(PIXEL[:40]),
        [HumanMessage("hi"), AIMessage("", tool_calls=[_CALL]), ToolMessage([IMAGES[0]], tool_call_id="call_1")],
    ),
    "reasoning": Feature(_reasoned, holds('"reasoning_effort": "low"', '"thinking"', '"thinkingConfig"')),
    "your marks of a prompt's cache": Feature(
        _plain,
        holds('"cache_control"'),
        [SystemMessage([{"type": "text", "text": "a manual", **_MARK}]), HumanMessage("hi")],
    ),
    "its maker's built-in tool": Feature(_own, holds("web_search", "googleSearch", "google_search")),
    "another's built-in tool beside a function": Feature(_bound([NOBODYS_TOOL, add]), holds("crystal_ball")),
    "another's built-in tool alone": Feature(_bound([NOBODYS_TOOL]), holds("crystal_ball")),
}

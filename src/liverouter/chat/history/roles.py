"""The first step: four kinds of messages, whoever wrote them, with tool calls and results where LangChain has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.utils.json import parse_partial_json

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping, Sequence

_SPEAKERS: Final[Mapping[str, type[BaseMessage]]] = {  # of a ChatMessage; any other is a user
    "ai": AIMessage,
    "assistant": AIMessage,
    "developer": SystemMessage,
    "model": AIMessage,
    "system": SystemMessage,
}


def with_roles(messages: Sequence[BaseMessage], notes: Counter[str]) -> Iterator[BaseMessage]:
    """Yield *messages* as those of a user, an assistant, a tool or a system."""
    results = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    for message in messages:
        match message:
            case AIMessage():
                yield _answer(message, results, notes)
            case ToolMessage():
                yield from _split(message, [])
            case HumanMessage():
                yield from _split(message, [message])
            case SystemMessage():
                yield message
            case FunctionMessage():
                yield ToolMessage(message.content, tool_call_id=_function_id(message.name), name=message.name)
            case ChatMessage():
                speaker = _SPEAKERS.get(message.role.lower(), HumanMessage)
                yield speaker(content=message.content, name=message.name)
            case _:
                notes[f"a message of type {message.type}"] += 1


def _answer(message: AIMessage, results: set[str], notes: Counter[str]) -> AIMessage:
    """Return *message* with all its calls in `tool_calls`, and nowhere else but in its content.

    A call that nobody could read is kept where one of the *results* answers it.
    """
    calls: list[Any] = [dict(call) for call in message.tool_calls]
    broken = {call.get("id") for call in message.invalid_tool_calls}
    for call in message.invalid_tool_calls:
        if call.get("name") and call.get("id") in results:
            calls.append({"name": call["name"], "args": {}, "id": call["id"], "type": "tool_call"})
        else:
            notes["a tool call that cannot be read"] += 1
    known = {call["id"] for call in calls} | broken
    for block in message.content if isinstance(message.content, list) else ():
        if isinstance(block, dict) and block.get("type") == "tool_use" and block.get("id") not in known:
            given = block.get("input")
            args = given if isinstance(given, dict) else parse_partial_json(given) if given else {}
            calls.append({"name": block.get("name") or "", "args": args, "id": block.get("id"), "type": "tool_call"})
    function = message.additional_kwargs.get("function_call")
    if function and not calls and not broken:
        name = function.get("name") or ""
        args = parse_partial_json(function.get("arguments") or "{}")
        calls.append({"name": name, "args": args, "id": _function_id(name), "type": "tool_call"})
    if not calls and not message.additional_kwargs and not broken and type(message) is AIMessage:
        return message
    beside = {
        name: value for name, value in message.additional_kwargs.items() if name not in ("function_call", "tool_calls")
    }
    return AIMessage(
        content=message.content,
        tool_calls=calls,
        additional_kwargs=beside,
        response_metadata=message.response_metadata,
        name=message.name,
    )


def _split(message: HumanMessage | ToolMessage, whole: list[BaseMessage]) -> Iterator[BaseMessage]:
    """Yield what Anthropic's blocks of results in *message* are, as messages of their own, and the rest behind them.

    *whole*: what is yielded where there are none; a tool's message that has none is yielded itself.
    """
    blocks = message.content if isinstance(message.content, list) else []
    results = [block for block in blocks if isinstance(block, dict) and block.get("type") == "tool_result"]
    if not results or (isinstance(message, ToolMessage) and len(results) < len(blocks)):
        yield from whole or [message]
        return
    for block in results:
        content: Any = block.get("content") or ""
        if "cache_control" in block:
            content = [{"type": "text", "text": content}] if isinstance(content, str) else [*content]
            content[-1:] = [{**content[-1], "cache_control": block["cache_control"]}]
        status: Any = "error" if block.get("is_error") else "success"
        yield ToolMessage(content=content, tool_call_id=str(block.get("tool_use_id") or ""), status=status)
    if rest := [block for block in blocks if block not in results]:
        yield message.model_copy(update={"content": rest})


def _function_id(name: str) -> str:
    """Return the id of a call from before calls had ids: it is answered by the function's name."""
    return f"function:{name}"

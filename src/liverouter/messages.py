"""Histories as every provider takes them: blocks in Anthropic's own format become what litellm can translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_NATIVE: Final = frozenset({"image", "document", "tool_result"})


def portable(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return *messages* with Anthropic's images and documents as standard blocks and its tool results as messages."""
    return [part for message in messages for part in (_split(message) if _is_native(message) else (message,))]


def _is_native(message: BaseMessage) -> bool:
    content = message.content
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") in _NATIVE and ("source" in block or "tool_use_id" in block)
        for block in content
    )


def _split(message: BaseMessage) -> Iterator[BaseMessage]:
    """Yield the tool results in *message* and then what else it says, as the two come in one turn at Anthropic."""
    rest: list[Any] = []
    for block in message.content:
        if isinstance(block, dict) and block.get("type") == "tool_result" and isinstance(message, HumanMessage):
            yield _tool_message(block)
        else:
            rest.append(_standard(block) if isinstance(block, dict) else block)
    if rest:
        yield message.model_copy(update={"content": rest})


def _tool_message(block: Mapping[str, Any]) -> ToolMessage:
    content = block.get("content") or ""
    if isinstance(content, list):
        content = [_standard(part) if isinstance(part, dict) else part for part in content]
    status = "error" if block.get("is_error") else "success"
    return ToolMessage(content=content, tool_call_id=block["tool_use_id"], status=status)


def _standard(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return LangChain's standard block for an image or document of Anthropic's; any other as it is."""
    source = block.get("source")
    if block.get("type") not in ("image", "document") or not isinstance(source, dict):
        return block
    kept = {"cache_control": block["cache_control"]} if "cache_control" in block else {}
    kind = "image" if block["type"] == "image" else "file"
    match source.get("type"):
        case "base64":
            return {"type": kind, "base64": source["data"], "mime_type": source["media_type"], **kept}
        case "url":
            return {"type": kind, "url": source["url"], **kept}
        case "text":
            return {"type": "text", "text": source["data"], **kept}
        case _:
            return block

"""Histories as the model in force takes them: what another provider's model left in them becomes what all understand.

A run may be served by several providers, one after the other. Text, tool calls and tool results mean the same to all;
reasoning is accepted only where it was signed, and every library puts other things beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from liverouter.providers import native_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from liverouter.generation import Generation
    from liverouter.revision import Deployment

_REASONING: Final = frozenset({"thinking", "redacted_thinking", "reasoning"})
_ANTHROPIC: Final = frozenset({"image", "document", "tool_result"})  # blocks that Anthropic writes in its own way


def portable(messages: Sequence[BaseMessage], generation: Generation, deployment: Deployment) -> list[BaseMessage]:
    """Return *messages* as *generation*'s model of *deployment* takes them, whoever wrote them.

    A message that needs no change is returned itself, one that does as a changed copy. What libraries change in place
    is always a copy: an attempt leaves nothing behind for the next one.
    """
    native = native_model(deployment) if generation.router is None else None
    # LangChain's litellm model keeps signed reasoning elsewhere, and checks it there
    origins = native.reasoning_of if native is not None else frozenset()
    as_is = native is not None and native.takes_anthropic_blocks
    return [part for message in messages for part in _parts(message, origins, as_is=as_is)]


def _parts(message: BaseMessage, origins: frozenset[str], *, as_is: bool) -> Iterator[BaseMessage]:
    """Yield what *message* becomes: itself or a changed copy, behind its tool results as messages of their own.

    *origins* are the `model_provider`s whose reasoning the model takes back. *as_is*: it takes what Anthropic writes.
    """
    update: dict[str, Any] = {}
    if isinstance(message, AIMessage) and message.tool_calls and "function_call" in message.additional_kwargs:
        kept = {name: value for name, value in message.additional_kwargs.items() if name != "function_call"}
        update["additional_kwargs"] = kept  # what `tool_calls` holds as well
    if isinstance(message.content, list):
        blocks = message.content
        if not as_is and isinstance(message, HumanMessage):
            results = [b for b in blocks if isinstance(b, dict) and b.get("type") == "tool_result"]
            yield from map(_tool_message, results)
            blocks = [block for block in blocks if block not in results]
            if results and not blocks:
                return
        own = message.response_metadata.get("model_provider") in origins
        content = [made for block in blocks if (made := _block(block, own=own, as_is=as_is)) is not None]
        update["content"] = fresh(content) or ""
    yield message.model_copy(update=update) if update else message


def fresh(value: Any) -> Any:
    """Return *value* with every plain dict and list in it copied."""
    if type(value) is dict:
        return {name: fresh(item) for name, item in value.items()}
    if type(value) is list:
        return [fresh(item) for item in value]
    return value


def _block(block: Any, *, own: bool, as_is: bool) -> Any:
    """Return *block* as every provider takes it, None for what must not be sent.

    *own*: the model takes back the reasoning in this message. *as_is*: it takes what Anthropic writes.
    """
    if isinstance(block, str):
        return {"type": "text", "text": block} if block else None
    kind = block.get("type")
    if kind in _REASONING:
        return block if own else None
    if kind == "text" and block.get("text") == "":
        return None  # left by a stream; Anthropic refuses it
    return block if as_is else _standard(block)


def _tool_message(block: Mapping[str, Any]) -> ToolMessage:
    """Return Anthropic's block of a tool's result as LangChain's message of it."""
    content = block.get("content") or ""
    if isinstance(content, list):
        content = [_standard(part) if isinstance(part, dict) else part for part in content]
    status = "error" if block.get("is_error") else "success"
    return ToolMessage(content=content, tool_call_id=block["tool_use_id"], status=status)


def _standard(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return LangChain's standard block for an image or document of Anthropic's; any other as it is."""
    source = block.get("source")
    if block.get("type") not in _ANTHROPIC or not isinstance(source, dict):
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

"""A response format as a tool beside the caller's own, for a model that takes no format or would be forced to it.

litellm, where it knows of no such ability, forces the model to call a tool of that schema, and an agent's own tools are
never used. Here the model may call any, and what it says by the schema's tool becomes the answer's text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

KEY: Final = "_liverouter_schema_tool"  # of a request that has one: its name


def tool_of(form: Any) -> dict[str, Any] | None:
    """Return the tool, in OpenAI's format, for the response format *form*; None where that has no schema."""
    described = form.get("json_schema") if isinstance(form, dict) else None
    if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
        return None
    name, schema = described.get("name") or "answer", described["schema"]
    about = described.get("description") or schema.get("description") or "The answer, once nothing else is to be done."
    return {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}


def whole_as_text(result: ChatResult, name: str) -> ChatResult:
    """Return *result*, in which a call of the tool *name* is text, in place."""
    for generation in result.generations:
        message: Any = generation.message
        said = [call for call in message.tool_calls if call["name"] == name]
        if not said:
            continue
        message.tool_calls = [call for call in message.tool_calls if call["name"] != name]
        _say(message, json.dumps(said[0]["args"]))
        message.additional_kwargs.pop("tool_calls", None)
        if not message.tool_calls:
            _stop(generation.generation_info)
            _stop(message.response_metadata)
        generation.text = message.text
    return result


async def stream_as_text(
    chunks: AsyncGenerator[ChatGenerationChunk, None], name: str
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """Yield *chunks*, in which the arguments of a call of the tool *name* are text; *chunks* is closed."""
    ours: set[Any] = set()  # indices of that tool's calls
    others = False
    try:
        async for chunk in chunks:
            message: Any = chunk.message
            pieces = message.tool_call_chunks
            ours |= {piece.get("index") for piece in pieces if piece.get("name") == name}
            text = "".join(piece.get("args") or "" for piece in pieces if piece.get("index") in ours)
            left = [piece for piece in pieces if piece.get("index") not in ours]
            others = others or bool(left)
            if len(left) < len(pieces):
                message.tool_call_chunks, message.tool_calls, message.invalid_tool_calls = left, [], []
                message.additional_kwargs.pop("tool_calls", None)
                _say(message, text)
                message.init_tool_calls()
            if ours and not others:
                _stop(chunk.generation_info)
                _stop(message.response_metadata)
            yield chunk
    finally:
        await chunks.aclose()


def _say(message: AIMessage, text: str) -> None:
    """Put *text* behind what *message* says, and take off the blocks that call tools."""
    if isinstance(message.content, str):
        message.content += text
        return
    blocks = [block for block in message.content if isinstance(block, str) or block.get("type") == "text"]
    message.content = [*blocks, {"type": "text", "text": text}] if text else blocks


def _stop(metadata: Mapping[str, Any] | None) -> None:
    """Have *metadata* say that the answer ended as a text does."""
    for reason, called, ended in (("finish_reason", "tool_calls", "stop"), ("stop_reason", "tool_use", "end_turn")):
        if metadata and metadata.get(reason) == called:
            metadata[reason] = ended  # type: ignore[index]  # a dict of a message's

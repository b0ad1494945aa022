"""Prompt caching for Claude in both engines: up to the system message, and up to the last one.

Whoever marks anything himself marks all: Claude takes four marks. litellm sets the same marks by its own options, which
are turned off then; in the native engine they are set here, where Anthropic's API is spoken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, SystemMessage

from liverouter.providers import is_claude, native_model, spec_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from liverouter.generation import Generation
    from liverouter.revision import Deployment

_MARK: Final = "cache_control"
_SHORT: Final[Mapping[str, str]] = {"type": "ephemeral"}
_LITELLMS: Final = "cache_control_injection_points"


def cached(
    messages: list[BaseMessage], params: dict[str, Any], generation: Generation, deployment: Deployment
) -> list[BaseMessage]:
    """Return *messages* with their marks for Claude; *params*, of the same request, is changed.

    A tool's own mark is dropped for every other model, which would refuse it.
    """
    tools: Sequence[Any] = params.get("tools") or ()
    if not is_claude(deployment.model):
        if any(isinstance(tool, dict) and _MARK in tool for tool in tools):
            params["tools"] = [{k: v for k, v in tool.items() if k != _MARK} for tool in tools]
        return messages
    is_marked = _MARK in params or any(_MARK in str(tool) for tool in tools) or any(map(_has_mark, messages))
    if generation.router is not None or not native_model(deployment).takes_anthropic_blocks:
        if generation.router is not None and is_marked and _LITELLMS in spec_of(deployment).litellm_options(deployment):
            params[_LITELLMS] = []
        return messages
    if is_marked or not messages:
        return messages
    made = list(messages)
    systems = [index for index, message in enumerate(made) if isinstance(message, SystemMessage)]
    for index in {*systems[-1:], len(made) - 1}:
        made[index] = _marked(made[index])
    return made


def _has_mark(message: BaseMessage) -> bool:
    """Tell whether a block of *message* is marked."""
    return isinstance(message.content, list) and any(
        isinstance(block, dict) and _MARK in block for block in message.content
    )


def _marked(message: BaseMessage) -> BaseMessage:
    """Return *message* with a mark on its last block; itself where that can have none, as what the model said."""
    if isinstance(message, AIMessage) or not message.content:
        return message
    blocks: list[Any] = [message.content] if isinstance(message.content, str) else [*message.content]
    last = {"type": "text", "text": blocks[-1]} if isinstance(blocks[-1], str) else blocks[-1]
    blocks[-1] = {**last, _MARK: dict(_SHORT)}
    return message.model_copy(update={"content": blocks})

"""Prompt caching for Claude in both engines: up to the system message, and up to the last one.

Whoever marks anything himself marks all: Claude takes four marks. litellm sets the same marks by its own options, which
are turned off then; in the native engine, and where litellm has no such option, they are set here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, SystemMessage

from liverouter.providers import api_of, is_claude, spec_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from liverouter.chat.history import Takes
    from liverouter.revision import Deployment

_MARK: Final = "cache_control"
_SHORT: Final[Mapping[str, str]] = {"type": "ephemeral"}
_LITELLMS: Final = "cache_control_injection_points"


def cached(
    messages: list[BaseMessage], params: dict[str, Any], deployment: Deployment, taken: Takes
) -> list[BaseMessage]:
    """Return *messages* with their marks for Claude where these are *taken*; *params*, of the same request, is changed.

    Where litellm sets them it is told not to, if there are any of the caller's.
    """
    tools: Sequence[Any] = params.get("tools") or ()
    if not is_claude(deployment.model):
        return messages
    is_marked = _MARK in params or any(_MARK in str(tool) for tool in tools) or any(map(_has_mark, messages))
    if taken.by_litellm and _LITELLMS in spec_of(deployment).litellm_options(deployment):
        if is_marked:
            params[_LITELLMS] = []
        return messages
    if is_marked or not messages or _MARK not in taken.api.marks:
        return messages
    made = list(messages)
    systems = [index for index, message in enumerate(made) if isinstance(message, SystemMessage)]
    for index in {*systems[-1:], len(made) - 1}:
        made[index] = _marked(made[index])
    return made


def unmarked(params: dict[str, Any], deployment: Deployment, *, native: bool) -> bool:
    """Take the marks off the tools in *params* where the API would refuse them; tell whether there were any.

    *native*: asked by the provider's LangChain class.
    """
    tools: Sequence[Any] = params.get("tools") or ()
    if _MARK in api_of(deployment, native=native).takes or not any(
        isinstance(tool, dict) and _MARK in tool for tool in tools
    ):
        return False
    params["tools"] = [{name: value for name, value in tool.items() if name != _MARK} for tool in tools]
    return True


def ttls(messages: Sequence[BaseMessage], params: Mapping[str, Any], taken: Takes) -> frozenset[str]:
    """Return for how long the marks of *messages* and *params* ask, ``5m`` or ``1h``, where litellm asks.

    What it makes of an answer says how much was written to the cache, and not for how long.
    """
    if not taken.by_litellm or _MARK not in taken.api.marks:
        return frozenset()
    contents = (message.content for message in messages)
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    marked = [part for part in (*blocks, *(params.get("tools") or ()), params) if isinstance(part, dict)]
    return frozenset(str(part[_MARK].get("ttl", "5m")) for part in marked if isinstance(part.get(_MARK), dict))


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

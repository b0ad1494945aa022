"""The second step: texts that can be written. Half of a character, of two in UTF-16, stands in no UTF-8.

A stream that is cut within an escaped emoji leaves one, and so does the name of a file that is no UTF-8. Some libraries
then fail before anything is sent, others have the provider refuse it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from langchain_core.messages import BaseMessage

_FIELDS: Final = ("content", "tool_calls", "tool_call_id", "additional_kwargs", "name")  # of a message, which are sent


def writable(messages: Iterable[BaseMessage], notes: Counter[str]) -> Iterator[BaseMessage]:
    """Yield *messages* with the character where two halves stand together, and U+FFFD for each that is alone."""
    for message in messages:
        given = {name: value for name in _FIELDS if (value := getattr(message, name, None))}
        changed = {name: _whole(value) for name, value in given.items() if _has_half(value)}
        if changed:
            notes["half of a character"] += 1
        yield message.model_copy(update=changed) if changed else message


def _has_half(value: Any) -> bool:
    """Tell whether *value* is a text with half of a character in it, or holds one."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return True
        return False
    if isinstance(value, list):
        return any(map(_has_half, value))
    return isinstance(value, dict) and any(_has_half(name) or _has_half(item) for name, item in value.items())


def _whole(value: Any) -> Any:
    """Return *value* without halves."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {_whole(name): _whole(item) for name, item in value.items()} if isinstance(value, dict) else value

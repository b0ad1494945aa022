"""Whether the tool calls of an answer can be made: each names its tool, and its arguments are a JSON object. Pure.

Libraries repair arguments that break off, and an agent would run the tool with half of them.
"""

from __future__ import annotations

import json
from typing import Any


class Arguments:
    """What a stream says of the arguments of its tool calls, piece by piece."""

    def __init__(self) -> None:
        self._calls: dict[Any, list[Any]] = {}  # by index: id, name, and the pieces of the newest call
        self._ended: list[list[Any]] = []  # calls after which another one came with their index

    def add(self, message: Any) -> None:
        """Take the pieces in *message*, a chunk."""
        for piece in message.tool_call_chunks:
            index, identifier, name = piece.get("index"), piece.get("id"), piece.get("name")
            call = self._calls.get(index)
            if call is None or index is None or _is_another(call, identifier, name):
                if call is not None:
                    self._ended.append(call)
                call = self._calls[index] = [identifier, "", ""]
            call[0] = call[0] or identifier
            call[1] = call[1] or name or ""
            call[2] += piece.get("args") or ""

    def broken(self) -> str | None:
        """Return the first tool whose call cannot be made, "" where that does not name it; None where all can."""
        calls = (*self._ended, *self._calls.values())
        return next((name for _, name, text in calls if not name or not _is_object(text)), None)


def _is_another(call: list[Any], identifier: str | None, name: str | None) -> bool:
    """Tell whether a piece with *identifier* and *name*, if any, is of another call than *call* at the same index.

    Some servers number none and have no ids: there a name begins a call.
    """
    if identifier and call[0]:
        return bool(identifier != call[0])
    return bool(name and call[1] and not identifier and not call[0])


def broken_call(message: Any) -> str | None:
    """Return the first tool that *message*, a whole answer, calls in a way that cannot be made; None: there is none.

    It is "" where the call does not name it. LangChain's model for litellm makes no arguments of a list or a number,
    and keeps what it read them from.
    """
    for call in getattr(message, "invalid_tool_calls", ()):
        if not _is_object(call.get("args") or ""):
            return call.get("name") or ""
    for call in message.additional_kwargs.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else getattr(call, "function", None)
        said = function if isinstance(function, dict) else getattr(function, "__dict__", {})
        if isinstance(text := said.get("arguments"), str) and not _is_object(text):
            return str(said.get("name") or "")
    return "" if any(not call["name"] for call in getattr(message, "tool_calls", ())) else None


def _is_object(text: str) -> bool:
    """Tell whether *text* is a JSON object, or nothing, as for a tool without parameters."""
    if not text.strip():
        return True
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False

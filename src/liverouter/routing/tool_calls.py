"""Whether the tool calls of an answer can be made: their arguments must be a JSON object. Pure.

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
            index, identifier = piece.get("index"), piece.get("id")
            call = self._calls.get(index)
            if call is None or (identifier and call[0] and identifier != call[0]) or index is None:
                if call is not None:
                    self._ended.append(call)
                call = self._calls[index] = [identifier, "", ""]
            call[0] = call[0] or identifier
            call[1] = call[1] or piece.get("name") or ""
            call[2] += piece.get("args") or ""

    def broken(self) -> str | None:
        """Return the name of the first tool that is called with arguments that are none, None where all are."""
        calls = (*self._ended, *self._calls.values())
        return next((name for _, name, text in calls if not _is_object(text)), None)


def broken_call(message: Any) -> str | None:
    """Return the name of the tool that *message*, a whole answer, calls with arguments that are none; None: no such.

    LangChain's model for litellm makes no arguments of a list or a number, and keeps what it read them from.
    """
    for call in getattr(message, "invalid_tool_calls", ()):
        if not _is_object(call.get("args") or ""):
            return call.get("name") or ""
    for call in message.additional_kwargs.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else getattr(call, "function", None)
        said = function if isinstance(function, dict) else getattr(function, "__dict__", {})
        if isinstance(text := said.get("arguments"), str) and not _is_object(text):
            return str(said.get("name") or "")
    return None


def _is_object(text: str) -> bool:
    """Tell whether *text* is a JSON object, or nothing, as for a tool without parameters."""
    if not text.strip():
        return True
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False

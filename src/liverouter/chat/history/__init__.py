"""Histories as the deployment that is asked takes them: a run may be served by several providers, one after the other.

Text, tool calls and their results mean the same to all. What one provider's model left there besides, and what its API
lets pass where another's refuses, is changed here, in steps that each do one thing:

- `roles`: every message becomes a user's, an assistant's, a tool's or a system's, with its calls in `tool_calls`.
- `texts`: each can be written.
- `calls`: each call is followed at once by its one result, under an id that the API takes.
- `blocks`: content holds what the API has a name for.
- `turns`: who speaks when.

What a caller passed is never changed: a message is returned itself where nothing in it can be, else as a copy.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from liverouter.chat.history.blocks import readable
from liverouter.chat.history.calls import answered
from liverouter.chat.history.roles import with_roles
from liverouter.chat.history.takes import Takes, takes
from liverouter.chat.history.texts import writable
from liverouter.chat.history.turns import in_turns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

__all__ = ["Takes", "fitted", "takes"]


def fitted(messages: Sequence[BaseMessage], taken: Takes) -> tuple[list[BaseMessage], Mapping[str, int]]:
    """Return *messages* fit for what is *taken*, and what had to be left out or made up: kind -> how often."""
    notes: Counter[str] = Counter()
    history: list[Any] = list(writable(with_roles(messages, notes), notes))
    history = answered(history, taken, notes)
    history = list(readable(history, taken, notes))
    return in_turns(history, taken, notes), notes

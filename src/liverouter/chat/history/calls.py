"""The second step: each tool call is followed at once by its one result, and both have an id that the API takes."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from liverouter.chat.history.takes import Takes

_NOT_DONE: Final = "This call was not carried out."
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_LONGEST_NAME: Final = 64
_DIGITS: Final = 32  # of the digest in an id that is made
_BLOCK_IDS: Final = ("id", "call_id")


def answered(messages: Sequence[BaseMessage], taken: Takes, notes: Counter[str]) -> list[BaseMessage]:
    """Return *messages* with each result behind its call.

    A result whose call is not there goes, as that of a history which was cut between the two. A call without a result
    gets one that says so, as agents expect it of a call that was given up.
    """
    waiting = _Results(messages)
    used: set[str] = set()
    history: list[BaseMessage] = []
    for at, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            continue
        if not isinstance(message, AIMessage) or not message.tool_calls:
            history.append(message)
            continue
        calls: list[Any] = []
        results: list[BaseMessage] = []
        sent: dict[str, str] = {}
        for call in message.tool_calls:
            if taken.api.call_ids is None and not taken.is_own(message) and _is_among(call, calls):
                waiting.take(call["id"] or "", at)
                notes["a tool call that another one equals"] += 1
                continue
            identifier = _id(call["id"] or "", taken.api.call_ids, used)
            used.add(identifier)
            sent.setdefault(call["id"] or "", identifier)
            name = tool_name(call["name"])
            calls.append({**call, "id": identifier, "name": name})
            result = waiting.take(call["id"] or "", at)
            if result is None:
                notes["a tool call without its result"] += 1
                results.append(ToolMessage(_NOT_DONE, tool_call_id=identifier, name=name, status="error"))
            else:
                results.append(result.model_copy(update={"tool_call_id": identifier, "name": name}))
        content = _with_ids(message.content, sent)
        history += [message.model_copy(update={"tool_calls": calls, "content": content}), *results]
    if left := waiting.left:
        notes["a tool result without its call"] += left
    return history


def tool_name(name: str) -> str:
    """Return *name* as every provider takes it for a tool's."""
    return _ODD.sub("_", name)[:_LONGEST_NAME] or "tool"


def _is_among(call: Any, calls: Sequence[Any]) -> bool:
    """Tell whether one of *calls* is *call* but for the id: where calls have none, litellm sends such a one once."""
    return any(tool_name(call["name"]) == other["name"] and call["args"] == other["args"] for other in calls)


class _Results:
    """The results in a history, each to be taken once, by the call before it that has its id."""

    def __init__(self, messages: Sequence[BaseMessage]) -> None:
        self._results: dict[str, deque[tuple[int, ToolMessage]]] = defaultdict(deque)
        self._calls: dict[str, deque[int]] = defaultdict(deque)
        for at, message in enumerate(messages):
            if isinstance(message, ToolMessage):
                self._results[message.tool_call_id].append((at, message))
            elif isinstance(message, AIMessage):
                for call in message.tool_calls:
                    self._calls[call["id"] or ""].append(at)
        self.left = sum(map(len, self._results.values()))

    def take(self, identifier: str, at: int) -> ToolMessage | None:
        """Return the first result of the call *identifier* in message *at*; None where there is none up to the next."""
        self._calls[identifier].popleft()
        later = next((place for place in self._calls[identifier] if place > at), None)
        results = self._results[identifier]
        while results and results[0][0] < at:
            results.popleft()
        if not results or (later is not None and results[0][0] > later):
            return None
        self.left -= 1
        return results.popleft()[1]


def _id(identifier: str, pattern: re.Pattern[str] | None, used: set[str]) -> str:
    """Return *identifier*, or where it does not fit or is *used* one that is made of it, always the same."""
    fits = identifier and (pattern is None or pattern.fullmatch(identifier))
    made, times = identifier if fits else _digest(identifier), 0
    while made in used:
        times += 1
        made = _digest(f"{identifier} {times}")
    return made


def _digest(text: str) -> str:
    return f"call_{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:_DIGITS]}"


def _with_ids(content: Any, sent: Mapping[str, str]) -> Any:
    """Return *content* with the ids of calls in its blocks as they are *sent*."""
    if not isinstance(content, list):
        return content
    return [
        {**block, **{name: sent[block[name]] for name in _BLOCK_IDS if block.get(name) and block[name] in sent}}
        if isinstance(block, dict)
        else block
        for block in content
    ]

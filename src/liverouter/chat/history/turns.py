"""The last step: who speaks when, as the API wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

    from liverouter.chat.history.takes import Takes

_GO_ON: Final = "Please go on."  # what a user says where one must speak


def in_turns(messages: Sequence[BaseMessage], taken: Takes, notes: Counter[str]) -> list[BaseMessage]:
    """Return *messages* in an order that the API takes, without those that say nothing."""
    spoken = _spoken(messages, taken, notes)
    system = [message for message in spoken if isinstance(message, SystemMessage)]
    history: list[BaseMessage] = [message for message in spoken if not isinstance(message, SystemMessage)]
    if taken.api.takes_turns:
        history = _merged(history)
        if not history or isinstance(history[0], AIMessage):
            history.insert(0, HumanMessage(_GO_ON))
            notes["a user who begins"] += 1
    if taken.api.user_last and isinstance(history[-1], AIMessage):
        history.append(HumanMessage(_GO_ON))
        notes["a user who speaks last"] += 1
    if taken.api.system_anywhere:
        return spoken or [HumanMessage(_GO_ON)]
    return [*_one(system), *history]


def _spoken(messages: Iterable[BaseMessage], taken: Takes, notes: Counter[str]) -> list[BaseMessage]:
    """Return *messages* without empty ones; blank texts are empty too where the API takes turns.

    An empty message of a user may stay where the API takes it, an empty answer nowhere.
    """
    kept: list[BaseMessage] = []
    for message in messages:
        content: Any = message.content
        if taken.api.takes_turns and isinstance(message, AIMessage | HumanMessage | SystemMessage):
            content = _without_blanks(content)
        says_something = bool(content) or (isinstance(message, AIMessage) and bool(message.tool_calls))
        if says_something or not isinstance(message, AIMessage | HumanMessage | SystemMessage):
            kept.append(message if content is message.content else message.model_copy(update={"content": content}))
        elif isinstance(message, HumanMessage) and not taken.api.takes_turns:
            kept.append(message)
        else:
            notes["an empty message"] += 1
    return kept


def _without_blanks(content: Any) -> Any:
    """Return *content* without blocks of white space; itself where it has none."""
    if isinstance(content, str):
        return content if content.strip() else ""
    kept = [block for block in content if not _is_blank(block)]
    return content if len(kept) == len(content) else kept


def _is_blank(block: Any) -> bool:
    if isinstance(block, str):
        return not block.strip()
    return block.get("type") == "text" and not str(block.get("text") or "").strip()


def _one(system: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the *system* messages as one; none where there is none."""
    if len(system) < 2:  # noqa: PLR2004 - the first is alone
        return list(system)
    return [SystemMessage(_joined([message.content for message in system]))]


def _merged(history: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return *history* with what one speaker says in a row as one message."""
    merged: list[BaseMessage] = []
    for message in history:
        last = merged[-1] if merged else None
        if isinstance(message, AIMessage) and isinstance(last, AIMessage):
            merged[-1] = last.model_copy(
                update={
                    "content": _joined([last.content, message.content]),
                    "tool_calls": [*last.tool_calls, *message.tool_calls],
                    "additional_kwargs": last.additional_kwargs | message.additional_kwargs,
                    "response_metadata": last.response_metadata | message.response_metadata,
                }
            )
        elif isinstance(message, HumanMessage) and isinstance(last, HumanMessage):
            merged[-1] = last.model_copy(update={"content": _joined([last.content, message.content])})
        else:
            merged.append(message)
    return merged


def _joined(contents: Sequence[Any]) -> Any:
    """Return *contents* as one: a text where all are texts, else blocks."""
    contents = [content for content in contents if content]
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    return [
        block
        for content in contents
        for block in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
    ]

"""The third step: content holds what the API has a name for, and nothing that another provider's model left there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from liverouter.chat.history.calls import tool_name
from liverouter.chat.history.copies import fresh
from liverouter.chat.history.media import A_MARK, MARKS, MEDIA, media

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping, Sequence

    from liverouter.chat.history.takes import Takes

_TEXTS: Final[Mapping[str, str]] = {  # the types of blocks that are text by another name -> the member that holds it
    "compaction": "content",  # what was said before it, in short
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "text": "text",
    "text-plain": "text",
}
_CALLS: Final = frozenset({"tool_use", "tool_call", "function_call", "tool_call_chunk", "input_json_delta"})
_REASONING: Final = frozenset({"thinking", "redacted_thinking", "reasoning"})
_RESULT_BLOCKS: Final = frozenset({"search_result", "tool_reference", "document"})
_FILES_FOLLOW: Final = "The result is in the next message."
_FILES_OF: Final = "Files that the tool {} gave:"


def readable(messages: Sequence[BaseMessage], taken: Takes, notes: Counter[str]) -> Iterator[BaseMessage]:
    """Yield *messages* with such content as is *taken*.

    Images and files in results that the API has no place for follow in a message of the user, behind the last result.
    """
    files: list[Any] = []
    for message in messages:
        if files and not isinstance(message, ToolMessage):
            yield HumanMessage(files)
            files = []
        match message:
            case AIMessage():
                yield _answer(message, taken, notes)
            case ToolMessage():
                result, left = _result(message, taken, notes)
                if left:
                    files += [{"type": "text", "text": _FILES_OF.format(message.name)}, *left]
                yield result
            case SystemMessage():
                yield _with_content(message, _texts(message.content, taken, notes))
            case _:
                yield _with_content(message, _spoken(message.content, taken, notes))
    if files:
        yield HumanMessage(files)


def _answer(message: AIMessage, taken: Takes, notes: Counter[str]) -> AIMessage:
    """Return *message*, an answer: whole where it is the library's own, else its text and its calls."""
    if taken.is_own(message):
        known = {call["id"] for call in message.tool_calls}
        content: Any = message.content
        if isinstance(content, list):
            content = [fresh(block) for block in content if _is_kept(block, known)]
        return message.model_copy(
            update={
                "content": content,
                "tool_calls": fresh(message.tool_calls),
                "additional_kwargs": fresh(message.additional_kwargs),
                "name": _name(message.name),
            }
        )
    content = message.content
    if not content and (refusal := message.additional_kwargs.get("refusal")):
        content = str(refusal)
    texts = _texts(content, taken, notes)
    beside = {name: fresh(value) for name, value in message.additional_kwargs.items() if name in taken.beside}
    return AIMessage(
        content=texts, tool_calls=fresh(message.tool_calls), additional_kwargs=beside, name=_name(message.name)
    )


def _is_kept(block: Any, known: set[str | None]) -> bool:
    """Tell whether *block* of an answer goes back: no empty text, and no call that is none of the *known* ids."""
    if isinstance(block, str):
        return bool(block)
    if block.get("type") == "tool_use":
        return block.get("id") in known
    return block.get("type") != "text" or bool(block.get("text"))  # a stream leaves empty ones


def _result(message: ToolMessage, taken: Takes, notes: Counter[str]) -> tuple[ToolMessage, list[Any]]:
    """Return *message* with its texts, and its images and files where they may stand in it; else those beside it."""
    if isinstance(message.content, str):
        return message.model_copy(update={"artifact": None}), []
    blocks = [made for block in message.content if (made := _readable_result(block, taken, notes)) is not None]
    if taken.api.rich_results:
        kept = [block for block in blocks if block["type"] != "text" or block["text"].strip()]
        return message.model_copy(update={"content": kept or "", "artifact": None}), []
    files = [block for block in blocks if block["type"] != "text"]
    text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
    return message.model_copy(update={"content": text or (_FILES_FOLLOW if files else ""), "artifact": None}), files


def _readable_result(block: Any, taken: Takes, notes: Counter[str]) -> dict[str, Any] | None:
    """Return *block* of a result as text, image or file; what is none of these is text, as JSON."""
    if not isinstance(block, dict):
        return _text(str(block), {}, taken, notes)
    kind = _type(block)
    if kind in _TEXTS:
        return _text(block.get(_TEXTS[kind]), block, taken, notes)
    if kind in _RESULT_BLOCKS and taken.anthropic_blocks:
        return dict(fresh(block))
    if kind in MEDIA:
        return media(block, taken, notes)
    return _text(json.dumps(block, default=str, ensure_ascii=False), {}, taken, notes)


def _spoken(content: Any, taken: Takes, notes: Counter[str]) -> Any:
    """Return *content* of a user: texts, images, files."""
    if isinstance(content, str):
        return content
    kept: list[Any] = []
    for block in content:
        kind = _type(block)
        if kind in MEDIA or (taken.anthropic_blocks and kind in ("container_upload", "search_result", "text-plain")):
            kept.append(media(block, taken, notes))
        elif kind in _TEXTS:
            kept.append(_text(block if isinstance(block, str) else block.get(_TEXTS[kind]), block, taken, notes))
        else:
            notes[_kind(kind)] += 1
    return _plain([block for block in kept if block is not None], taken)


def _texts(content: Any, taken: Takes, notes: Counter[str]) -> Any:
    """Return the texts in *content*, of an answer or a system message: as one, or as blocks where one is marked."""
    if isinstance(content, str):
        return content
    kept: list[Any] = []
    for block in content:
        kind = _type(block)
        if kind in _TEXTS:
            text = _text(block if isinstance(block, str) else block.get(_TEXTS[kind]), block, taken, notes)
            kept += [] if text is None else [text]
        elif kind not in _CALLS:
            notes[_kind(kind)] += 1
    is_marked = taken.api.lists and any(taken.api.marks & block.keys() for block in kept)
    return kept if is_marked else "".join(block["text"] for block in kept)


def _plain(blocks: list[Any], taken: Takes) -> Any:
    """Return *blocks*, or their text where the API wants a string and there is nothing else."""
    if not blocks or (not taken.api.lists and all(block["type"] == "text" for block in blocks)):
        return "\n".join(block["text"] for block in blocks)
    return blocks


def _text(text: object, block: Any, taken: Takes, notes: Counter[str]) -> dict[str, Any] | None:
    """Return a block of *text* with those marks of *block* that the API takes; None for no text, which some refuse."""
    if not isinstance(text, str) or not text:
        return None
    found: frozenset[str] = MARKS & block.keys() if isinstance(block, dict) else frozenset()
    marks = found & taken.api.marks
    if found > marks:
        notes[A_MARK] += 1
    return {"type": "text", "text": text, **{name: fresh(block[name]) for name in marks}}


def _with_content(message: BaseMessage, content: Any) -> BaseMessage:
    """Return *message* with *content*, a name that every provider takes, and nothing of the caller's in it."""
    if content is message.content and not message.additional_kwargs and not message.name:
        return message
    beside = {name: fresh(value) for name, value in message.additional_kwargs.items() if name != "name"}
    name = _name(message.name or message.additional_kwargs.get("name"))
    return message.model_copy(update={"content": content, "additional_kwargs": beside, "name": name})


def _name(name: Any) -> str | None:
    """Return a speaker's *name* as every provider takes it."""
    return tool_name(name) if isinstance(name, str) and name else None


def _type(block: Any) -> str:
    """Return the type of *block*, which a bare string has not."""
    return str(block.get("type")) if isinstance(block, dict) else "text"


def _kind(kind: str) -> str:
    """Return what to call a block of this *kind*: a type of somebody's API, and no content."""
    return "reasoning of another model" if kind in _REASONING else f"a block of type {kind[:40]}"

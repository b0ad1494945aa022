"""Images, documents and files, in LangChain's notation unless the library that sends them knows the caller's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from liverouter.chat.history.copies import fresh

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from liverouter.chat.history.takes import Takes

MEDIA: Final = frozenset(  # of all notations
    {"audio", "document", "file", "image", "image_url", "input_audio", "media", "search_result", "video", "video_url"}
)
MARKS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})  # up to where a prompt is to be cached
A_MARK: Final = "a mark of a prompt's cache"
_A_FILE_AT: Final = "A file: {}"
_KINDS: Final = ("audio", "image", "video")


def media(block: Mapping[str, Any], taken: Takes, notes: Counter[str]) -> dict[str, Any]:
    """Return a copy of *block*, an image, a document or a file, as what is *taken*."""
    made: dict[str, Any] = dict(fresh(block))
    if isinstance(url := made.get("image_url"), str):  # as LangChain takes it of a caller, and OpenAI does not
        made["image_url"] = {"url": url}
    if block["type"] == "media" and not taken.gemini_blocks:
        made = _of_gemini(made)
    if not taken.anthropic_blocks:
        made = _of_anthropic(made)
        if made["type"] == "file" and "base64" in made:
            made.setdefault("filename", f"file.{str(made.get('mime_type', '')).rpartition('/')[2] or 'bin'}")
        for mark in MARKS & made.keys() - taken.api.marks:
            del made[mark]
            notes[A_MARK] += 1
    if made["type"] == "file" and "url" in made and not taken.api.file_urls:
        notes["a file by its address"] += 1
        return {"type": "text", "text": _A_FILE_AT.format(made["url"])}
    return made


def _of_gemini(block: dict[str, Any]) -> dict[str, Any]:
    """Return LangChain's block for media of Gemini."""
    mime_type = str(block.get("mime_type") or "")
    kind = mime_type.partition("/")[0]
    where = {"url": block["file_uri"]} if "file_uri" in block else {"base64": block.get("data", "")}
    return {"type": kind if kind in _KINDS else "file", **where, "mime_type": mime_type}


def _of_anthropic(block: dict[str, Any]) -> dict[str, Any]:
    """Return LangChain's block for an image, a document or a search result of Anthropic; any other as it is."""
    marks = {"cache_control": block["cache_control"]} if "cache_control" in block else {}
    if block["type"] == "search_result":
        found = [part.get("text") or "" for part in block.get("content") or () if isinstance(part, dict)]
        return {"type": "text", "text": "\n".join([str(block.get("title") or ""), *found]), **marks}
    source = block.get("source")
    if block["type"] not in ("document", "image") or not isinstance(source, dict):
        return block
    kind = "image" if block["type"] == "image" else "file"
    match source.get("type"):
        case "base64":
            return {"type": kind, "base64": source["data"], "mime_type": source["media_type"], **marks}
        case "url":
            return {"type": kind, "url": source["url"], **marks}
        case "text":
            return {"type": "text", "text": source["data"], **marks}
        case _:
            return block

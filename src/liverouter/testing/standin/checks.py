"""How every dialect reads a request; the wording of a complaint is the dialect's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from liverouter.testing.standin.answers import count_tokens

if TYPE_CHECKING:
    from liverouter.testing.standin.wire import Incoming, JsonObject

_MEDIA_TOKENS = 258  # for an image, a page or a sound, whatever its size


def bearer(request: Incoming) -> str | None:
    """Return the token of `Authorization: Bearer`, None without one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def unknown_keys(found: Iterable[str], known: frozenset[str]) -> list[str]:
    """Return the keys in *found* that are not *known*, in order."""
    return [key for key in found if key not in known]


def objects(value: object) -> list[JsonObject]:
    """Return the JSON objects in a list; nothing where it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def are_texts(values: Iterable[object]) -> bool:
    """Whether every one of *values* is a string."""
    return all(isinstance(value, str) for value in values)


def text_of(content: object) -> str:
    """Return the text in message content: a string, or a list of parts that have a `text`."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in objects(content) if isinstance(part.get("text"), str))


def tokens_of(messages: Iterable[Any], extra: Iterable[object] = ()) -> int:
    """Return the tokens of a history plus *extra* (a system prompt, tools), media at a flat rate."""
    return max(1, sum(map(_tokens, messages)) + sum(map(_tokens, extra)))


def _tokens(value: object) -> int:
    """Return the tokens of one JSON value: its texts and numbers, without the keys in `_SILENT`; media cost 258."""
    match value:
        case str():
            return count_tokens(value)
        case Mapping():
            if _MEDIA_KEYS & value.keys():
                return _MEDIA_TOKENS
            return sum(_tokens(item) for key, item in value.items() if key not in _SILENT)
        case list():
            return sum(map(_tokens, value))
        case None | bool():
            return 0
        case _:
            return count_tokens(json.dumps(value))


_MEDIA_KEYS = frozenset(
    {"image_url", "input_audio", "file", "source", "inlineData", "fileData", "inline_data", "file_data"}
)
_SILENT = frozenset(
    {"type", "role", "id", "tool_use_id", "tool_call_id", "cache_control", "signature", "thoughtSignature"}
)

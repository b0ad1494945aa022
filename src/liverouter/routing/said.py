"""What a provider says in the place of an answer, whatever the shape of its error. Pure.

Read where it comes in, see `guard`: the libraries wrap it in words of their own, and some take for the status what the
body calls a code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from liverouter.routing.retry_after import asked_s

_LONGEST: Final = 300  # characters of a message, and of a code
_MOST_DETAILS: Final = 20
_LARGEST: Final = 64_000  # bytes of an answer that is looked into
# As names and as values; within a text their quotes are escaped.
_MARKS: Final = (b'"error"', b'"error_code"', b'"MALFORMED_', b'"UNEXPECTED_TOOL', b'"TOO_MANY_TOOL')
_REFUSALS: Final = (b'"refusal"', b'"content_filter"', b'"finishReason"', b'"blockReason"')
_DECLINES: Final = re.compile(
    rb'"refusal": ?"((?:[^"\\]|\\.)*+)"|"(?:stop_reason": ?"refusal|finish_reason": ?"content_filter)"'
    rb'|"(?:blockReason|finishReason": ?"(?:SAFETY|PROHIBITED_CONTENT|BLOCKLIST|SPII|RECITATION|IMAGE_SAFETY))"'
)
_FAILED: Final = frozenset(  # reasons for which answers end that are none, as gateways and Google name them
    {"error", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"}
)
_ANSWER: Final = frozenset({"candidates", "choices", "content"})  # one of these is in every whole answer
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_CODES: Final = ("code", "type", "status", "reason", "error_code")
_A_STATUS: Final = re.compile("[45][0-9]{2}")  # also where it is a text, as Azure's
_STATUS: Final[Mapping[str, int]] = {  # of an error that came with none: in a stream, or called a success
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "overloaded_error": 529,
    "invalid_request_error": 400,
}


@dataclass(frozen=True, slots=True)
class Said:
    """A provider's error.

    Attributes:
        status: the HTTP status; of an error that came with none what its body names, 500 where that names none.
        codes: every code, type and reason in it.
        message: its beginning.
        is_end: it is the reason for which an answer ended, and stands beside what there is of the answer.
        retry_after_s: the seconds that the provider asks to be left alone, None where it asks for none.
    """

    status: int
    codes: frozenset[str]
    message: str
    is_end: bool = False
    retry_after_s: float | None = None


def said_by(status: int, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> Said:
    """Return the error of a response with *status*, *body* and *headers*, whose names are found in lower case."""
    document = _first(body)
    if document is None:
        return Said(status, frozenset(), "", retry_after_s=asked_s(headers))
    return _read(document, status, headers)


def error_in_answer(body: bytes) -> Said | None:
    """Return the error that a provider called a success, None where *body* holds none."""
    if len(body) > _LARGEST or not _has_mark(body) or (document := _first(body)) is None:
        return None
    return _error_in(document)


def error_in_events(events: bytes) -> Said | None:
    """Return the first error among whole *events* of a stream, None where there is none."""
    if not _has_mark(events):
        return None
    for line in events.splitlines():
        name, _, data = line.partition(b":")
        document = _first(data) if name == b"data" and _has_mark(data) else None
        if document is not None and (said := _error_in(document)) is not None:
            return said
    return None


def refusal_in(data: bytes) -> str | None:
    """Return the words by which an answer, or whole events of one, declines; "" without any, None where it does not.

    Some libraries leave them out of what they make of it. A model's arguments may have such a member as well, so it
    counts only where nothing else is in the answer.
    """
    if not any(mark in data for mark in _REFUSALS):
        return None
    found = list(_DECLINES.finditer(data))
    return "".join(_text(match[1]) for match in found if match[1]) if found else None


def _text(escaped: bytes) -> str:
    """Return the text that stands *escaped* between the quotes of a JSON string."""
    try:
        return str(json.loads(b'"%b"' % escaped, strict=False))
    except ValueError:
        return ""


def _has_mark(data: bytes) -> bool:
    return any(mark in data for mark in _MARKS)


def _error_in(document: Mapping[str, Any]) -> Said | None:
    """Return the error that *document* is or ended in: under `error`, or flat, as Snowflake's are; None without one.

    Of OpenAI's Responses API an event is the error itself, or has an answer that failed.
    """
    error, failed = document.get("error"), document.get("response")
    if isinstance(failed, Mapping) and isinstance(failed.get("error"), Mapping):
        return _read(failed)
    if (isinstance(error, Mapping) and error) or document.get("type") == "error":
        return _read(document)
    if _ANSWER.isdisjoint(document):
        return _read(document) if error or document.get("error_code") else None
    end = next((reason for reason in _ends(document) if reason in _FAILED), None)
    return None if end is None else Said(502, frozenset(), f"it ended for the reason {end!r}", is_end=True)


def _ends(document: Mapping[str, Any]) -> Iterator[Any]:
    """Yield why each choice of an answer, or of a piece of one, ended, as OpenAI's API and Google's say it."""
    for choices, reason in (("choices", "finish_reason"), ("candidates", "finishReason")):
        found = document.get(choices)
        for choice in found if isinstance(found, list) else ():
            if isinstance(choice, Mapping) and isinstance(end := choice.get(reason), str):
                yield end


def _first(body: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object that *body* holds, Google's list of one included; None where there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list) and document:
        document = document[0]
    return document if isinstance(document, Mapping) else None


def _read(document: Mapping[str, Any], status: int | None = None, headers: Mapping[str, str] = _NO_HEADERS) -> Said:
    """Return what *document* says: in its member `error`, or itself.

    *status* and *headers* are the response's, None and none where it came with none of its own.
    """
    error = document.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, Mapping) else document
    found = inner.get("details")
    details = found[:_MOST_DETAILS] if isinstance(found, list) else []
    parts = [inner, document, inner.get("innererror"), *details]
    values = [part.get(name) for part in parts if isinstance(part, Mapping) for name in _CODES]
    codes = frozenset(value for value in values if isinstance(value, str) and len(value) <= _LONGEST)
    words = error if isinstance(error, str) else inner.get("message") or document.get("message")
    message = words.strip()[:_LONGEST] if isinstance(words, str) else ""
    if status is None:
        named = [int(text) for text in map(str, values) if _A_STATUS.fullmatch(text)]
        named += [number for code, number in _STATUS.items() if code in codes]
        status = named[0] if named else 500
    return Said(status, codes, message, retry_after_s=asked_s(headers, details))

"""Text that others wrote, made fit for terminals and the database: it moves no cursor, turns no line round. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def printable(text: str) -> str:
    """Return *text* as one line: each line break, tab or odd blank a blank, what else cannot be printed U+FFFD."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else _REPLACEMENT for c in text)


def printable_values(value: Any) -> Any:
    """Return *value* with every text in it, keys included, made printable."""
    match value:
        case str():
            return printable(value)
        case Mapping():
            return {printable(key) if isinstance(key, str) else key: printable_values(v) for key, v in value.items()}
        case bytes():
            return value
        case Sequence():
            return [printable_values(member) for member in value]
        case _:
            return value


def storable_values(value: Any) -> Any:
    """Return *value* as PostgreSQL's jsonb takes it: U+FFFD for NUL and half characters, None for NaN and infinity."""
    match value:
        case str():
            return value if value.isprintable() else _UNSTORABLE.sub(_REPLACEMENT, value)
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {storable_values(key): storable_values(member) for key, member in value.items()}
        case Sequence():
            return [storable_values(member) for member in value]
        case _:
            return value


def printable_json(document: str) -> str:
    """Return the JSON *document*, of which each character that cannot be printed is escaped; it means the same."""
    if document.isprintable():
        return document
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in document)

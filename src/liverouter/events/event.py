"""The base of all events, and their levels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    name: ClassVar[str]
    level: ClassVar[Level] = "info"

    def facts(self) -> dict[str, Any]:
        """Return the log keys and values; Problems as dicts, empty values left out."""
        out: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or value in ((), ""):
                continue
            if field.name == "problem":
                out |= {"code": value.code, "error": value.message, "where": value.where, "hint": value.hint}
            elif field.name == "problems":
                out["problems"] = len(value)
                out["reasons"] = [str(p) for p in value]
            else:
                out[field.name] = round(value, 1) if isinstance(value, float) else value
        return out

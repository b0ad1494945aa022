"""Values on their way between JSON and the database."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from liverouter.errors import WriteRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping


def for_json(value: Any) -> Any:
    """Return a column's *value* in a type that json can write: a number that is not finite becomes None."""
    match value:
        case Decimal() | float():
            return float(value) if math.isfinite(value) else None
        case UUID():
            return str(value)
        case _:
            return value


def as_json(values: Mapping[str, object]) -> str:
    """Return *values* as JSON text; raises WriteRefusedError where one cannot be written (LR212)."""
    try:
        return json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise WriteRefusedError(
            f"a value is not JSON: {type(exc).__name__}",
            code="LR212",
            where="settings",
            hint="Numbers must be finite; times and the like go as text",
        ) from exc

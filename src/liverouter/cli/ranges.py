"""The numbers that options and arguments take."""

from __future__ import annotations

import math
from typing import Any, Final

import click


class Seconds(click.FloatRange):
    """A number of seconds within bounds; click's own range takes "nan" for one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return *value* as a number."""
        found: float = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return found


REVISION: Final = click.IntRange(0, 2**63 - 1)  # PostgreSQL's bigint

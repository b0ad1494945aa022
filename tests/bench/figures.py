"""What a measurement yields, and how it is shown: always a ratio against a named baseline of the same run."""

from __future__ import annotations

import json
import math
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


_TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    what: str
    ours: float
    baseline: float | None  # None: there is nothing to compare with, the figure stands alone
    against: str  # what the baseline is
    unit: str
    goal: float | None = None  # largest ratio wanted; None: said, not aimed at
    limit: float | None = None  # largest `ours` wanted, in its unit
    samples: int = 1
    series: dict[str, list[float]] = field(default_factory=dict)  # raw values for the plots

    @property
    def ratio(self) -> float | None:
        """Return ours / baseline, None where there is no baseline."""
        return None if not self.baseline else self.ours / self.baseline

    @property
    def met(self) -> bool | None:
        """Tell whether goal and limit hold; None where neither was set."""
        checks = []
        if self.goal is not None and self.ratio is not None:
            checks.append(self.ratio <= self.goal)
        if self.limit is not None:
            checks.append(self.ours <= self.limit)
        return all(checks) if checks else None


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile: the value that *share* of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def number(value: float | None) -> str:
    """Return *value* with three significant digits."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a markdown table."""
    lines = ["| what | ours | against | baseline | ratio | goal | met |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for f in figures:
        goal = f"≤ {f.goal:g}{_TIMES}" if f.goal is not None else ""
        if f.limit is not None:
            goal += f"{'; ' if goal else ''}≤ {f.limit:g} {f.unit}"
        baseline = f"{number(f.baseline)} {f.unit}" if f.baseline is not None else ""
        ratio = f"{number(f.ratio)}{_TIMES}" if f.ratio is not None else ""
        met = {True: "yes", False: "**no**", None: ""}[f.met]
        cells = [f.what, f"{number(f.ours)} {f.unit}", f.against, baseline, ratio, goal, met]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def save(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures, the raw series and what they were measured on as JSON."""
    packages = ("liverouter", "litellm", "langchain-core", "langchain-litellm", "asyncpg")
    document: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in packages},
        "figures": [asdict(f) | {"ratio": f.ratio, "met": f.met} for f in figures],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

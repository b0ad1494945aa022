"""What a measurement yields, and how it is shown: always a ratio against a named baseline of the same run."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_LEAST: Final = 6  # paired slices, below which their scatter says nothing
_PACKAGES: Final = ("liverouter", "litellm", "langchain-core", "langchain-litellm", "langchain-openai", "asyncpg")


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
    ratios: list[float] = field(default_factory=list)  # of slices measured in turn: their median is the ratio
    series: dict[str, list[float]] = field(default_factory=dict)  # raw values for the plots

    @property
    def ratio(self) -> float | None:
        """Return ours / baseline, None where there is no baseline."""
        if self.ratios:
            return median(self.ratios)
        return None if not self.baseline else self.ours / self.baseline

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return between which ratios the true one lies in 95 of 100 runs; None where slices were not paired."""
        return median_interval(self.ratios) if len(self.ratios) >= _LEAST else None

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


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median of *values*, by their ranks, which assumes nothing of them."""
    ordered, count = sorted(values), len(values)
    least = max(0, math.floor((count - 1.96 * math.sqrt(count)) / 2))
    return ordered[least], ordered[count - 1 - least]


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
        if (bounds := f.interval) is not None:
            ratio += f" ({number(bounds[0])} to {number(bounds[1])})"
        met = {True: "yes", False: "**no**", None: ""}[f.met]
        cells = [f.what, f"{number(f.ours)} {f.unit}", f.against, baseline, ratio, goal, met]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def document(measured: Mapping[str, Sequence[Figure]], scale: float) -> dict[str, Any]:
    """Return the figures of one run, by their measurement, and what they were measured on, ready for JSON."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": scale,
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_processor()}",
        "versions": {name: version(name) for name in _PACKAGES},
        "figures": [
            {"measurement": name} | asdict(f) | {"ratio": f.ratio, "met": f.met}
            for name, figures in measured.items()
            for f in figures
        ],
    }


def figures_of(run: Mapping[str, Any]) -> dict[str, list[Figure]]:
    """Return the figures of the run *run*, a `document`, by their measurement."""
    fields = Figure.__dataclass_fields__
    found: dict[str, list[Figure]] = {}
    for entry in run["figures"]:
        figure = Figure(**{name: value for name, value in entry.items() if name in fields})
        found.setdefault(entry["measurement"], []).append(figure)
    return found


def _processor() -> str:
    """Return what the machine calls its processor, as far as it tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"

"""The plots of the benchmarks' page: one run, ours beside the baseline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.bench.figures import Figure

OURS, BASELINE, MISSED = "#2563eb", "#9ca3af", "#dc2626"
_MOST = 2.0  # times its goal, that a bar shows: one far out would make all others short
_LABEL = 0.35  # about the width of a label, in shares of the goal
# Of a legend that touches nothing.
_ABOVE: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0.0, 1.0),
    "ncols": 2,
    "frameon": False,
    "fontsize": 8,
}
_HERD = re.compile(r"last of (\d+) listeners has re-read")
_START = "process start → first answer: "


def draw(figures: Sequence[Figure], folder: Path) -> None:
    """Write the plots that *figures* have the values for.

    ratios.svg is all that has a goal, against it; start.svg first answers; reloads.svg commit → live, all samples;
    listeners.svg and names.svg how it grows with their number; age.svg operators' questions after years.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "liverouter"}  # text stays text; the same ids every time
    folder.mkdir(parents=True, exist_ok=True)
    _ratios([f for f in figures if f.ratio is not None and f.goal is not None], folder / "ratios.svg")
    reload = next((f for f in figures if f.what.startswith("commit → live") and "floor" in f.series), None)
    if reload is not None:
        _distribution(reload, folder / "reloads.svg")
    herds = {int(found[1]): f for f in figures if (found := _HERD.search(f.what))}
    if len(herds) > 1:
        _growth(herds, folder / "listeners.svg")
    if starts := [f for f in figures if f.what.startswith(_START)]:
        _starts(starts, folder / "start.svg")
    if names := [f for f in figures if "names" in f.series]:
        _names({f.what.rpartition(", ")[2] + _kind(f): f for f in names}, folder / "names.svg")
    if ages := [f for f in figures if f.against == "an empty database" and f.unit == "ms"]:
        _ages(ages, folder / "age.svg")


def _ratios(figures: Sequence[Figure], path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    figure, axes = plt.subplots(figsize=(9, 0.42 * len(figures) + 1.2), layout="constrained")
    for row, f in enumerate(reversed(figures)):
        assert f.ratio is not None
        assert f.goal is not None
        share = f.ratio / f.goal
        axes.barh(row, min(share, _MOST), color=OURS if f.met else MISSED, height=0.6)
        free = 1.0 if 0 <= 1.0 - share < _LABEL else min(share, _MOST)  # right of the goal's line, not under it
        beyond = " \N{RIGHTWARDS ARROW}" if share > _MOST else ""
        axes.text(free + 0.02, row, f"{f.ratio:.2f} of {f.goal:g}{beyond}", va="center", fontsize=9)
    axes.axvline(1.0, color="black", linewidth=1.5)
    axes.set_yticks(range(len(figures)), [f"{f.what}\nagainst {f.against}" for f in reversed(figures)], fontsize=8)
    axes.set_xlabel("ratio to the baseline of the same run, as a share of its goal (less is better)")
    axes.set_xlim(0, _MOST + 0.3)
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    meanings = {OURS: "goal met", MISSED: "goal missed"}
    axes.legend(
        handles=[Patch(color=color, label=label) for color, label in meanings.items()],
        **_ABOVE,
    )
    figure.savefig(path)
    plt.close(figure)


def _distribution(f: Figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for name, color, label in (("floor", BASELINE, f.against), ("ours", OURS, "liverouter")):
        values = sorted(f.series[name])
        shares = [100 * (n + 1) / len(values) for n in range(len(values))]
        axes.step(values, shares, where="post", color=color, linewidth=2, label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("ms from the acknowledged commit to the generation in force")
    axes.set_ylabel("% of changes live")
    axes.legend(**_ABOVE)
    axes.grid(visible=True, color="#e5e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def _growth(herds: Mapping[int, Figure], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    sizes = sorted(herds)
    axes.plot(
        sizes, [herds[n].baseline or 0.0 for n in sizes], "o-", color=BASELINE, label="bare listeners that re-read"
    )
    axes.plot(sizes, [herds[n].ours for n in sizes], "o-", color=OURS, label="liverouter")
    axes.set_xlabel("listeners, all in one process, on one PostgreSQL")
    axes.set_ylabel("ms until the last has re-read")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    axes.grid(visible=True, color="#e5e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def _starts(figures: Sequence[Figure], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 2.6), layout="constrained", sharey=True)
    for axes, what in zip(panels, ("CPU", "memory"), strict=True):
        chosen = [f for f in figures if f.what.startswith(f"{_START}{what}, ")]
        for row, f in enumerate(reversed(chosen)):
            axes.barh(row + 0.2, f.ours, color=OURS, height=0.36)
            axes.barh(row - 0.2, f.baseline or 0.0, color=BASELINE, height=0.36)
        labels = [f"{f.what.removeprefix(f'{_START}{what}, ')}\nagainst {f.against}" for f in reversed(chosen)]
        axes.set_yticks(range(len(chosen)), labels, fontsize=8)
        axes.set_xlabel(f"{what} until the first answer, {chosen[0].unit}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def _kind(f: Figure) -> str:
    """Return what *f* measures of names: the beginning of its name, up to their number."""
    return ": " + f.what.partition(",")[0]


def _names(lines: Mapping[str, Figure], path: Path) -> None:
    import matplotlib.pyplot as plt

    units = ("ms", "MB", "kB")
    figure, panels = plt.subplots(1, len(units), figsize=(9, 2.8), layout="constrained")
    for axes, unit in zip(panels, units, strict=True):
        for name, f in lines.items():
            if f.unit == unit:
                engine = name.partition(":")[0]
                color = OURS if engine.startswith("native") else "#7c3aed"
                axes.plot(f.series["names"], f.series["values"], "o-", color=color, label=engine)
                axes.set_title(name.partition(": ")[2], fontsize=9)
        axes.set_xlabel("names")
        axes.set_ylabel(unit)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=7)
        axes.grid(visible=True, color="#e5e7eb", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def _ages(figures: Sequence[Figure], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.42 * len(figures) + 1.0), layout="constrained")
    for row, f in enumerate(reversed(figures)):
        axes.barh(row + 0.2, f.ours, color=OURS if f.met else MISSED, height=0.36)
        axes.barh(row - 0.2, f.baseline or 0.0, color=BASELINE, height=0.36)
    axes.set_yticks(
        range(len(figures)), [f.what.partition("`: ")[0].strip("`")[:70] for f in reversed(figures)], fontsize=8
    )
    axes.axvline(figures[0].limit or 0.0, color="black", linewidth=1.5)
    axes.set_xlabel("ms for the answer; grey: an empty database; black line: the limit; red: missed")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)

"""The plots that the README shows: distributions of one run, ours beside the baseline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.bench.figures import Figure

OURS, BASELINE = "#2563eb", "#9ca3af"
_LABEL = 0.2  # about the width of a label, in ratios
_HERD = re.compile(r"last of (\d+) listeners has re-read")


def draw(figures: Sequence[Figure], folder: Path) -> None:
    """Write ratios.svg (against the goals), reloads.svg (commit → live, all samples), listeners.svg (their growth)."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "liverouter"}  # text stays text; the same ids every time
    folder.mkdir(parents=True, exist_ok=True)
    _ratios([f for f in figures if f.ratio is not None and f.goal is not None], folder / "ratios.svg")
    reload = next((f for f in figures if f.what.startswith("commit → live") and f.series), None)
    if reload is not None:
        _distribution(reload, folder / "reloads.svg")
    herds = {int(found[1]): f for f in figures if (found := _HERD.search(f.what))}
    if len(herds) > 1:
        _growth(herds, folder / "listeners.svg")


def _ratios(figures: Sequence[Figure], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.42 * len(figures) + 1.2), layout="constrained")
    for row, f in enumerate(reversed(figures)):
        assert f.ratio is not None
        assert f.goal is not None
        axes.barh(row, f.ratio, color=OURS if f.met else "#dc2626", height=0.6)
        axes.plot([f.goal, f.goal], [row - 0.4, row + 0.4], color="black", linewidth=2)
        free = f.goal if 0 <= f.goal - f.ratio < _LABEL else f.ratio  # right of the goal's line, not under it
        axes.text(free + 0.03, row, f"{f.ratio:.2f}", va="center", fontsize=9)
    axes.set_yticks(range(len(figures)), [f"{f.what}\nagainst {f.against}" for f in reversed(figures)], fontsize=8)
    axes.set_xlabel("ratio to the baseline of the same run; black line: goal (less is better)")
    axes.spines[["top", "right"]].set_visible(False)
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
    axes.set_xlabel("ms from the acknowledged commit to the generation in force")
    axes.set_ylabel("% of changes live")
    axes.legend(frameon=False, loc="lower right", fontsize=8)
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

"""docs/explanation/benchmarks.md is written from one run, which is kept beside it: `run.py bench --page`.

`python -m tests.bench.page` writes its tables anew from the run that is kept.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from tests.bench.figures import figures_of, table
from tests.docs.blocks import filled
from tests.kit.pages import ROOT, rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.figures import Figure

RUN: Final = ROOT / "docs" / "explanation" / "benchmarks.json"
PLOTS: Final = ROOT / "docs" / "images"
SECTIONS: Final = ("start", "calls", "failover", "reloads", "swaps", "processes", "fleet", "names", "age")
_DRAWN: Final[Mapping[str, str]] = {  # of a section, above its table
    "start": "![CPU and memory until the first answer, ours beside the baseline](../images/start.svg)",
    "names": "![Commit to live, memory and traffic by the number of names](../images/names.svg)",
    "age": "![Time of each question, on an empty database and after years](../images/age.svg)",
}
# Why a goal is missed, where it is, by how the figure's name begins.
REASONS: Final[Mapping[str, str]] = {
    "process start": """
        a first answer loads LangChain with LangSmith (a tenth of a bare Router's memory), asyncpg and this library
        beside the provider's, and with litellm goes once through the dialect of each provider in use, so that no
        caller pays litellm's late imports""",
    "invoke: CPU": """
        a sync call is an async one on the I/O loop, and takes the way to that thread and back, and asyncio, which the
        sync clients of ChatOpenAI and litellm do without. In return it can be cancelled, shares connections with async
        calls and opens none""",
    "ainvoke": """
        each attempt has history, tools and parameters made fit for its deployment, on copies, which no baseline
        does""",
    "astream": """
        on top of a stock stream come the check of its end, the deadline and the crossing of the loops""",
    "stream": """
        as for `astream`, and what has arrived crosses from the I/O loop to the caller's thread""",
    "commit → live, one process": """
        beside the read it validates, builds what changed, warms it, and swaps""",
    "commit → last of": """
        listeners in one process read one after another; theirs is one statement for all of a revision, with what
        tells a standby, a policy that hides rows, and other software's rows, where the bare ones read twenty rows and
        a number""",
    "event-loop lag": """
        beside two hundred calls, each swap builds its generation in a thread of the same interpreter""",
    "first call after a swap": """
        it opens a connection; all imports are done by then, and a class that fetches no tokens was led through its API,
        over answers from memory""",
    "p99.9": """
        everything alive when the first generation is ready is exempt from garbage collection, so that no full
        collection of it stops the process; the longest collection stands below. In as many calls litellm alone meets no
        full one either, so there is nothing to win. What is longer is the machine's: beside other work the longest
        pauses, of 50 to 200 ms, held 4 or 5 ms of this process's CPU""",
    "longest pause": """
        as for the p99.9: both are the machine's own pauses""",
    "swaps, each a new key: descriptors": """
        litellm keeps the client of each key that made a call, with its connection, for an hour, two hundred at
        most""",
}
UNKNOWN: Final = "nobody has said why yet"
_COUNT: Final = re.compile(r"^[\d,]+ (?=swaps)")


NAMES: Final = frozenset(f"bench-{name}" for name in ("run", "missed", *SECTIONS))


def blocks(run: Mapping[str, Any]) -> dict[str, str]:
    """Return the generated parts of the page, by name, from the figures of *run*."""
    measured = figures_of(run)
    tables = {
        f"bench-{name}": "\n\n".join(filter(None, (_DRAWN.get(name), table(measured[name])))) for name in SECTIONS
    }
    figures = [figure for found in measured.values() for figure in found]
    return {"bench-run": _run(run), "bench-missed": _missed(figures)} | tables


def reason(figure: Figure) -> str:
    """Return why *figure* misses its goal."""
    what = _COUNT.sub("", figure.what)
    return next((" ".join(why.split()) for beginning, why in REASONS.items() if what.startswith(beginning)), UNKNOWN)


def write(run: Mapping[str, Any]) -> None:
    """Write the page's tables and plots from *run*, and keep its figures, without their samples, beside the page."""
    from tests.bench.plots import draw

    draw([figure for found in figures_of(run).values() for figure in found], PLOTS)
    kept = {**run, "figures": [{**entry, "series": {}} for entry in run["figures"]]}
    RUN.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    fill(kept)


def fill(run: Mapping[str, Any]) -> None:
    """Write the page's tables from *run*; name the goals that it misses and nobody has explained."""
    rewrite(lambda page: filled(page, blocks(run)))
    missed = [figure for found in figures_of(run).values() for figure in found if figure.met is False]
    unexplained = [figure.what for figure in missed if reason(figure) == UNKNOWN]
    sys.stdout.write(f"wrote the page: {len(missed)} goals missed, without a reason: {unexplained or 'none'}\n")


def _run(run: Mapping[str, Any]) -> str:
    """Return one line that says what was measured on."""
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    when, scale = run["measured_at"][:10], f"`--scale {run['scale']:g}`"
    return f"Measured {when} with {scale} on {run['machine']}; Python {run['python']}, {versions}."


def _missed(figures: Sequence[Figure]) -> str:
    """Return a line for each reason, with the figures that it explains."""
    found: dict[str, list[str]] = {}
    for figure in figures:
        if figure.met is False:
            found.setdefault(reason(figure), []).append(
                f"{figure.what} (against {figure.against})" if figure.against else figure.what
            )
    if not found:
        return "Nothing."
    return "\n".join(f"- **{'; '.join(dict.fromkeys(names))}**: {why}" for why, names in found.items())


def main() -> None:
    """Write the page's tables from the run that is kept."""
    fill(json.loads(RUN.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()

"""The documentation as its tests read it: README.md and every page under docs/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"


def paths() -> list[Path]:
    """Return every page, the README first."""
    return [README, *sorted((ROOT / "docs").rglob("*.md"))]


def text() -> str:
    """Return all pages, one after the other."""
    return "\n\n".join(path.read_text(encoding="utf-8") for path in paths())


def section(heading: str) -> str:
    """Return what stands under the line *heading*, up to the next heading of its level or the end of its page.

    Raises:
        LookupError: no page has that heading, or several have.
    """
    found = [page for path in paths() if f"\n{heading}\n" in (page := f"\n{path.read_text(encoding='utf-8')}")]
    if len(found) != 1:
        raise LookupError(f"{len(found)} pages have the heading {heading!r}")
    level = heading.partition(" ")[0]
    return found[0].partition(f"\n{heading}\n")[2].partition(f"\n{level} ")[0]


def rewrite(change: Callable[[str], str]) -> None:
    """Write every page anew that *change* makes another text of."""
    for path in paths():
        old = path.read_text(encoding="utf-8")
        if (new := change(old)) != old:
            path.write_text(new, encoding="utf-8")

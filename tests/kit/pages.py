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
    """Return the page whose first line is *heading*, without that line.

    Raises:
        LookupError: no page is headed so, or several are.
    """
    found = [page for path in paths() if (page := path.read_text(encoding="utf-8")).startswith(f"{heading}\n")]
    if len(found) != 1:
        raise LookupError(f"{len(found)} pages are headed {heading!r}")
    return found[0].removeprefix(heading)


def rewrite(change: Callable[[str], str]) -> None:
    """Write every page anew that *change* makes another text of."""
    for path in paths():
        old = path.read_text(encoding="utf-8")
        if (new := change(old)) != old:
            path.write_text(new, encoding="utf-8")

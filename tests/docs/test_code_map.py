"""The code map is true: its rooms are those of the floors, and each way leads from one to the next."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

import liverouter

HOUSE: Final = Path(liverouter.__file__).parent
ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs/explanation/code-map.md").read_text()
NAME: Final = re.compile(r"`([a-z_/]+(?:\(\))?)`")
WAYS: Final = re.findall(
    r"^- \*\*(.+?)\*\*, (?:through|after) (\d+) (rooms|stops)\. ((?:.|\n(?!- ))+)", TEXT, re.MULTILINE
)


def floors() -> dict[str, int]:
    """Return each room and how far down it is."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == ["liverouter"])
    return {room: depth for depth, layer in enumerate(layers) for room in layer.split(" | ")}


def stops(way: str) -> list[str]:
    """Return the files and rooms of our own that *way* names, in its order."""
    found = [name.removesuffix("()") for name in NAME.findall(way)]
    return [name for name in found if (HOUSE / name).is_dir() or (HOUSE / f"{name}.py").is_file()]


@cache
def known_to(room: str) -> set[str]:
    """Return the rooms that *room* imports of, if only for types."""
    files = [HOUSE / f"{room}.py", *(HOUSE / room).rglob("*.py")]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    return set(re.findall(r"^ *from liverouter\.(\w+)", text, re.MULTILINE))


def test_rooms_are_those_of_the_floors() -> None:
    """Each stands there once, none above one that it stands on."""
    rows = [NAME.findall(line.split("|")[1]) for line in TEXT.splitlines() if line.startswith("| `")]
    depths = floors()
    assert sorted(room for row in rows for room in row) == sorted(depths.keys() - {"__main__"})
    assert all(depths[upper[0]] <= depths[lower[0]] for upper, lower in pairwise(rows))


def test_ways_are_told() -> None:
    """Those that this file looks at."""
    assert len(WAYS) == TEXT.count("\n- **") == 4


@pytest.mark.parametrize(("title", "count", "unit", "way"), WAYS, ids=[way[0] for way in WAYS])
def test_way_is_as_long_as_it_says(title: str, count: str, unit: str, way: str) -> None:
    """Rooms are folders, counted once; a stop is whatever is named on the way, what is beside it not."""
    rooms = {stop.partition("/")[0] for stop in stops(way)}
    named = NAME.findall(way.partition(";")[0])
    assert int(count) == (len(named) if unit == "stops" else sum((HOUSE / room).is_dir() for room in rooms)), title


@pytest.mark.parametrize("way", [way[3] for way in WAYS], ids=[way[0] for way in WAYS])
def test_each_stop_is_known_to_one_before_it(way: str) -> None:
    """Or knows one: a way whose rooms have nothing to do with each other is history."""
    rooms = [stop.partition("/")[0] for stop in stops(way)]
    for place, room in enumerate(rooms[1:], 1):
        before = set(rooms[:place])
        assert room in before or before & known_to(room) or any(room in known_to(one) for one in before), room


@pytest.mark.parametrize("way", [way[3] for way in WAYS], ids=[way[0] for way in WAYS])
def test_files_on_the_way_are_there(way: str) -> None:
    """What has a slash is a file or a folder of ours; else it may be the database's."""
    missing = [name for name in NAME.findall(way) if name.count("/") and not name.startswith("/")]
    assert set(missing) <= set(stops(way))

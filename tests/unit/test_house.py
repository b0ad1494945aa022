"""The library stays a house to live in: few names, few rooms, no long file."""

from __future__ import annotations

from pathlib import Path

import liverouter

ROOM = Path(liverouter.__file__).parent


def test_few_names_are_offered_and_all_are_there() -> None:
    """What a service needs, at most twelve; the others can be imported by name as well."""
    assert len(liverouter.__all__) <= 12
    assert set(liverouter.__all__) < set(dir(liverouter))
    assert all(getattr(liverouter, name) for name in dir(liverouter))


def test_few_files_stand_outside_of_a_room() -> None:
    """At most fourteen."""
    assert len(list(ROOM.glob("*.py"))) <= 14


def test_every_file_is_read_in_one_sitting() -> None:
    """At most 350 lines."""
    lengths = {path.relative_to(ROOM): len(path.read_text().splitlines()) for path in ROOM.rglob("*.py")}
    assert [str(path) for path, length in lengths.items() if length > 350] == []

"""What differs between two configs, setting by setting and member by member, for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from liverouter.cli.output import show_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DIFF: Final = {"object": "OBJECT", "key": "KEY", "old": "OLD", "new": "NEW"}
_NOT_SET: Final = "not set"


def show_changes(changes: Iterable[Mapping[str, Any]]) -> None:
    """Print *changes*, as `SettingsRepository.diff` gives them, as a table: a line for each member that differs."""
    lines = [
        {"object": change["object"], "key": key, "old": _shown(old), "new": _shown(new)}
        for change in changes
        for key, old, new in told(change["key"], change)
    ]
    show_table(lines, _DIFF)


def told(name: str, change: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the `parts` of *change*, whose place is *name*; a setting that is null is "null", and None is none."""
    old, new = ("null" if change.get("null") == side else change[side] for side in ("old", "new"))
    yield from parts(name, old, new)


def parts(key: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield place, old and new value of each part that differs; None where there is none.

    What is an object on both sides is compared by its members, lists of the same length by their elements.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                yield from parts(f"{key}.{name}", old.get(name), new.get(name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            if before != after:
                yield from parts(f"{key}[{index}]", before, after)
    else:
        yield key, old, new


def _shown(value: Any) -> Any:
    return _NOT_SET if value is None else value

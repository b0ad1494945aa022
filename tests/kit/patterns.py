"""Every pattern of the package, and what each finds hardest to read: made of the pattern's own parts."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from re import (
    _constants as sre,  # the parts of a pattern, known nowhere else
    _parser,
)
from typing import TYPE_CHECKING, Any, Final

import liverouter
from tests.kit.linear import SIZES, assert_linear, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ROOT: Final = Path(liverouter.__file__).parents[1]
_SOURCES: Final = sorted(Path(liverouter.__file__).parent.rglob("*.py"))
_REPEATS: Final = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
_ASSERTIONS: Final = (sre.ASSERT, sre.ASSERT_NOT)


def patterns() -> dict[str, re.Pattern[Any]]:
    """Return every pattern of the package by its name; some read bytes."""
    found: dict[str, re.Pattern[Any]] = {}
    for source in _SOURCES:
        if "re.compile(" in source.read_text(encoding="utf-8"):
            module = importlib.import_module(_name(source))
            ours = {name: value for name, value in vars(module).items() if isinstance(value, re.Pattern)}
            found |= {f"{module.__name__}.{name}": value for name, value in ours.items()}
    return found


def hidden() -> list[str]:
    """Return where the package uses `re` otherwise than by a pattern that is a module's own name."""
    places = [f"{_name(source)}:{call.lineno}" for source in _SOURCES for call, named in _uses(source) if not named]
    others = re.compile(r"^\s*(from re import|import re as)", re.MULTILINE)
    return places + [_name(source) for source in _SOURCES if others.search(source.read_text(encoding="utf-8"))]


def assert_linear_pattern(pattern: re.Pattern[Any]) -> None:
    """Fail where *pattern* takes more than linear time for one of its worst cases."""

    def run(text: str) -> None:
        read = text.encode() if isinstance(pattern.pattern, bytes) else text
        pattern.sub(read[:0], read)
        pattern.fullmatch(read)

    for start, unit in sorted(_Cases(pattern).found):
        try:
            assert_linear(
                run, texts(unit, start), sizes=SIZES[:-2]
            )  # by then a step back at each takes a tenth of a second
        except AssertionError as exc:
            raise AssertionError(f"{pattern.pattern!r} on {start!r} and {unit!r} again and again: {exc}") from None


def _name(source: Path) -> str:
    return ".".join(source.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__")


def _uses(source: Path) -> Iterator[tuple[ast.Call, bool]]:
    """Yield each call of a function of `re`, and whether it makes the pattern that a name of the module stands for."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    at_home = {id(node.value) for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "re":
                yield node, node.func.attr == "compile" and id(node) in at_home


class _Cases:
    """The inputs that a pattern may find hard, read off its parts.

    Attributes:
        found: pairs of a start and a unit to repeat behind it. A unit is what a part matches; a start leads to a part
            that repeats.
    """

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self.found: set[tuple[str, str]] = set()
        self._walk(_parser.parse(pattern.pattern, pattern.flags))
        self.found.add(("", "".join(sorted(unit for _, unit in self.found))))

    def _walk(self, sequence: Any) -> list[str]:
        """Return texts that *sequence* matches, among them one for each of its alternatives."""
        heads = [""]
        for kind, value in sequence:
            options = self._options(kind, value, heads)
            if kind is not sre.LITERAL:
                self._add("", (*heads, *options))
            heads = list(dict.fromkeys([*(h + options[0] for h in heads), *(heads[0] + o for o in options[1:])]))
        self._add("", heads)
        return heads

    def _add(self, start: str, units: Iterable[str]) -> None:
        """Keep each of *units* but the empty one behind *start*."""
        self.found.update((start, unit) for unit in units if unit)

    def _options(self, kind: Any, value: Any, heads: list[str]) -> list[str]:
        """Return what one part of a sequence, which *heads* lead to, may match."""
        if kind in _REPEATS:
            least, most, inner = value
            units = self._walk(inner)
            for head in heads[:8] if most == sre.MAXREPEAT else ():
                self._add(head, units)
            return [unit * max(least, 1) for unit in units] + ([""] if least == 0 else [])
        if kind in _ASSERTIONS:
            self._walk(value[1])
            return [""]
        parts: list[Any] = []
        match kind:
            case sre.SUBPATTERN:
                parts = [value[-1]]
            case sre.ATOMIC_GROUP:
                parts = [value]
            case sre.BRANCH:
                parts = value[1]
        if parts:
            return [text for sequence in parts for text in self._walk(sequence)]
        return [""] if kind is sre.AT else _characters(value if kind is sre.IN else [(kind, value)])


def _characters(members: Iterable[tuple[Any, Any]]) -> list[str]:
    """Return a few characters of a class."""
    listed, negated = [], False
    for kind, value in members:
        match kind:
            case sre.LITERAL | sre.NOT_LITERAL:
                listed.append(chr(value))
                negated |= kind is sre.NOT_LITERAL
            case sre.RANGE:
                listed.append(chr(value[0]))
            case sre.CATEGORY:
                listed.append({sre.CATEGORY_DIGIT: "1", sre.CATEGORY_SPACE: " "}.get(value, "a"))
            case sre.NEGATE | sre.ANY:
                negated = True
    return [c for c in "a :?" if c not in listed] if negated else listed

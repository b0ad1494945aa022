"""Does the time that something takes grow with its input, or with the square of it? Judged by CPU time, not by a clock.

Twice as busy a machine makes both of two measurements longer; only their ratio is judged, and a bad one is measured
again before it counts.
"""

from __future__ import annotations

import gc
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SIZES: Final = (400, 1_600, 6_400, 25_600, 102_400)  # characters; ascending, so that what is cubic ends early
_GROWTH: Final = 9.0  # four times the input: 4 where time is linear, 16 where it is quadratic
_TRIES: Final = 3


def assert_linear(
    run: Callable[[Any], object],
    make: Callable[[int], Any],
    *,
    sizes: Sequence[int] = SIZES,
    clock: Callable[[], float] = time.thread_time,
    floor_s: float = 0.01,
) -> None:
    """Fail where *run* takes more than nine times as long for ``make(4 * n)`` as for ``make(n)``, or 81 times for 16.

    Args:
        run: what is measured; takes what *make* returns.
        make: makes an input of *n* characters.
        sizes: characters, each four times the one before.
        clock: seconds; the thread's CPU time by default.
        floor_s: seconds; what takes less is not judged, as it harms nobody.
    """

    def spent_s(size: int) -> float:
        material = make(size)
        gc.disable()  # a full collection goes through everything that a session of tests has left
        try:
            started = clock()
            run(material)
            return clock() - started
        finally:
            gc.enable()

    known: list[float] = []  # seconds for each of *sizes*
    for size in sizes:
        long_s = spent_s(size)
        # Against 16 times less as well: there no noise makes linear time look quadratic, or quadratic linear.
        for steps in range(min(2, len(known)), 0, -1):
            smaller, tries = sizes[len(known) - steps], _TRIES
            while long_s > max(floor_s, _GROWTH**steps * known[-steps]):
                if not tries:
                    raise AssertionError(f"{smaller} characters: {known[-steps]:.3f} s, {size}: {long_s:.3f} s of CPU")
                tries -= 1
                known[-steps], long_s = max(known[-steps], spent_s(smaller)), min(long_s, spent_s(size))
        known.append(long_s)


def texts(unit: str, start: str = "", end: str = "\n\0") -> Callable[[int], str]:
    """Return what makes a text of *n* characters: *unit* again and again, and an *end* that hardly anything matches."""
    return lambda size: start + unit * (size // len(unit)) + end


def _deep(size: int) -> Any:
    """Return a list in a list in a list, *size* characters of JSON."""
    value: Any = 1
    for _ in range(size // 2):
        value = [value]
    return value


def _wide_below(size: int) -> Any:
    """Return many nodes, each far from the top."""
    value: Any = [1, "sk-aaaaaaaa"] * (size // 20)
    for _ in range(min(90, size // 90)):
        value = {"k" * 40: value}
    return value


DEEP: Final = _deep  # more levels than PostgreSQL takes

VALUES: Final[Mapping[str, Callable[[int], Any]]] = MappingProxyType(
    {  # JSON of about so many characters
        "question marks": lambda n: "?" * n,
        "one word": lambda n: "a" * n,
        "parameters": lambda n: "?keykey" * (n // 7),
        "authorities": lambda n: "a://" + "a:" * (n // 2),
        "schemes": lambda n: "a://" * (n // 4),
        "tokens' heads": lambda n: " eyJaaaaaaaa" * (n // 12),
        "numbers": lambda n: [1] * (n // 2),
        "objects": lambda n: [{}] * (n // 3),
        "references": lambda n: [{"secret": "a"}] * (n // 15),
        "members": lambda n: {f"m{i}": 1 for i in range(n // 9)},
        "members that are keys": lambda n: {f"sk-{i:08}": 1 for i in range(n // 15)},
        "members named like secrets": lambda n: {f"{i}_token": {} for i in range(n // 15)},
        "elements of a long name": lambda n: {"n" * (n // 2): [1] * (n // 4)},
        "elements of a long key": lambda n: {" sk-" + "n" * (n // 2): [1] * (n // 4)},
        "keys": lambda n: ["sk-aaaaaaaa"] * (n // 14),
        "many far down": _wide_below,
    }
)

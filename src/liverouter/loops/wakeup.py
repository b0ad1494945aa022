"""How a background loop waits: for the next wake-up from any thread, or for the time of its next try."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Final, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
_MOST_DOUBLINGS: Final = 30  # enough: 2**30 times any first pause is longer than any last one
_random: Final = random.Random()  # noqa: S311 - spreads a fleet, guards nothing


def call_soon(loop: asyncio.AbstractEventLoop, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Have ``fn(*args, **kwargs)`` called on *loop*, from any thread; return False where the loop was closed."""
    try:
        loop.call_soon_threadsafe(lambda: fn(*args, **kwargs))
    except RuntimeError:
        return False
    return True


class Wakeup:
    """A flag that any thread sets and one task waits for.

    Nothing queues: however often it is set before the task takes it with `clear`, it wakes the task once. The task
    clears it before it looks at what it was woken for, so that a later `set` means a later look.
    """

    __slots__ = ("_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def is_set(self) -> bool:
        """Tell whether it was set since the last `clear`."""
        return self._is_set

    def set(self) -> None:
        """Wake the task that waits, or the next one that does. From any thread; never blocks, never fails."""
        if self._is_set:
            return
        self._is_set = True  # before the look at who waits; `wait` notes itself before it looks here
        if (waiting := self._waiting) is not None:
            loop, arrived = waiting
            call_soon(loop, arrived.set)

    def clear(self) -> None:
        """Take the wake-up: what is set from now on is another one."""
        self._is_set = False

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Return whether it is set, after waiting for that at most *timeout_s* seconds; None waits for ever.

        It stays set until `clear`. One task waits at a time, on whichever loop.
        """
        arrived = asyncio.Event()
        self._waiting = asyncio.get_running_loop(), arrived
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while not self._is_set:  # a loop, because `clear` may take what this was woken for
                        await arrived.wait()
                        arrived.clear()
        finally:
            self._waiting = None
        return self._is_set


class Backoff:
    """The pauses between the tries of something that goes on failing: exponential backoff with full jitter.

    The pause after the n-th failure in a row is drawn evenly from 0 to ``first_s * 2**n`` seconds, or to *last_s* where
    that is less. It is drawn from 0, not from half of the longest: processes that lost one server at one moment spread
    over the whole span, and some come back at once.

    Args:
        first_s: seconds; half of the longest pause after one failure.
        last_s: seconds; the longest pause of all.
        rng: draws; None draws from the module's own.

    Attributes:
        failures: how many in a row, since `reset`.
    """

    __slots__ = ("_first_s", "_last_s", "_rng", "failures")

    def __init__(self, first_s: float, last_s: float, *, rng: random.Random | None = None) -> None:
        self._first_s, self._last_s, self._rng = first_s, last_s, rng or _random
        self.failures = 0

    def next(self) -> float:
        """Count one more failure and return the seconds to wait before the next try."""
        self.failures += 1
        longest_s = min(self._last_s, self._first_s * 2 ** min(self.failures, _MOST_DOUBLINGS))
        return self._rng.uniform(0, longest_s)

    def reset(self) -> None:
        """Forget the failures: it works again."""
        self.failures = 0


def jittered(seconds: float, *, rng: random.Random | None = None) -> float:
    """Return *seconds* give or take a fifth, drawn evenly, so that the processes of a fleet do not act in step."""
    return seconds * (rng or _random).uniform(0.8, 1.2)

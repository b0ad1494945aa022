"""The time that one call may take.

A library's own timeout is that of one read, which a ping or a few bytes of an answer begin anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")

GRACE: Final = 1.1  # of the timeout: a library's own error says more than ours, so it comes first where it comes
_BACKOFF_S: Final = 20.0  # more than the pause that a provider's library makes before another try
_clock: ContextVar[Clock | None] = ContextVar("liverouter_clock", default=None)


class Clock:
    """How long one call may stay silent: before its first content, and between two contents.

    A server's error gives the next attempt a time of its own. The time that the reader spends between two pieces does
    not count. Used on one event loop.

    Attributes:
        answered: whether the provider has answered anything but an error.
        opened: the streams of its answers; `close` lets go of those that a library left open.
    """

    def __init__(self, timeout_s: float) -> None:
        """Give each attempt *timeout_s* seconds, and a tenth more for the library's own timeout to come first."""
        self.answered = False
        self.opened: list[Any] = []
        self._limit_s = self._left_s = timeout_s * GRACE
        self._loop = asyncio.get_running_loop()
        self._since = 0.0  # when the wait began, by the loop's time
        self._timer: asyncio.Timeout | None = None  # none while nobody waits
        self._is_between_attempts = False

    async def wait(self, work: Awaitable[T]) -> T:
        """Return what *work* returns.

        Raises:
            TimeoutError: there is no time left.
        """
        token = _clock.set(self)
        self._since = self._loop.time()
        try:
            async with asyncio.timeout_at(self._since + self._left_s) as self._timer:
                return await work
        finally:
            self._timer = None
            self._left_s -= self._loop.time() - self._since
            _clock.reset(token)

    def heard(self) -> None:
        """Give what comes next its own time: the provider sent content, and no ping or empty piece."""
        self._give(self._limit_s)

    def attempt_began(self) -> None:
        """Give a second attempt its own time."""
        if self._is_between_attempts:
            self._is_between_attempts = False
            self._give(self._limit_s)

    def attempt_failed(self) -> None:
        """Leave time for a pause: the provider answered an error that is worth another attempt."""
        self._is_between_attempts = True
        self._give(self._limit_s + _BACKOFF_S)

    async def close(self) -> None:
        """Let go of every stream that was not read to its end."""
        for stream in self.opened:
            with contextlib.suppress(Exception):
                await stream.aclose()

    def _give(self, seconds: float) -> None:
        """Let the call wait *seconds* from now on, or from the next `wait` on where nobody waits."""
        now = self._loop.time()
        self._left_s = seconds + (now - self._since if self._timer is not None else 0.0)
        if self._timer is not None:
            with contextlib.suppress(RuntimeError):  # it has just expired
                self._timer.reschedule(now + seconds)


def clock_of_call() -> Clock | None:
    """Return the clock of the call that this context makes, None where it has none."""
    return _clock.get()


def leave_clock() -> None:
    """Take what this context asks for from now on out of the time of the call that it belongs to."""
    _clock.set(None)

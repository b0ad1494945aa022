"""The time that one attempt may take.

A library's own timeout is that of one read, which a ping or a few bytes of an answer begin anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

from liverouter.providers import spec_of
from liverouter.secrecy.origins import origin_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from liverouter.revision import Deployment
    from liverouter.routing.said import Said
    from liverouter.routing.unreached import Lost

T = TypeVar("T")

_GRACE: Final = 1.1  # of the timeout: a library's own error says more than ours, so it comes first where it comes
_clock: ContextVar[Clock | None] = ContextVar("liverouter_clock", default=None)


class Clock:
    """How long one attempt may stay silent: before its first content, and between two contents.

    The time that the reader spends between two pieces does not count. Used on one event loop.

    Attributes:
        timeout_s: seconds, as configured.
        headers: name -> the value that each request of the attempt carries, or None for what is taken off.
        origin: the only one that its requests may go to; "" where they go where the address of a client has them go.
        sent: whether a request was handed to a connection; one for a token, which comes first, does not count.
        answered: whether the provider has answered anything but an error.
        said: the error that it answered last; None where that was none.
        declined: the words by which the model declined to answer; "" without any, None where it did not.
        lost: why the last request got no answer, or no whole one; None where it got one.
        opened: the streams of its answers; `close` lets go of those that a library left open.
        reads_cost: whether the caller takes the cost from litellm's answer.
    """

    def __init__(self, timeout_s: float, headers: Mapping[str, str | None] | None = None, origin: str = "") -> None:
        """Allow *timeout_s* seconds, and a tenth more for the library's own timeout to come first."""
        self.timeout_s, self.headers, self.origin = timeout_s, headers or {}, origin
        self.sent = self.answered = self.reads_cost = False
        self.said: Said | None = None
        self.declined: str | None = None
        self.lost: Lost | None = None
        self.opened: list[Any] = []
        self._limit_s = self._left_s = timeout_s * _GRACE
        self._loop = asyncio.get_running_loop()
        self._since = 0.0  # when the wait that is on began, by the loop's time
        self._bound: asyncio.Timeout | None = None  # of the wait that is on
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, work: Awaitable[T]) -> T:
        """Return what *work* returns.

        Raises:
            TimeoutError: there is no time left.
        """
        token = _clock.set(self)
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + self._left_s, self._look)
        try:
            async with asyncio.timeout(None) as self._bound:  # `_look` ends it: a timer for each chunk would be dear
                return await work
        finally:
            self._bound = None
            self._left_s -= self._loop.time() - self._since
            _clock.reset(token)

    def hurry(self, first_s: float | None) -> None:
        """Allow only *first_s* seconds until `heard`, where that is less; called before the first wait."""
        if first_s is not None:
            self._left_s = min(self._left_s, first_s)

    def check(self) -> None:
        """Raise TimeoutError where no time is left: between pieces that are all there already no timer runs."""
        if self._left_s <= 0:
            raise TimeoutError

    def _look(self) -> None:
        """End the wait that is on if its time is up, else look again when it will be; the next wait has it look too."""
        self._timer = None
        if self._bound is not None:
            ends_at = self._since + self._left_s
            if self._loop.time() >= ends_at:
                self._bound.reschedule(ends_at)
            else:
                self._timer = self._loop.call_at(ends_at, self._look)

    def heard(self) -> None:
        """Give what comes next a time of its own: the provider sent content, and no ping or empty piece."""
        self._left_s = self._limit_s

    async def close(self) -> None:
        """Let go of every stream that was not read to its end; nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
        for stream in self.opened:
            with contextlib.suppress(Exception):
                await stream.aclose()


def clock_for(deployment: Deployment, timeout_s: float) -> Clock:
    """Return the clock of an attempt at *deployment*, as its provider has requests sent."""
    spec = spec_of(deployment)
    origin = origin_of(deployment.endpoint) if spec.is_held else ""
    return Clock(timeout_s, spec.headers(deployment), origin)


def clock_of_call() -> Clock | None:
    """Return the clock of the attempt that this context makes, None where it has none."""
    return _clock.get()


def leave_clock() -> None:
    """Take what this context asks for from now on out of the time of the attempt that it belongs to."""
    _clock.set(None)

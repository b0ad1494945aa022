"""How callers wait for the first generation: for others as long as was asked for, for this machine's work longer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from liverouter.loops.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.engine.starting import Step
    from liverouter.engine.status import Status, StatusTracker
    from liverouter.events import Event

_MOST_WORK: Final = 10  # times the seconds that a caller waits for others


class Patience:
    """The time that one caller has, from its construction on.

    What counts is the time in which others are waited for: the database, somebody who stores settings. A machine that
    starts many processes at once takes its time over each, which is no reason to give up. For a start that never ends,
    ten times *limit_s* end the wait all the same.

    Args:
        limit_s: seconds.
        strict: this machine's own work counts, too.
    """

    def __init__(self, limit_s: float, *, strict: bool = False) -> None:
        self._limit_s, self._end_s = limit_s, limit_s if strict else limit_s * _MOST_WORK
        self._began = self._told = time.monotonic()
        self._worked_s = 0.0
        self._step: Step | None = None

    @property
    def waited_s(self) -> float:
        """Return the seconds since the construction."""
        return time.monotonic() - self._began

    def left_s(self, step: Step | None) -> float:
        """Return how many seconds are left if *step*, which is under way now, does not end."""
        now = time.monotonic()
        if self._step is not None and self._step.is_work:
            self._worked_s += now - self._told
        self._told, self._step = now, step
        end_s = self._end_s - (now - self._began)
        if step is not None and step.is_work:
            return end_s
        return min(end_s, self._limit_s - (now - self._began - self._worked_s))


class Readiness:
    """Lets callers on any thread and loop wait for a status. It observes the client's bus, after the tracker.

    Args:
        tracker: has the status.
    """

    def __init__(self, tracker: StatusTracker) -> None:
        self._tracker = tracker
        self._changed = threading.Condition()
        self._wakeups: list[Wakeup] = []  # of async callers

    def observe(self, _event: Event) -> None:
        """Have whoever waits look at the status again."""
        with self._changed:
            self._changed.notify_all()
            for wakeup in self._wakeups:
                wakeup.set()

    def wait(self, is_over: Callable[[Status], bool], patience: Patience) -> None:
        """Block until the status *is_over*, or *patience* ends."""
        with self._changed:
            while (left_s := self._left_s(is_over, patience)) > 0:
                self._changed.wait(left_s)

    async def async_wait(self, is_over: Callable[[Status], bool], patience: Patience) -> None:
        """Wait as `wait` does, without blocking the caller's loop or a thread."""
        wakeup = Wakeup()
        with self._changed:
            self._wakeups.append(wakeup)
        try:
            while (left_s := self._left_s(is_over, patience)) > 0:
                await wakeup.wait(left_s)
                wakeup.clear()
        finally:
            with self._changed:
                self._wakeups.remove(wakeup)

    def _left_s(self, is_over: Callable[[Status], bool], patience: Patience) -> float:
        """Return for how many seconds more to wait as the status is now."""
        status = self._tracker.current
        return 0.0 if is_over(status) else patience.left_s(status.step)

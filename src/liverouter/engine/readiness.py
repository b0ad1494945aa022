"""How callers wait for the first generation: for others as long as was asked for, for this machine's work longer."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from liverouter.errors import NotReadyError, Problem, RolloutError
from liverouter.loops.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.engine.starting import Step
    from liverouter.engine.status import Status, StatusTracker
    from liverouter.events import Event

_MOST_WORK: Final = 60  # times the seconds that a caller waits for others: as many minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Caller:
    """One caller that waits.

    Attributes:
        is_over: tells by the status that there is nothing to wait for.
        limit_s: the seconds for others.
        end_s: the seconds in all.
        began: monotonic seconds.
        worked_s: of this machine's own work until then.
    """

    is_over: Callable[[Status], bool]
    limit_s: float
    end_s: float
    began: float
    worked_s: float


class Readiness:
    """Lets callers on any thread and loop wait for a status. It observes the client's bus, after the tracker.

    What counts is the time in which others are waited for: the database, somebody who stores settings. A machine that
    starts many processes at once takes minutes over each, which is no reason to give up. For a start that never ends,
    as many minutes as seconds end a wait all the same.

    Args:
        tracker: has the status.
    """

    def __init__(self, tracker: StatusTracker) -> None:
        self._tracker = tracker
        self._changed = threading.Condition()  # held to read and write all else
        self._wakeups: list[Wakeup] = []  # of async callers
        self._step: Step | None = None
        self._step_began = 0.0
        self._worked_s = 0.0  # before this step

    def observe(self, _event: Event) -> None:
        """Have whoever waits look at the status again."""
        with self._changed:
            if (step := self._tracker.current.step) is not self._step:
                self._worked_s = self._work_s()
                self._step, self._step_began = step, time.monotonic()
            self._changed.notify_all()
            for wakeup in self._wakeups:
                wakeup.set()

    def wait(self, is_over: Callable[[Status], bool], limit_s: float, *, strict: bool = False) -> float:
        """Block until the status *is_over*, *limit_s* seconds at most, and return the seconds that it took.

        Of those *limit_s* this machine's own work takes none, unless the limit is *strict*.
        """
        with self._changed:
            caller = self._caller(is_over, limit_s, strict=strict)
            while (left_s := self._left_s(caller)) > 0:
                self._changed.wait(left_s)
        return time.monotonic() - caller.began

    async def async_wait(self, is_over: Callable[[Status], bool], limit_s: float) -> float:
        """Wait as `wait` does, without blocking the caller's loop or a thread."""
        wakeup = Wakeup()
        with self._changed:
            caller = self._caller(is_over, limit_s, strict=False)
            self._wakeups.append(wakeup)
        try:
            while (left_s := self._left_s(caller)) > 0:
                await wakeup.wait(left_s)
                wakeup.clear()
        finally:
            with self._changed:
                self._wakeups.remove(wakeup)
        return time.monotonic() - caller.began

    def not_ready(self, waited_s: float) -> NotReadyError:
        """Return the error of a caller who waited *waited_s* seconds for the first generation: why there is none."""
        status = self._tracker.current
        problems = status.problems
        if not problems and (error := status.last_error) is not None:
            problems = (Problem(error.code, error.message, error.where, error.hint),)
        hint = status.step.hint if status.step is not None else ""
        return NotReadyError(problems, waited_s=waited_s, waiting_for=status.waiting_for, hint=hint)

    def late(self, revision: int, timeout_s: float) -> RolloutError:
        """Return the error of a caller who waited *timeout_s* seconds for *revision*, and this process still starts."""
        return RolloutError(
            f"this process is still starting after {timeout_s:g} s",
            code="LR404",
            where=f"revision {revision}",
            hint=self._tracker.current.waiting_for or "Wait longer",
        )

    def _caller(self, is_over: Callable[[Status], bool], limit_s: float, *, strict: bool) -> _Caller:
        """Return a caller whose time begins now."""
        return _Caller(
            is_over=is_over,
            limit_s=limit_s,
            end_s=limit_s if strict else limit_s * _MOST_WORK,
            began=time.monotonic(),
            worked_s=self._work_s(),
        )

    def _left_s(self, caller: _Caller) -> float:
        """Return how many seconds *caller* has left if nothing changes."""
        with self._changed:
            if caller.is_over(self._tracker.current):
                return 0.0
            passed_s = time.monotonic() - caller.began
            end_s = caller.end_s - passed_s
            if self._is_work:
                return end_s
            return min(end_s, caller.limit_s - passed_s + self._work_s() - caller.worked_s)

    @property
    def _is_work(self) -> bool:
        """Tell whether this machine's own work goes on."""
        return self._step is not None and self._step.is_work

    def _work_s(self) -> float:
        """Return the seconds of this machine's own work so far."""
        return self._worked_s + (time.monotonic() - self._step_began if self._is_work else 0.0)

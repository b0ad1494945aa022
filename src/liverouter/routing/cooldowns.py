"""Which deployments cool, and what they answered before: one record per client, read by all its generations.

Pure but for its clock, thread-safe, no I/O. What calls learn here outlives a swap by itself, because a deployment's id
changes exactly when its place or its credentials do.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from liverouter.routing.causes import Cause

_SAME_S: Final = 1.0  # two cooldowns that end closer together than this are one, told by two clocks
_MAX_DEPLOYMENTS: Final = 1_000  # remembered at once; far more than any config has


@dataclass(frozen=True, slots=True)
class Limits:
    """When a deployment cools, and for how long: one revision's settings.

    Attributes:
        allowed_fails: failures in a row, of which the last begins a cooldown; `litellm_allowed_fails`.
        cooldown_time_s: seconds; with 0 nothing ever cools; `litellm_cooldown_time`.
    """

    allowed_fails: int
    cooldown_time_s: float


@dataclass(frozen=True, slots=True)
class Cooldown:
    """One deployment's rest.

    Attributes:
        began_at: unix seconds.
        length_s: seconds.
        cause: why the attempt failed that began it.
    """

    began_at: float
    length_s: float
    cause: Cause

    @property
    def ends_at(self) -> float:
        """Return when the deployment is tried again, in unix seconds."""
        return self.began_at + self.length_s


class Cooldowns:
    """The cooldowns of one client, and the failures that may become one.

    A deployment cools at once where only an operator can help (401, 402, 403, 404) and where the provider says that
    it has had enough (429: for its Retry-After, at most the configured time). Any other failure of its own counts,
    timeouts and unreachable hosts included, and the configured number of them in a row begins a cooldown. After one, a
    single failure is enough to begin the next. What the request itself is to blame for never counts.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """Start with nothing cooling; *clock* gives unix seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[str, Cooldown] = {}
        self._failures: dict[str, tuple[int, float]] = {}  # -> (failures in a row, when they are forgotten)
        self._observers: tuple[Callable[[str, Cooldown], None], ...] = ()

    def on_begin(self, observer: Callable[[str, Cooldown], None]) -> None:
        """Call *observer*, which must not block or raise, with every cooldown that begins by a failure seen here."""
        self._observers = (*self._observers, observer)

    def add_failure(self, identifier: str, cause: Cause, limits: Limits) -> None:
        """Count one failed attempt at *identifier*; begins a cooldown where *limits* say so."""
        if cause.is_the_callers or not limits.cooldown_time_s:
            return
        now = self._clock()
        with self._lock:
            length_s = self._length_s(identifier, cause, limits, now)
            if not length_s:
                return
            cooldown = Cooldown(now, length_s, cause)
            if not self._begin(identifier, cooldown):
                return
        for observer in self._observers:
            observer(identifier, cooldown)

    def add_success(self, identifier: str) -> None:
        """Forget the failures of *identifier*, which answered whole; a cooldown that is on goes on."""
        if identifier in self._failures:  # without the lock, which the calls of a healthy deployment need not take
            with self._lock:
                self._failures.pop(identifier, None)

    def adopt(self, identifier: str, cooldown: Cooldown) -> None:
        """Take over a cooldown that another process began, unless it is known, or a longer one is."""
        with self._lock:
            now = self._clock()
            self._drop_ended(now)  # here too: a process that makes no calls never asks what is active
            known = self._active.get(identifier)
            full = known is None and len(self._active) >= _MAX_DEPLOYMENTS
            if not full and cooldown.ends_at > (known.ends_at + _SAME_S if known is not None else now):
                self._begin(identifier, cooldown)

    def active(self) -> Mapping[str, Cooldown]:
        """Return the cooldowns that are on, by deployment id."""
        if not self._active:
            return self._active
        now = self._clock()
        with self._lock:
            self._drop_ended(now)
            return self._active  # replaced and never changed, so that it may leave the lock

    def remaining_s(self, identifiers: Iterable[str]) -> dict[str, float]:
        """Return the seconds left for those of *identifiers* that cool."""
        now, active = self._clock(), self.active()
        return {i: active[i].ends_at - now for i in identifiers if i in active}

    def _length_s(self, identifier: str, cause: Cause, limits: Limits, now: float) -> float:
        """Return the seconds that *identifier* cools because of *cause*, 0 for not yet.

        A failure that counts towards the configured number is counted here.
        *now*: unix seconds. The caller holds the lock.
        """
        if cause.is_rate_limit:
            asked_s = cause.retry_after_s
            return limits.cooldown_time_s if asked_s is None else min(asked_s, limits.cooldown_time_s)
        if cause.is_for_an_operator:
            return limits.cooldown_time_s
        count, forgotten_at = self._failures.get(identifier, (0, 0.0))
        count = count + 1 if now < forgotten_at else 1
        cools = count >= limits.allowed_fails
        remembered_s = limits.cooldown_time_s * (2 if cools else 1)  # beyond the cooldown: then one failure is enough
        if len(self._failures) >= _MAX_DEPLOYMENTS and identifier not in self._failures:
            self._failures.clear()
        self._failures[identifier] = (count, now + remembered_s)
        return limits.cooldown_time_s if cools else 0.0

    def _drop_ended(self, now: float) -> None:
        """Drop the cooldowns that are over at *now*, unix seconds; the caller holds the lock."""
        if any(c.ends_at <= now for c in self._active.values()):
            self._active = {i: c for i, c in self._active.items() if c.ends_at > now}

    def _begin(self, identifier: str, cooldown: Cooldown) -> bool:
        """Put *cooldown* in force unless a longer one is; the caller holds the lock."""
        known = self._active.get(identifier)
        if known is not None and known.ends_at >= cooldown.ends_at:
            return False
        self._active = {**self._active, identifier: cooldown}
        return True

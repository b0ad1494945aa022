"""Counts per minute and deployment: calls, failures by class, failovers, tokens, cost, latency.

In memory, drained by the reporter in batches, never one write per call. The handle counts, from the record that every
call keeps anyway, with litellm and without, so that what `usage` says is the sum of what the answers say. litellm's own
log rows, a `CustomLogger`'s, cannot be counted exactly: one worker for all loops of a process hands them on, late, and
again or never when two loops take turns; an empty answer is a success there and a cancelled attempt nothing.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from liverouter.events import CallFailedOver
from liverouter.routing.causes import cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from liverouter.bus import Bus
    from liverouter.call import Call
    from liverouter.events import Event
    from liverouter.revision import Deployment

_MAX_DEPLOYMENTS: Final = 1_000
_MAX_CELLS: Final = 5_000  # minutes by deployments kept while the database takes no report
_MOST_TOKENS: Final = 10**9  # of one call, whatever its provider says
_MOST_USD: Final = 10**6  # of one call, whatever its provider says
_LOG_EVERY_S: Final = 10.0  # one failover line per (from, to, cause) in this time
_MAX_LINES: Final = 1_000  # (from, to, cause) of which the last line is remembered


@dataclass(slots=True)
class _Cell:
    """The counts of one deployment in one minute.

    Attributes:
        failures: how many attempts failed, by cause: an exception class with its status.
        failovers: how many calls it answered in place of another deployment.
        latency_ms_sum: the sum over all answered calls; the mean is this by `calls`.
    """

    calls: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    failovers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    latency_ms_sum: float = 0.0
    latency_ms_max: float = 0.0


@dataclass(slots=True)
class Total:
    """The counts of one deployment since the process started; what a report drains stays in here.

    Attributes:
        failures: attempts that failed, whatever the cause.
        failovers: calls that it answered in place of another deployment.
        call_seconds: what all answered calls took together.
    """

    deployment_id: str
    provider: str
    model: str
    role: str
    calls: int = 0
    failures: int = 0
    failovers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    call_seconds: float = 0.0


class UsageCounter:
    """The counts of one client since they were last drained. Thread-safe; adding costs microseconds."""

    def __init__(
        self, *, bus: Bus, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Start empty.

        Args:
            bus: takes the failover lines, and what else is told of calls.
            wall: gives the minute of a count, in unix seconds.
            monotonic: limits the failover lines, in seconds. A call's latency is by `time.monotonic`, as its beginning.
        """
        self._bus, self._wall, self._monotonic = bus, wall, monotonic
        self._lock = threading.Lock()
        self._cells: dict[tuple[int, str], _Cell] = {}
        self._totals: OrderedDict[str, Total] = OrderedDict()
        self._known: OrderedDict[str, Deployment] = OrderedDict()
        self._lines: OrderedDict[tuple[str, str, str], tuple[float, int]] = OrderedDict()  # the oldest line first

    def know(self, deployments: Iterable[Deployment]) -> None:
        """Remember *deployments*, so that their ids can be told in full when drained."""
        with self._lock:
            for deployment in deployments:
                self._known[deployment.id] = deployment
                self._known.move_to_end(deployment.id)
            while len(self._known) > _MAX_DEPLOYMENTS:
                self._known.popitem(last=False)

    def begun(self, call: Call) -> None:
        """Count, once, what it took until somebody answers *call*: failed attempts, and whether a fallback does."""
        if call.begun:
            return
        call.begun = True
        self._add_failures(call)
        served, primary = call.served, call.generation.snapshot.primary
        first = next(((identifier, error) for identifier, error in call.failures if identifier != served.id), None)
        if first is not None:
            self.add_failover(first[0], served.id, str(cause_of(first[1])))
        elif served.order > primary.order:
            self.add_failover(primary.id, served.id, "cooldown")

    def answered(self, call: Call) -> None:
        """Count, once, the answer of *call*: whole, or as far as its reader wanted it."""
        if call.settled:
            return
        self.begun(call)
        call.settled = True
        tokens = call.tokens
        self.add_success(
            call.served.id,
            prompt_tokens=int(_within(tokens["input_tokens"], _MOST_TOKENS)) if tokens else 0,
            completion_tokens=int(_within(tokens["output_tokens"], _MOST_TOKENS)) if tokens else 0,
            cost_usd=_within(call.cost_usd, _MOST_USD),
            latency_ms=(time.monotonic() - call.began_at) * 1000,
        )

    def failed(self, call: Call, error: Exception) -> None:
        """Count, once, that *call* ended in *error*: with all its attempts, or with a stream that broke."""
        if call.settled:
            return
        call.settled = True
        if call.served_by:  # what answered broke, or cannot be read
            self.begun(call)
            self.add_failure(call.served.id, str(cause_of(error)))
        else:
            self._add_failures(call)

    def add_success(
        self,
        deployment_id: str,
        *,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cost_usd: float = 0.0,
        latency_ms: float = 0.0,
    ) -> None:
        """Count one answered call; *latency_ms* is from `Call.began_at`, the newest attempt, to the answer's end."""
        with self._lock:
            cell = self._cell(deployment_id)
            cell.calls += 1
            cell.prompt_tokens += prompt_tokens
            cell.completion_tokens += completion_tokens
            cell.cost_usd += cost_usd
            cell.latency_ms_sum += latency_ms
            cell.latency_ms_max = max(cell.latency_ms_max, latency_ms)
            total = self._total(deployment_id)
            total.calls += 1
            total.prompt_tokens += prompt_tokens
            total.completion_tokens += completion_tokens
            total.cost_usd += cost_usd
            total.call_seconds += latency_ms / 1000

    def add_failure(self, deployment_id: str, cause: str) -> None:
        """Count one failed attempt; *cause* is an exception class with its status."""
        with self._lock:
            failures = self._cell(deployment_id).failures
            failures[cause] = failures.get(cause, 0) + 1
            self._total(deployment_id).failures += 1

    def add_failover(self, origin: str, target: str, cause: str) -> None:
        """Count a call that *target* answered in place of *origin*, and emit the event unless it was just emitted."""
        with self._lock:
            self._cell(target).failovers += 1
            self._total(target).failovers += 1
            event = self._failover(origin, target, cause)
        if event is not None:
            self._bus.emit(event)

    def emit(self, event: Event) -> None:
        """Tell *event* of a call, which counts nothing."""
        self._bus.emit(event)

    def totals(self) -> list[Total]:
        """Return copies of the counts since the process started, of `_MAX_DEPLOYMENTS` deployments at most."""
        with self._lock:
            return [replace(total) for total in self._totals.values()]

    def drain(self) -> list[dict[str, Any]]:
        """Return the counts as rows for `liverouter.report` and start anew."""
        with self._lock:
            cells, self._cells = self._cells, {}
            known = dict(self._known)
        return [
            _row(minute, deployment_id, cell, known.get(deployment_id))
            for (minute, deployment_id), cell in cells.items()
        ]

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add *rows* back, after a report that did not arrive; the oldest go where there are too many."""
        with self._lock:
            for row in rows:
                minute = int(datetime.fromisoformat(row["minute"]).timestamp() // 60)
                cell = self._cells.setdefault((minute, row["deployment_id"]), _Cell())
                for name in ("calls", "failovers", "prompt_tokens", "completion_tokens", "cost_usd", "latency_ms_sum"):
                    setattr(cell, name, getattr(cell, name) + row[name])
                cell.latency_ms_max = max(cell.latency_ms_max, row["latency_ms_max"])
                for cause, count in row["failures"].items():
                    cell.failures[cause] = cell.failures.get(cause, 0) + count
            for key in sorted(self._cells)[:-_MAX_CELLS]:
                del self._cells[key]

    def _add_failures(self, call: Call) -> None:
        """Count each attempt of *call* that failed before somebody answered."""
        for identifier, error in call.failures:
            self.add_failure(identifier, str(cause_of(error)))

    def _cell(self, deployment_id: str) -> _Cell:
        """Return the counts of the present minute; the caller holds the lock."""
        return self._cells.setdefault((int(self._wall() // 60), deployment_id), _Cell())

    def _total(self, deployment_id: str) -> Total:
        """Return the counts since the start; the caller holds the lock."""
        if (total := self._totals.get(deployment_id)) is None:
            row = _row(0, deployment_id, _Cell(), self._known.get(deployment_id))
            total = self._totals[deployment_id] = Total(deployment_id, row["provider"], row["model"], row["role"])
            while len(self._totals) > _MAX_DEPLOYMENTS:
                self._totals.popitem(last=False)
        return total

    def _failover(self, origin: str, target: str, cause: str) -> CallFailedOver | None:
        """Return the line to log, None where it was logged less than ten seconds ago; the caller holds the lock."""
        key, now = (origin, target, cause), self._monotonic()
        last, suppressed = self._lines.get(key, (-_LOG_EVERY_S, 0))
        if now - last < _LOG_EVERY_S:
            self._lines[key] = (last, suppressed + 1)
            return None
        self._lines[key] = (now, 0)
        self._lines.move_to_end(key)
        while len(self._lines) > _MAX_LINES:
            self._lines.popitem(last=False)
        return CallFailedOver(origin, target, cause, suppressed)


def _row(minute: int, deployment_id: str, cell: _Cell, deployment: Deployment | None) -> dict[str, Any]:
    """Return *cell* as a row for `liverouter.report`; *minute* is in unix minutes.

    Without *deployment*, provider and model come from the id, ``provider/model#digest``, and the role is "fallback".
    """
    provider, _, rest = deployment_id.partition("/")
    return {
        "minute": datetime.fromtimestamp(minute * 60, UTC).isoformat(),
        "deployment_id": deployment_id,
        "provider": deployment.provider if deployment else provider,
        "model": deployment.model if deployment else rest.rpartition("#")[0],
        "role": deployment.role if deployment else "fallback",
        "calls": cell.calls,
        "failures": cell.failures,
        "failovers": cell.failovers,
        "prompt_tokens": cell.prompt_tokens,
        "completion_tokens": cell.completion_tokens,
        "cost_usd": cell.cost_usd,
        "latency_ms_sum": cell.latency_ms_sum,
        "latency_ms_max": cell.latency_ms_max,
    }


def _within(said: object, most: float) -> float:
    """Return what a provider *said* within bounds, 0 for what is no number."""
    return min(said, most) if isinstance(said, int | float) and said > 0 else 0.0

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

from liverouter.chat.health import Health, in_words
from liverouter.events import CallFailed, CallFailedOver, DeploymentCooling, DeploymentRecovered
from liverouter.revision import DEFAULT_NAME
from liverouter.routing.causes import cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from liverouter.bus import Bus
    from liverouter.call import Call
    from liverouter.events import Event
    from liverouter.revision import Deployment
    from liverouter.routing.causes import Cause
    from liverouter.routing.cooldowns import Cooldown

_MAX_DEPLOYMENTS: Final = 1_000
_MAX_CELLS: Final = 5_000  # minutes by deployments kept while the database takes no report
_MOST_TOKENS: Final = 10**9  # of one call, whatever its provider says
_MOST_USD: Final = 10**6  # of one call, whatever its provider says
_LOG_EVERY_S: Final = 10.0  # one line of each kind, about the same, in this time
_MAX_LINES: Final = 1_000  # of which it is remembered when the last one was


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
        name: of the model that was asked.
        failures: attempts that failed, whatever the cause.
        failovers: calls that it answered in place of another deployment.
        call_seconds: what all answered calls took together.
    """

    name: str
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
    """The counts of one client since they were last drained. Thread-safe; adding costs microseconds.

    Attributes:
        on_news: called, on any thread, when something began to fail, or does no longer: a report should tell of it.
    """

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
        self._cells: dict[tuple[int, str, str], _Cell] = {}  # minute, name of the model, deployment
        self._totals: OrderedDict[tuple[str, str], Total] = OrderedDict()  # by name and id, as the next
        self._known: OrderedDict[tuple[str, str], Deployment] = OrderedDict()
        self._lines: OrderedDict[tuple[object, ...], tuple[float, int]] = OrderedDict()  # the oldest line first
        self._health = Health()
        self.on_news: Callable[[], None] = lambda: None

    def know(self, deployments: Iterable[Deployment]) -> None:
        """Remember *deployments*, so that their ids can be told in full when drained."""
        with self._lock:
            for deployment in deployments:
                key = (deployment.name, deployment.id)
                self._known[key] = deployment
                self._known.move_to_end(key)
            while len(self._known) > _MAX_DEPLOYMENTS:
                self._known.popitem(last=False)

    def begun(self, call: Call) -> None:
        """Count, once, what it took until somebody answers *call*: failed attempts, and whether a fallback does."""
        if call.begun:
            return
        call.begun = True
        self._add_failures(call)
        served, primary, model = call.served, call.generation.primary, call.generation.name
        first = next(((identifier, error) for identifier, error in call.failures if identifier != served.id), None)
        if first is not None:
            self.add_failover(first[0], served.id, str(cause_of(first[1])), model=model)
        elif served.order > primary.order:
            self.add_failover(primary.id, served.id, "cooldown", model=model)

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
            model=call.generation.name,
        )

    def failed(self, call: Call, error: Exception) -> None:
        """Count, once, that *call* ended in *error*: with all its attempts, or with a stream that broke."""
        if call.settled:
            return
        call.settled = True
        if call.answering:  # what answered broke, or cannot be read
            self.begun(call)
            self._add_failure(call, call.served.id, error)
            failures = [*call.failures, (call.served.id, error)]
        else:
            self._add_failures(call)
            failures = call.failures
        causes = {identifier: cause_of(exc, answered=call.answered) for identifier, exc in failures}
        if not all(cause.is_the_callers for cause in causes.values()):
            self._call_failed(call, causes)

    def add_success(
        self,
        deployment_id: str,
        *,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cost_usd: float = 0.0,
        latency_ms: float = 0.0,
        model: str = DEFAULT_NAME,
    ) -> None:
        """Count one answered call of *model*; *latency_ms* is from `Call.began_at`, the newest attempt, to the end."""
        with self._lock:
            cell = self._cell(model, deployment_id)
            cell.calls += 1
            cell.prompt_tokens += prompt_tokens
            cell.completion_tokens += completion_tokens
            cell.cost_usd += cost_usd
            cell.latency_ms_sum += latency_ms
            cell.latency_ms_max = max(cell.latency_ms_max, latency_ms)
            total = self._total(model, deployment_id)
            total.calls += 1
            total.prompt_tokens += prompt_tokens
            total.completion_tokens += completion_tokens
            total.cost_usd += cost_usd
            total.call_seconds += latency_ms / 1000
            recovers = self._health.answered(model, deployment_id, prompt_tokens, self._monotonic())
            event = self._limited(DeploymentRecovered, deployment_id) if recovers else None
        self._tell(event)

    def add_failure(self, deployment_id: str, cause: str, *, model: str = DEFAULT_NAME) -> None:
        """Count one failed attempt of a call of *model*; *cause* is an exception class with its status."""
        with self._lock:
            failures = self._cell(model, deployment_id).failures
            failures[cause] = failures.get(cause, 0) + 1
            self._total(model, deployment_id).failures += 1

    def add_failover(self, origin: str, target: str, cause: str, *, model: str = DEFAULT_NAME) -> None:
        """Count a call of *model* that *target* answered in place of *origin*; the event unless it was just emitted."""
        with self._lock:
            self._cell(model, target).failovers += 1
            self._total(model, target).failovers += 1
            event = self._limited(CallFailedOver, origin, target, cause, "" if model == DEFAULT_NAME else model)
        self._tell(event)

    def cooling(self, deployment_id: str, cooldown: Cooldown) -> None:
        """Tell that *cooldown* began, unless it was just told; an observer of `Cooldowns`."""
        with self._lock:
            self._health.told((deployment_id,))
            event = self._limited(DeploymentCooling, deployment_id, str(cooldown.cause), cooldown.length_s, but=1)
        self._tell(event)

    def health(self, model: str, deployment_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return what a report says of how it goes at each of *deployment_ids* of *model*, see `Health.facts`."""
        with self._lock:
            return self._health.facts(model, deployment_ids, self._monotonic())

    def counts_in_s(self) -> float | None:
        """Return the seconds until a report has failures to tell of that count for nothing yet, see `Health`."""
        with self._lock:
            return self._health.counts_in_s(self._monotonic())

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
            _row(minute, name, deployment_id, cell, known.get((name, deployment_id)))
            for (minute, name, deployment_id), cell in cells.items()
        ]

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add *rows* back, after a report that did not arrive; the oldest go where there are too many."""
        with self._lock:
            for row in rows:
                minute = int(datetime.fromisoformat(row["minute"]).timestamp() // 60)
                cell = self._cells.setdefault((minute, row["name"], row["deployment_id"]), _Cell())
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
            self._add_failure(call, identifier, error)

    def _add_failure(self, call: Call, identifier: str, error: Exception) -> None:
        """Count one failed attempt of *call*, and against its deployment where the caller is not to blame."""
        self.add_failure(identifier, str(cause_of(error)), model=call.generation.name)
        if not cause_of(error, answered=call.answered).is_the_callers:
            with self._lock:
                self._health.failed(identifier, in_words(error), self._monotonic())

    def _call_failed(self, call: Call, causes: Mapping[str, Cause]) -> None:
        """Note that *call* failed; tell of a caller's, unless just told; *causes*: by deployment, in their order."""
        model, told = call.generation.name, tuple(map(str, causes.values()))
        with self._lock:
            self._health.call_failed(model, causes, told[-1], self._monotonic())
            self._health.told(causes)
            event = None if call.generation.is_alone else self._limited(CallFailed, model, tuple(causes), told)
        self._tell(event)

    def _tell(self, event: Event | None) -> None:
        """Emit *event*, and call `on_news` where something began to fail, or does no longer."""
        if event is not None:
            self._bus.emit(event)
        with self._lock:
            has_news = self._health.take_news()
        if has_news:
            self.on_news()

    def _cell(self, model: str, deployment_id: str) -> _Cell:
        """Return the counts of the present minute; the caller holds the lock."""
        return self._cells.setdefault((int(self._wall() // 60), model, deployment_id), _Cell())

    def _total(self, model: str, deployment_id: str) -> Total:
        """Return the counts since the start; the caller holds the lock."""
        key = (model, deployment_id)
        if (total := self._totals.get(key)) is None:
            row = _row(0, *key, _Cell(), self._known.get(key))
            total = self._totals[key] = Total(model, deployment_id, row["provider"], row["model"], row["role"])
            while len(self._totals) > _MAX_DEPLOYMENTS:
                self._totals.popitem(last=False)
        return total

    def _limited(self, kind: Callable[..., Event], *facts: Any, but: int = 0) -> Event | None:
        """Return the event of *kind* with *facts*, None where it was told less than ten seconds ago.

        The last *but* of the facts may differ from those that were told. The caller holds the lock.
        """
        key, now = (kind, *facts[: len(facts) - but]), self._monotonic()
        last, suppressed = self._lines.get(key, (-_LOG_EVERY_S, 0))
        if now - last < _LOG_EVERY_S:
            self._lines[key] = (last, suppressed + 1)
            return None
        self._lines[key] = (now, 0)
        self._lines.move_to_end(key)
        while len(self._lines) > _MAX_LINES:
            self._lines.popitem(last=False)
        return kind(*facts, suppressed)


def _row(minute: int, name: str, deployment_id: str, cell: _Cell, deployment: Deployment | None) -> dict[str, Any]:
    """Return *cell* as a row for `liverouter.report`; *minute* is in unix minutes.

    Without *deployment*, provider and model come from the id, ``provider/model#digest``, and the role is "fallback".
    """
    provider, _, rest = deployment_id.partition("/")
    return {
        "minute": datetime.fromtimestamp(minute * 60, UTC).isoformat(),
        "name": name,
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

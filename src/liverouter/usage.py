"""Counts per minute and deployment: calls, failures by class, failovers, tokens, cost, latency.

In memory, drained by the reporter in batches, never one write per call. Three places tell what happened, each what it
alone knows: litellm's `CustomLogger` the whole answers with their tokens and cost, streams included; `failover` each
failed attempt; the handle who was to serve a call and who did, and without litellm all of it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from liverouter.cooldowns import Cause, cause_of
from liverouter.events import CallFailedOver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from liverouter.answers import Answer
    from liverouter.attempts import Attempts
    from liverouter.events import Bus
    from liverouter.snapshot import Deployment
    from liverouter.store import Generation

CLIENT_KEY: Final = "liverouter_client"  # metadata key of a call: which client made it
_BEGAN_KEY: Final = "liverouter_began_at"  # of one attempt, unix seconds
_FAILED_KEY: Final = "liverouter_failed"  # of an attempt that litellm takes for a success
_MAX_DEPLOYMENTS: Final = 1_000
_MAX_CELLS: Final = 5_000  # minutes by deployments kept while the database takes no report
_LOG_EVERY_S: Final = 10.0  # one failover line per (from, to, cause) in this time


@dataclass(slots=True)
class _Cell:
    calls: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    failovers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    latency_ms_sum: float = 0.0
    latency_ms_max: float = 0.0


class UsageCounter:
    """The counts of one client since they were last drained. Thread-safe; adding costs microseconds."""

    def __init__(
        self, *, bus: Bus, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Start empty; *wall* gives the minute, *monotonic* limits the failover lines."""
        self._bus, self._wall, self._monotonic = bus, wall, monotonic
        self._lock = threading.Lock()
        self._cells: dict[tuple[int, str], _Cell] = {}
        self._known: OrderedDict[str, Deployment] = OrderedDict()
        self._lines: dict[tuple[str, str, str], tuple[float, int]] = {}  # -> (last line at, suppressed since)

    def know(self, deployments: Iterable[Deployment]) -> None:
        """Remember *deployments*, so that their ids can be told in full when drained."""
        with self._lock:
            for deployment in deployments:
                self._known[deployment.id] = deployment
                self._known.move_to_end(deployment.id)
            while len(self._known) > _MAX_DEPLOYMENTS:
                self._known.popitem(last=False)

    def add_success(
        self,
        deployment_id: str,
        *,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cost_usd: float = 0.0,
        latency_ms: float = 0.0,  # of the attempt that answered, to the end of its answer
    ) -> None:
        """Count one answered call."""
        with self._lock:
            cell = self._cell(deployment_id)
            cell.calls += 1
            cell.prompt_tokens += prompt_tokens
            cell.completion_tokens += completion_tokens
            cell.cost_usd += cost_usd
            cell.latency_ms_sum += latency_ms
            cell.latency_ms_max = max(cell.latency_ms_max, latency_ms)

    def add_failure(self, deployment_id: str, cause: str) -> None:
        """Count one failed attempt; *cause* is an exception class with its status."""
        with self._lock:
            failures = self._cell(deployment_id).failures
            failures[cause] = failures.get(cause, 0) + 1

    def add_failover(self, origin: str, target: str, cause: str) -> None:
        """Count a call that *target* answered in place of *origin*, and emit the event unless it was just emitted."""
        with self._lock:
            self._cell(target).failovers += 1
            event = self._failover(origin, target, cause)
        if event is not None:
            self._bus.emit(event)

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

    def _cell(self, deployment_id: str) -> _Cell:
        return self._cells.setdefault((int(self._wall() // 60), deployment_id), _Cell())

    def _failover(self, origin: str, target: str, cause: str) -> CallFailedOver | None:
        """Return the line to log, or None when the same one was logged within the last seconds."""
        key, now = (origin, target, cause), self._monotonic()
        last, suppressed = self._lines.get(key, (-_LOG_EVERY_S, 0))
        if now - last < _LOG_EVERY_S:
            self._lines[key] = (last, suppressed + 1)
            return None
        if len(self._lines) > _MAX_DEPLOYMENTS:
            self._lines.clear()
        self._lines[key] = (now, 0)
        return CallFailedOver(origin, target, cause, suppressed)


def _row(minute: int, deployment_id: str, cell: _Cell, deployment: Deployment | None) -> dict[str, Any]:
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


_counters: Final[dict[str, UsageCounter]] = {}
_installing: Final = threading.Lock()
_logger: Any = None


def register(client: str, counter: UsageCounter) -> None:
    """Count what *client*'s calls do with *counter*."""
    _counters[client] = counter


def unregister(client: str) -> None:
    """Stop counting for *client*."""
    _counters.pop(client, None)


class CallCount:
    """Counts one call of a handle: whether it failed over, and where litellm is off and tells nothing, all of it."""

    __slots__ = ("_began", "_counter", "_generation", "_record", "_started_at")

    def __init__(self, client: str, generation: Generation, record: Attempts) -> None:
        """Count for *client* what *record* will say of a call to *generation*."""
        self._counter, self._generation, self._record = _counters.get(client), generation, record
        self._began, self._started_at = False, time.monotonic()

    def began(self) -> None:
        """Note that somebody answers; only the first time matters."""
        if self._began or self._counter is None:
            return
        self._began = True
        snapshot, record = self._generation.snapshot, self._record
        served = self._generation.deployments.get(record.served_by)
        if served is None:
            return
        failed = next(((i, error) for i, error in record.failed if i != served.id), None)
        if failed is not None:
            self._counter.add_failover(failed[0], served.id, str(cause_of(failed[1])))
        elif served.order > snapshot.primary.order:
            self._counter.add_failover(snapshot.primary.id, served.id, "cooldown")

    def answered(self, answer: Answer) -> None:
        """Count the whole *answer*."""
        if self._counter is None or self._generation.router is not None:
            return
        tokens: Mapping[str, Any] = answer.usage or {}
        self._counter.add_success(
            self._generation.snapshot.primary.id,
            prompt_tokens=tokens.get("input_tokens", 0),
            completion_tokens=tokens.get("output_tokens", 0),
            cost_usd=answer.cost_usd or 0.0,
            latency_ms=(time.monotonic() - self._started_at) * 1000,
        )

    def failed(self, error: Exception) -> None:
        """Count the call's *error*."""
        if self._counter is not None and self._generation.router is None:
            self._counter.add_failure(self._generation.snapshot.primary.id, str(cause_of(error)))


def begin_attempt(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return one attempt's own copy of a call's metadata, which litellm goes on to fill and logs after its end."""
    return {**metadata, _BEGAN_KEY: time.time()}


def count_failure(request: Mapping[str, Any], deployment_id: str, cause: Cause) -> None:
    """Count a failed attempt whose arguments were *request*; litellm may still believe that it succeeded."""
    metadata = request.get("metadata") or {}
    metadata[_FAILED_KEY] = True
    if (counter := _counters.get(metadata.get(CLIENT_KEY, ""))) is not None:
        counter.add_failure(deployment_id, str(cause))


def install_logger(litellm: Any) -> None:
    """Have litellm tell this module of every whole answer; once per process."""
    global _logger  # noqa: PLW0603 - litellm's callback lists are process-wide, so is this
    with _installing:
        if _logger is None:
            _logger = _make_logger()
            litellm.callbacks.append(_logger)


def _make_logger() -> Any:
    from litellm.integrations.custom_logger import CustomLogger

    class UsageLogger(CustomLogger):  # type: ignore[misc]  # litellm ships no types for it
        """Hands litellm's rows of success to the counters. litellm passes these arguments by these very names."""

        async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            del response_obj
            row = kwargs.get("standard_logging_object")
            metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
            counter = _counters.get(metadata.get(CLIENT_KEY, ""))
            if counter is None or row is None or _FAILED_KEY in metadata:
                return
            began_at = metadata.get(_BEGAN_KEY) or start_time.timestamp()
            counter.add_success(
                row.get("model_id") or "",
                prompt_tokens=row.get("prompt_tokens") or 0,
                completion_tokens=row.get("completion_tokens") or 0,
                cost_usd=row.get("response_cost") or 0.0,
                latency_ms=max(0.0, end_time.timestamp() - began_at) * 1000,
            )

    return UsageLogger()

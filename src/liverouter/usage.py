"""Counts per minute and deployment: calls, failures by class, failovers, tokens, cost, latency. In memory; the reporter
flushes them in batches, never one write per call.

litellm tells every attempt to one `CustomLogger` per process, which finds the client by the call's metadata.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from liverouter.events import CallFailedOver
from liverouter.router import base_id, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from liverouter.events import Bus
    from liverouter.snapshot import Deployment

CLIENT_KEY: Final = "liverouter_client"  # metadata key of a call: which client made it
_MAX_TRACES: Final = 2_000  # failed attempts remembered until their call ends
_MAX_DEPLOYMENTS: Final = 1_000
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
        self._failed: OrderedDict[str, tuple[str, str]] = OrderedDict()  # trace id -> (deployment id, cause)
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
        trace: str = "",
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cost_usd: float = 0.0,
        latency_ms: float = 0.0,
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
            origin, cause = self._failed.pop(trace, ("", ""))
            deployment = self._known.get(deployment_id)
            over = deployment is not None and deployment.role == "fallback"
            if over:
                cell.failovers += 1
            event = self._failover(origin, deployment_id, cause or "cooldown") if over else None
        if event is not None:
            self._bus.emit(event)

    def add_failure(self, deployment_id: str, cause: str, *, trace: str = "") -> None:
        """Count one failed attempt; *cause* is an exception class, with a status code where there is one."""
        with self._lock:
            failures = self._cell(deployment_id).failures
            failures[cause] = failures.get(cause, 0) + 1
            if trace:
                self._failed[trace] = (deployment_id, cause)
                while len(self._failed) > _MAX_TRACES:
                    self._failed.popitem(last=False)

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
        """Add *rows* back, after a report that did not arrive."""
        with self._lock:
            for row in rows:
                minute = int(datetime.fromisoformat(row["minute"]).timestamp() // 60)
                cell = self._cells.setdefault((minute, row["deployment_id"]), _Cell())
                for name in ("calls", "failovers", "prompt_tokens", "completion_tokens", "cost_usd", "latency_ms_sum"):
                    setattr(cell, name, getattr(cell, name) + row[name])
                cell.latency_ms_max = max(cell.latency_ms_max, row["latency_ms_max"])
                for cause, count in row["failures"].items():
                    cell.failures[cause] = cell.failures.get(cause, 0) + count

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
        return CallFailedOver(origin or "primary", target, cause, suppressed)


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


_counters: dict[str, UsageCounter] = {}
_installed = threading.Lock()
_logger: Any = None


def register(client: str, counter: UsageCounter) -> None:
    """Route the attempts of *client*'s calls to *counter*; loads litellm."""
    global _logger  # noqa: PLW0603 - litellm's callback lists are process-wide, so is this
    litellm = load()
    with _installed:
        _counters[client] = counter
        if _logger is None:
            _logger = _make_logger()
            litellm.callbacks.append(_logger)


def unregister(client: str) -> None:
    """Stop counting for *client*."""
    _counters.pop(client, None)


def _make_logger() -> Any:
    from litellm.integrations.custom_logger import CustomLogger

    class UsageLogger(CustomLogger):  # type: ignore[misc]  # litellm ships no types for it
        """Hands litellm's log rows to the counters. litellm passes these arguments by these very names."""

        async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            del response_obj
            if (counter := _counter_of(kwargs)) is None or (row := kwargs.get("standard_logging_object")) is None:
                return
            counter.add_success(
                base_id(row.get("model_id") or ""),
                trace=row.get("trace_id") or "",
                prompt_tokens=row.get("prompt_tokens") or 0,
                completion_tokens=row.get("completion_tokens") or 0,
                cost_usd=row.get("response_cost") or 0.0,
                latency_ms=(end_time - start_time).total_seconds() * 1000,
            )

        async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            del response_obj, start_time, end_time
            if (counter := _counter_of(kwargs)) is None or (row := kwargs.get("standard_logging_object")) is None:
                return
            error = row.get("error_information") or {}
            cause = " ".join(str(part) for part in (error.get("error_class"), error.get("error_code")) if part)
            counter.add_failure(
                base_id(row.get("model_id") or ""), cause or "Exception", trace=row.get("trace_id") or ""
            )

    return UsageLogger()


def _counter_of(kwargs: Mapping[str, Any]) -> UsageCounter | None:
    metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
    return _counters.get(metadata.get(CLIENT_KEY, ""))

"""What Prometheus scrapes: this process's config and listener, and the calls of the whole fleet."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from liverouter.engine.status import State
from liverouter.errors import DatabaseError
from liverouter.events import (
    ConfigApplied,
    ConfigRejected,
    Event,
    ListenerLost,
    ReadFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from liverouter.engine.status import Status
    from liverouter.generation import Generation
    from liverouter.postgres.repository import SettingsRepository

_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30)
_LOOK_BACK: Final = timedelta(minutes=60)  # how late a report may come: a process may have lost its database meanwhile
_MODES: Final = ("listen", "poll_only", "none")  # of Status.mode
_DEPLOYMENT: Final = ("provider", "model", "deployment_id", "role")  # labels, and columns of the view
_MOST_DEPLOYMENTS: Final = 1_000  # a login that makes names up must not fill this process's memory
_OTHERS: Final = ("other", "other", "other", "other")  # the labels of all further ones
_STATES: Final = frozenset(State)


class Metrics:
    """One registry, fed by events of this process and by the view `usage` at each scrape.

    `observe` may be called from any thread, `scrape` by one event loop.
    """

    def __init__(
        self,
        *,
        repository: SettingsRepository,
        status: Callable[[], Status],
        generation: Callable[[], Generation | None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Count the calls from this minute on.

        *status* and *generation* return this process's own; *clock* gives an aware time, as PostgreSQL's minutes are.
        """
        self._repository, self._status, self._generation = repository, status, generation
        self._clock = clock
        self._counting = asyncio.Lock()  # two scrapes at once would count a call twice
        self._began = clock().replace(second=0, microsecond=0)
        # (minute, *_DEPLOYMENT) -> what of it is in the counters, by their names in _of_fleet
        self._counted: dict[tuple[Any, ...], Mapping[str, float]] = {}
        self._known: set[tuple[str, ...]] = set()  # labels that have counters
        self._registry = registry = CollectorRegistry()
        self._revision = Gauge("liverouter_revision", "Revision that this process serves", registry=registry)
        self._desired = Gauge("liverouter_desired_revision", "Newest revision that it has read", registry=registry)
        self._number = Gauge("liverouter_generation", "Activations in this process", registry=registry)
        self._of_generation = CollectorRegistry()  # told only where there is one: a gauge without a value reads 0
        self._age = Gauge(
            "liverouter_config_age_seconds", "Since the served revision was committed", registry=self._of_generation
        )
        self._state = Gauge("liverouter_state", "1 for the state it is in", ["state"], registry=registry)
        self._mode = Gauge("liverouter_listener", "1 for how it hears of changes", ["mode"], registry=registry)
        self._up = Gauge("liverouter_database_up", "Whether the last read of the settings succeeded", registry=registry)
        self._reloads = Counter("liverouter_reload", "Revisions by outcome", ["result"], registry=registry)
        self._lost = Counter("liverouter_listener_lost", "Times that LISTEN ended", registry=registry)
        self._latency = Histogram(
            "liverouter_apply_seconds", "From commit to live", buckets=_BUCKETS_S, registry=registry
        )
        self._instances = Gauge("liverouter_instances", "Processes by state", ["state"], registry=registry)
        self._problems = Gauge("liverouter_problems", "Rows of view problems", ["severity", "code"], registry=registry)
        self._of_fleet = {
            name: Counter(f"liverouter_{name}", help_, _DEPLOYMENT, registry=registry)
            for name, help_ in (
                ("calls", "Calls answered, all processes"),
                ("failures", "Attempts failed, all processes"),
                ("failovers", "Calls it answered for another"),
                ("cost_usd", "Cost, by litellm's price list"),
            )
        }
        for result in ("applied", "rejected", "read_failed"):
            self._reloads.labels(result)

    def observe(self, event: Event) -> None:
        """Count *event*."""
        match event:
            case ConfigApplied():
                self._reloads.labels("applied").inc()
                if event.commit_to_live_ms is not None:
                    self._latency.observe(event.commit_to_live_ms / 1000)
            case ConfigRejected():
                self._reloads.labels("rejected").inc()
            case ReadFailed():
                self._reloads.labels("read_failed").inc()
            case ListenerLost():
                self._lost.inc()
            case _:
                pass

    async def scrape(self) -> bytes:
        """Return everything in Prometheus' text format; without the database, the fleet's numbers as they last were."""
        status, generation = self._status(), self._generation()
        for gauge, value in (
            (self._revision, status.revision),
            (self._desired, status.desired_revision),
            (self._number, status.generation),
        ):
            gauge.set(-1 if value is None else value)
        self._state.clear()
        self._state.labels(str(status.state)).set(1)
        for mode in _MODES:
            self._mode.labels(mode).set(mode == status.mode)
        self._up.set(status.reading)
        try:
            async with self._counting:
                await self._count_fleet()
        except DatabaseError:
            self._up.set(0)
        if generation is None:
            return generate_latest(self._registry)
        self._age.set((self._clock() - generation.snapshot.committed_at).total_seconds())
        return generate_latest(self._registry) + generate_latest(self._of_generation)

    async def _count_fleet(self) -> None:
        """Set the number of processes by state and of problems, and add the calls that are not in the counters yet.

        Read are the minutes since the start, of the last hour at most. A process may report a minute again with more
        calls, so of each minute and deployment what it has more than before is added.

        Raises:
            DatabaseError: the processes or the problems cannot be read.
        """
        states: dict[str, int] = {}
        for row in await self._repository.instances():
            state = row["state"] if row["state"] in _STATES else "unknown"
            states[state] = states.get(state, 0) + 1
        self._instances.clear()
        for state, number in states.items():
            self._instances.labels(state).set(number)
        self._problems.clear()
        for problem in await self._repository.problems():
            self._problems.labels(problem["severity"], problem["code"]).inc()
        since = max(self._began, self._clock() - _LOOK_BACK)
        try:
            rows = await self._repository.usage_totals(since)
        except DatabaseError:
            return  # a login that filled the table; the database is up, and the next scrape adds these calls
        self._counted = {key: counts for key, counts in self._counted.items() if key[0] >= since}
        for row in rows:
            labels = tuple(str(row[name]) for name in _DEPLOYMENT)
            key = (row["minute"], *labels)
            before = self._counted.get(key, {})
            self._counted[key] = {name: max(row[name] or 0, before.get(name, 0)) for name in self._of_fleet}
            if labels not in self._known and len(self._known) >= _MOST_DEPLOYMENTS:
                labels = _OTHERS
            self._known.add(labels)
            for name, counter in self._of_fleet.items():
                counter.labels(*labels).inc(self._counted[key][name] - before.get(name, 0))

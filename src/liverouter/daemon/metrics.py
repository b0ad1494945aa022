"""What Prometheus scrapes of the whole fleet, beside this process's own metrics."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from liverouter.engine.status import State
from liverouter.errors import DatabaseError
from liverouter.metrics import DEPLOYMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from liverouter.postgres.repository import SettingsRepository

_LOOK_BACK: Final = timedelta(minutes=60)  # how late a report may come: a process may have lost its database meanwhile
_MOST_DEPLOYMENTS: Final = 1_000  # a login that makes names up must not fill this process's memory
_OTHERS: Final = ("other",) * len(DEPLOYMENT)  # the labels of all further ones
_STATES: Final = frozenset(State)


class Metrics:
    """The fleet's numbers, by the view `usage` at each scrape, in the registry that this process's own are in.

    `scrape` is called by one event loop.
    """

    def __init__(
        self,
        *,
        repository: SettingsRepository,
        registry: CollectorRegistry,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Count the calls from this minute on; *clock* gives an aware time, as PostgreSQL's minutes are."""
        self._repository, self._registry, self._clock = repository, registry, clock
        self._counting = asyncio.Lock()  # two scrapes at once would count a call twice
        self._began = clock().replace(second=0, microsecond=0)
        # (minute, *DEPLOYMENT) -> what of it is in the counters, by their names in _of_fleet
        self._counted: dict[tuple[Any, ...], Mapping[str, float]] = {}
        self._known: set[tuple[str, ...]] = set()  # labels that have counters
        self._instances = Gauge("liverouter_instances", "Processes by state", ["state"], registry=registry)
        self._problems = Gauge("liverouter_problems", "Rows of view problems", ["severity", "code"], registry=registry)
        self._of_fleet = {
            name: Counter(f"liverouter_{name}", help_, DEPLOYMENT, registry=registry)
            for name, help_ in (
                ("calls", "Calls answered, all processes"),
                ("failures", "Attempts failed, all processes"),
                ("failovers", "Calls it answered for another"),
                ("cost_usd", "Cost, by litellm's price list"),
            )
        }

    async def scrape(self) -> bytes:
        """Return everything in Prometheus' text format; without the database, the fleet's numbers as they last were."""
        with contextlib.suppress(DatabaseError):
            async with self._counting:
                await self._count_fleet()
        return generate_latest(self._registry)

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
        problems = await self._repository.problems()  # before the old ones go: it may fail
        self._instances.clear()
        for state, number in states.items():
            self._instances.labels(state).set(number)
        self._problems.clear()
        for problem in problems:
            self._problems.labels(problem["severity"], problem["code"]).inc()
        since = max(self._began, self._clock() - _LOOK_BACK)
        try:
            rows = await self._repository.usage_totals(since)
        except DatabaseError:
            return  # a login that filled the table; the database is up, and the next scrape adds these calls
        self._counted = {key: counts for key, counts in self._counted.items() if key[0] >= since}
        for row in rows:
            labels = tuple(str(row[name]) for name in DEPLOYMENT)
            key = (row["minute"], *labels)
            before = self._counted.get(key, {})
            self._counted[key] = {name: max(row[name] or 0, before.get(name, 0)) for name in self._of_fleet}
            if labels not in self._known and len(self._known) >= _MOST_DEPLOYMENTS:
                labels = _OTHERS
            self._known.add(labels)
            for name, counter in self._of_fleet.items():
                counter.labels(*labels).inc(self._counted[key][name] - before.get(name, 0))

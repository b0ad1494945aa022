"""Many processes on one database: heartbeats measured, and a simulated fleet beyond one database's connections."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from liverouter.postgres.repository import SettingsRepository
from tests.bench.figures import Figure, median, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.world import World

INSTANCES = 1_000
HEARTBEAT_S = 10.0


def measure(world: World) -> Iterator[Figure]:
    """Yield what a thousand heartbeats cost the database, and the simulated fleets."""
    world.write(**world.rows())
    yield from asyncio.run(_heartbeats(world))
    yield from _simulated(world)


async def _heartbeats(world: World) -> list[Figure]:
    """Send the heartbeats of a thousand instances at their real pace and time a writer's commits beside them."""
    seconds = world.samples(30, 5)
    repository = SettingsRepository(url=world.dsn, application_name="bench")
    instances = [(str(uuid.uuid4()), f"{n:032x}") for n in range(INSTANCES)]
    for instance, key in instances:
        await repository.report(_whole(instance, key))
    writer = await asyncpg.connect(world.dsn)
    began = await _wal_bytes(writer)
    idle = await _commits(writer, seconds)
    between = await _wal_bytes(writer)
    stop = asyncio.Event()
    spent: list[float] = []
    beats = asyncio.create_task(_beat(repository, instances, stop, spent))
    busy = await _commits(writer, seconds)
    ended = await _wal_bytes(writer)
    stop.set()
    await beats
    await writer.close()
    await repository.close()
    rate = INSTANCES / HEARTBEAT_S
    return [
        Figure(
            what=f"commit of a writer beside {INSTANCES:,} instances' heartbeats ({rate:g}/s)",
            ours=median(busy),
            baseline=median(idle),
            against="the same database, idle",
            unit="ms",
            samples=len(busy),
        ),
        Figure(
            what="one heartbeat, round trip",
            ours=median(spent),
            baseline=median(idle),
            against="a writer's commit, idle",
            unit="ms",
            samples=len(spent),
        ),
        Figure(
            what=f"log written beside {INSTANCES:,} instances' heartbeats",
            ours=(ended - between) / seconds / 1024,
            baseline=(between - began) / seconds / 1024,
            against="the same writer, idle",
            unit="kB/s",
        ),
    ]


async def _wal_bytes(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


def _whole(instance: str, key: str) -> dict[str, object]:
    return {
        "instance": instance, "key": key, "app": "bench", "host": "bench", "pid": 1, "state": "live", "mode": "listen",
        "epoch": "bench", "applied_revision": 1, "generation": 1, "problems": [], "deployments": [],
    }  # fmt: skip


async def _beat(
    repository: SettingsRepository, instances: list[tuple[str, str]], stop: asyncio.Event, spent: list[float]
) -> None:
    pause_s, due = HEARTBEAT_S / len(instances), time.perf_counter()
    while True:
        for instance, key in instances:
            if stop.is_set():
                return
            began = time.perf_counter()
            await repository.report({"instance": instance, "key": key})
            spent.append((time.perf_counter() - began) * 1000)
            due += pause_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def _commits(connection: asyncpg.Connection, seconds: float) -> list[float]:
    times, end, n = [], time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        n += 1
        began = time.perf_counter()
        await connection.execute(
            "UPDATE liverouter.settings SET value = to_jsonb($1::int) WHERE key = 'llm_max_tokens'", n
        )
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.02)
    return times


@dataclass(frozen=True, slots=True)
class Plan:
    """How a simulated fleet hears of a revision."""

    name: str
    processes: int
    per_relay: int  # processes behind one listener; 1 = each listens itself
    hop_ms: float  # from a relay to its processes: a socket on the same host


def _simulated(world: World) -> Iterator[Figure]:
    """Simulate staleness and load with the costs that the growth curve shows: 0.04 ms a callback, 0.2 ms a re-read."""
    plans = [
        Plan("1,000 direct listeners", 1_000, 1, 0.0),
        Plan("10,000 processes behind host relays of 50", 10_000, 50, 0.5),
        Plan("100,000 processes behind host relays of 50", 100_000, 50, 0.5),
    ]
    rng = random.Random(1)  # noqa: S311 - a simulation
    for plan in plans:
        last = [_last_ms(plan, rng) for _ in range(world.samples(50, 5))]
        listeners = plan.processes // plan.per_relay
        yield Figure(
            what=f"simulated: commit → last of {plan.name} ({listeners:,} connections)",
            ours=quantile(last, 0.99),
            baseline=None,
            against="",
            unit="ms",
            samples=len(last),
        )


def _last_ms(plan: Plan, rng: random.Random) -> float:
    """Return when the last process has the revision: relays spread their reads by N/500 s of jitter, at most 2 s."""
    listeners = plan.processes // plan.per_relay
    spread_ms = 0.0 if listeners <= 500 else min(2_000.0, listeners / 500 * 1_000)
    arrivals = sorted(0.04 * n + rng.uniform(0, spread_ms) for n in range(listeners))
    free, last = 0.0, 0.0
    for at in arrivals:
        free = max(free, at) + 0.2  # the database serves one read after another: 5,000 a second
        last = free + (plan.hop_ms * rng.uniform(1, 3) if plan.per_relay > 1 else 0.0)
    return last

"""From a commit to a generation in force: one process, a hundred, and listeners by the hundred."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil

from liverouter.bus import Bus
from liverouter.loops.reload_requests import ReloadRequests
from liverouter.postgres.dsn import Dsn
from liverouter.postgres.listener import Listener
from liverouter.postgres.repository import SettingsRepository
from tests.bench.figures import Figure, median, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tests.bench.world import World

HERE = Path(__file__).parent
LIVE = [sys.executable, str(HERE / "live.py")]
_PATIENCE_S = 600.0
_POLL_S = 30.0  # how often LiteLLM's proxy looks for changes


def measure(world: World) -> Iterator[Figure]:
    """Yield latencies from the acknowledged commit."""
    world.write(**world.rows())
    yield from _one_process(world)
    yield from _listeners(world)


def _one_process(world: World) -> Iterator[Figure]:
    """Alternate the two processes, each alone on the machine with its server and this writer."""
    count = world.samples(60, 10)
    times: dict[str, list[float]] = {"floor": [], "ours": []}
    commands = {
        "floor": [sys.executable, str(HERE / "bare.py"), world.dsn, world.openai],
        "ours": LIVE,
    }
    for _ in range(3):
        for name, command in commands.items():
            times[name] += commits(world, command, count)[0]
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        yield Figure(
            what=f"commit → live, one process, {label}",
            ours=quantile(times["ours"], share),
            baseline=quantile(times["floor"], share),
            against="raw NOTIFY + 20-row read + bare Router()",
            unit="ms",
            goal=1.3,
            samples=len(times["ours"]),
            series=times if share == 0.5 else {},
        )
    yield Figure(
        what="staleness of a process, worst",
        ours=max(times["ours"]),
        baseline=_POLL_S * 1000,
        against="polling every 30 s, as LiteLLM's proxy does",
        unit="ms",
        samples=len(times["ours"]),
    )


def commits(world: World, command: list[str], count: int, **environ: str) -> tuple[list[float], float]:
    """Return the milliseconds from each of *count* commits to the generation in force, and the process's MB after them.

    *command* is started for that, with *environ* beside what a client needs, and ended.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=world.environ() | environ) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "ready":
            pass
        try:
            times = asyncio.run(_write_and_wait(world, process.stdout, count))
            return times, psutil.Process(process.pid).memory_info().rss / 1e6
        finally:
            process.kill()


async def _write_and_wait(world: World, lines: Any, count: int) -> list[float]:
    connection = await asyncpg.connect(world.dsn)
    times: list[float] = []
    for n in range(count + 5):
        await connection.execute(
            "UPDATE liverouter.settings SET value = $1 WHERE key = 'llm_model'", json.dumps(f"gpt-{n}-{time.time_ns()}")
        )
        acknowledged = time.monotonic()
        revision = await connection.fetchval("SELECT revision FROM liverouter.head")
        while True:
            seen, at = (await asyncio.to_thread(lines.readline)).split()
            if int(seen) == revision:
                break
        if n >= 5:
            times.append((float(at) - acknowledged) * 1000)
        await asyncio.sleep(0.02)
    await connection.close()
    return times


def _listeners(world: World) -> Iterator[Figure]:
    for number in (20, 100, 500, 1000):
        if number > 100 and number > 5_000 * world.scale:
            continue
        rounds = world.samples(15, 4)
        acks: dict[str, list[float]] = {}
        lasts: dict[str, list[float]] = {}
        for name, run in (("bare", _bare), ("ours", _ours)):
            acks[name], lasts[name] = asyncio.run(_herd(world, run, number, rounds))
        yield Figure(
            what=f"commit → last of {number} listeners has re-read",
            ours=median(lasts["ours"]),
            baseline=median(lasts["bare"]),
            against=f"{number} bare listeners that re-read",
            unit="ms",
            goal=1.5 if number == 100 else None,
            samples=rounds,
            series={f"{name} {number}": values for name, values in lasts.items()},
        )
        yield Figure(
            what=f"commit acknowledged to the writer, {number} listeners",
            ours=median(acks["ours"]),
            baseline=median(acks["bare"]),
            against=f"{number} bare listeners",
            unit="ms",
            samples=rounds,
        )


async def _herd(
    world: World, run: Callable[..., Coroutine[Any, Any, None]], number: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Run *number* listeners in this process and return (ack, last re-read) in ms for each commit."""
    seen: dict[int, list[float]] = {}
    reached = asyncio.Event()

    def read(revision: int) -> None:
        at = seen.setdefault(revision, [])
        at.append(time.monotonic())
        if len(at) >= number:
            reached.set()

    gate, ready = asyncio.Semaphore(50), asyncio.Semaphore(0)
    tasks = [asyncio.create_task(run(world.dsn, read, gate, ready)) for _ in range(number)]
    for _ in range(number):
        await ready.acquire()
    connection = await asyncpg.connect(world.dsn)
    acks, lasts = [], []
    for n in range(rounds):
        reached.clear()
        seen.clear()
        began = time.monotonic()
        await connection.execute(
            "UPDATE liverouter.settings SET value = $1 WHERE key = 'llm_model'", json.dumps(f"gpt-{n}-{time.time_ns()}")
        )
        acknowledged = time.monotonic()
        async with asyncio.timeout(60):
            await reached.wait()
        acks.append((acknowledged - began) * 1000)
        lasts.append((max(max(v) for v in seen.values()) - began) * 1000)
        await asyncio.sleep(0.05)
    await connection.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return acks, lasts


async def _bare(dsn: str, read: Callable[[int], None], gate: asyncio.Semaphore, ready: asyncio.Semaphore) -> None:
    async with gate:
        listener, reader = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    wanted = asyncio.Event()
    await listener.add_listener("liverouter", lambda *_: wanted.set())
    await reader.fetch("SELECT key, value FROM liverouter.settings LIMIT 20")
    ready.release()
    try:
        while True:
            await wanted.wait()
            wanted.clear()
            await reader.fetch("SELECT key, value FROM liverouter.settings LIMIT 20")
            read(await reader.fetchval("SELECT revision FROM liverouter.head"))
    finally:
        listener.terminate()
        reader.terminate()


async def _ours(dsn: str, read: Callable[[int], None], gate: asyncio.Semaphore, ready: asyncio.Semaphore) -> None:
    requests = ReloadRequests(Bus())
    listener = Listener(
        dsn=Dsn.parse(dsn), requests=requests, bus=Bus(), application_name="bench", probe_interval_s=3600
    )
    repository = SettingsRepository(url=dsn, application_name="bench", lender=listener)  # as a client has them
    async with gate:
        task = asyncio.create_task(listener.run())
        await requests.wait(_PATIENCE_S)
        await repository.read()
    ready.release()
    try:
        while True:
            await requests.wait(_PATIENCE_S)
            read((await repository.read()).revision)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await repository.close()

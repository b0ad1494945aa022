"""What swapping costs those who call meanwhile, and what ten thousand swaps leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.bench.calls import LITELLM, NATIVE
from tests.bench.figures import Figure, median, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.testing import MemoryRouter
    from tests.bench.world import World

CALLERS = 200


def measure(world: World) -> Iterator[Figure]:
    """Yield the figures of swaps under load, of many swaps, of the tail, and of first calls."""
    yield from _under_load(world)
    yield from _first_calls(world)
    yield from _many(world)
    yield from _tail(world)


def _under_load(world: World) -> Iterator[Figure]:
    provider = world.lines(str(Path(__file__).with_name("crowd.py")), str(CALLERS))
    quiet: tuple[list[float], list[float]] = ([], [])
    swaps: tuple[list[float], list[float]] = ([], [])
    with world.memory(openai_api_base=provider.readline().strip()) as live:
        for _ in range(world.samples(5, 3)):  # in turn, as a busy moment of the machine hits one or the other
            for found, swap in ((quiet, False), (swaps, True)):
                latencies, lags = asyncio.run(_wave(live, provider, swap=swap))
                found[0].extend(latencies)
                found[1].extend(lags)
    yield Figure(
        what=f"p99 of {CALLERS} calls in flight while configs are swapped",
        ours=quantile(swaps[0], 0.99),
        baseline=quantile(quiet[0], 0.99),
        against="the same load without swaps",
        unit="ms",
        goal=1.2,
        samples=len(swaps[0]),
    )
    lag_ms = quantile(quiet[1], 0.99)  # two hundred calls that begin or end at once have one of their own
    yield Figure(
        what="event-loop lag that swaps add to the caller's, p99",
        ours=max(0.0, quantile(swaps[1], 0.99) - lag_ms),
        baseline=lag_ms,
        against="the lag of the same load without swaps",
        unit="ms",
        limit=10,
        samples=len(swaps[1]),
    )


async def _wave(live: MemoryRouter, provider: IO[str], *, swap: bool) -> tuple[list[float], list[float]]:
    """Return (latencies, loop lags) in ms of a wave of calls, with ten swaps while they are in flight or none.

    *provider* tells by a line that another `CALLERS` calls have arrived.
    """
    model = live.chat_model()
    await asyncio.gather(*(model.ainvoke("hi") for _ in range(CALLERS)))
    provider.readline()
    latencies: list[float] = []
    lags: list[float] = []

    async def call() -> None:
        began = time.perf_counter()
        await model.ainvoke("hi")
        latencies.append((time.perf_counter() - began) * 1000)

    watch = asyncio.create_task(_lag(lags))
    wave = [asyncio.create_task(call()) for _ in range(CALLERS)]
    await asyncio.to_thread(provider.readline)
    for n in range(10 if swap else 0):
        await asyncio.to_thread(live.set, litellm_timeout=100 + n)
        await asyncio.sleep(0.03)
    await asyncio.gather(*wave)
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    return latencies, lags


async def _lag(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        lags.append((time.perf_counter() - began - 0.005) * 1000)


_FIRST = """
import time
from liverouter import LiveRouter
from liverouter.events import ConfigApplied
from liverouter.testing import EventLog
import asyncio, asyncpg, json, sys
events = EventLog()
with LiveRouter(observers=(events,)) as live:
    model = live.chat_model()
    model.invoke("hi"), model.invoke("hi")
    async def write():
        connection = await asyncpg.connect(sys.argv[1])
        await connection.execute("UPDATE liverouter.settings SET value = '\\"anthropic\\"' WHERE key = 'llm_provider'")
        # what the client reports of the swap is no part of a call
        await connection.execute("SELECT liverouter.wait_applied((SELECT revision FROM liverouter.head))")
        await connection.close()
    asyncio.run(write())
    events.wait_for(ConfigApplied, primary="anthropic/gpt-4o")
    times = []
    for _ in range(6):
        began = time.process_time()
        model.invoke("hi")
        times.append(time.process_time() - began)
    print(*times)
"""


def _first_calls(world: World) -> Iterator[Figure]:
    for engine in (NATIVE, LITELLM):
        firsts, others = [], []
        for _ in range(world.samples(15, 3)):
            world.write(**world.rows(llm_fallback_config=None, litellm_enable=engine == LITELLM))
            done = subprocess.run(
                [sys.executable, "-c", _FIRST, world.dsn],
                capture_output=True,
                text=True,
                check=True,
                env=world.environ(),
            )
            first, *later = [float(seconds) * 1000 for seconds in done.stdout.split()]
            firsts.append(first)
            others.append(median(later))
        yield Figure(
            what=f"first call after a swap to a provider never used before: CPU, {engine}",
            ours=median(firsts),
            baseline=median(others),
            against="the next five calls",
            unit="ms",
            goal=2.0,
            samples=len(firsts),
            ratios=[round(first / other, 4) for first, other in zip(firsts, others, strict=True)],
        )


def _many(world: World) -> Iterator[Figure]:
    import litellm

    count, warm = world.samples(10_000, 300), world.samples(1000, 100)
    series: dict[str, list[float]] = {"RSS, MB": [], "descriptors": []}
    routers: weakref.WeakSet[Any] = weakref.WeakSet()
    with world.memory() as live:
        model = live.chat_model()

        def swap(n: int) -> None:
            live.set(secrets={"openai_api_key": f"sk-{n}"})
            routers.add(live.generation().router)
            if n % 100 == 0:
                model.invoke("hi")
                series["RSS, MB"].append(_rss_mb())
                series["descriptors"].append(_descriptors())

        def state() -> dict[str, float]:
            gc.collect()
            return {
                "RSS": _rss_mb(),
                "descriptors": _descriptors(),
                "live Routers": len(routers),
                "litellm's callback lists": len(litellm._async_success_callback) + len(litellm.callbacks),  # noqa: SLF001
                "litellm.model_cost": len(litellm.model_cost),
            }

        for n in range(warm):
            swap(n)
        before = state()
        for n in range(warm, count):
            swap(n)
        after = state()
    limits = {"RSS": 10.0, "descriptors": 10, "live Routers": 2, "litellm's callback lists": 0, "litellm.model_cost": 2}
    for name, limit in limits.items():
        grown = after[name] if name == "live Routers" else after[name] - before[name]
        yield Figure(
            what=f"{count:,} swaps, each a new key: {name}"
            + ("" if name == "live Routers" else ", growth after warm-up"),
            ours=grown,
            baseline=None,
            against="",
            unit="MB" if name == "RSS" else "",
            limit=limit,
            samples=count,
            series=series if name == "RSS" else {},
        )


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


_TAIL = """
import asyncio, gc, json, os, sys, time
os.environ["LITELLM_MODE"], os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "PRODUCTION", "True"
kind, base, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
times, lags, collections, began_at = [], [], [0.0], [0.0]
def collecting(phase, info):
    if phase == "start":
        began_at[0] = time.thread_time()
    else:
        collections.append((time.thread_time() - began_at[0]) * 1000)
async def watch():
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.002)
        lags.append((time.perf_counter() - began - 0.002) * 1000)
async def go(call):
    for _ in range(50): await call()
    task = asyncio.create_task(watch())
    gc.callbacks.append(collecting)
    for n in range(count):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1000)
    task.cancel()
if kind == "ours":
    from liverouter.testing import MemoryRouter
    from liverouter.routing.litellm_setup import freeze
    rows = {"llm_provider": "openai", "llm_model": "gpt-4o", "openai_api_base": base}
    with MemoryRouter(rows, secrets={"openai_api_key": "sk-bench"}) as live:
        freeze()  # as a client of a database does with its first generation
        model = live.chat_model()
        asyncio.run(go(lambda: model.ainvoke("hi")))
else:
    import litellm
    params = {"model": "openai/gpt-4o", "api_key": "sk-bench", "api_base": base}
    router = litellm.Router(model_list=[{"model_name": "m", "litellm_params": params}])
    messages = [{"role": "user", "content": "hi"}]
    asyncio.run(go(lambda: router.acompletion(model="m", messages=messages)))
print(json.dumps([times, lags, collections]))
"""


def _tail(world: World) -> Iterator[Figure]:
    count = world.samples(10_000, 500)
    found: dict[str, tuple[list[float], ...]] = {}
    for kind in ("litellm", "ours"):
        done = subprocess.run(
            [sys.executable, "-c", _TAIL, kind, world.openai, str(count)],
            capture_output=True,
            text=True,
            check=True,
            env=world.environ(),
        )
        found[kind] = tuple(json.loads(done.stdout.splitlines()[-1]))
    for what, values, of in (
        (f"p99.9 of {count:,} calls, over the median", 0, lambda v: quantile(v, 0.999) - median(v)),
        ("longest pause of the caller's event loop", 1, max),
    ):
        yield Figure(
            what=what,
            ours=of(found["ours"][values]),
            baseline=of(found["litellm"][values]),
            against="litellm alone",
            unit="ms",
            goal=0.2,
            samples=count,
            series={name: sorted(v[values])[-200:] for name, v in found.items()},
        )
    yield Figure(
        what=f"longest garbage collection of {count:,} calls: CPU",
        ours=max(found["ours"][2]),
        baseline=max(found["litellm"][2]),
        against="litellm alone",
        unit="ms",
        limit=10,
        samples=count,
    )

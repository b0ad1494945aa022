"""What named models cost: how time, memory and traffic grow with their number, each with a fallback of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench.calls import LITELLM, NATIVE
from tests.bench.figures import Figure, median
from tests.bench.reloads import LIVE, commits
from tests.kit.postgres.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.world import World

SIZES: Final = (1, 4, 16, 50)  # the default counts as one; 50 rows are the most


def measure(world: World) -> Iterator[Figure]:
    """Yield, for each engine and number of names, commit → live and memory; then the bytes that a change moves."""
    count = world.samples(60, 5)
    try:
        for engine in (NATIVE, LITELLM):
            times: dict[int, list[float]] = {}
            memory: dict[int, float] = {}
            for size in SIZES:
                world.write(**_rows(world, size), litellm_enable=engine == LITELLM)
                times[size], memory[size] = commits(world, LIVE, count)
            took = {size: median(values) for size, values in times.items()}
            yield from _grown("commit → live, one process", engine, took, "ms", count)
            yield from _grown("memory of a process", engine, memory, "MB", 1)
        moved = {size: _kilobytes(world, size, count) for size in SIZES}
        yield from _grown("between process and database, for a change", NATIVE, moved, "kB", count)
    finally:
        world.write(**_rows(world, 1))


def _rows(world: World, size: int) -> dict[str, object]:
    """Return the rows of *size* names; further ones are null, which is as if they were not there."""
    fallback = {"provider": "anthropic", "model": "claude-sonnet-4-6"}
    named = {
        f"llm:name-{n}": {"provider": "openai", "model": f"model-{n}", "fallbacks": fallback} if n < size else None
        for n in range(1, SIZES[-1])
    }
    return world.rows() | named


def _kilobytes(world: World, size: int, count: int) -> float:
    """Return what a process with *size* names reads and reports for one change, both ways, on the wire."""
    passed: list[int] = []

    def down(frame: bytes) -> list[bytes]:
        passed.append(len(frame))
        return [frame]

    def up(frame: bytes) -> None:
        passed.append(len(frame))

    world.write(**_rows(world, size), litellm_enable=False)
    with FaultProxy(world.dsn) as proxy:
        proxy.rewrite(down)
        proxy.answer(up)
        commits(world, LIVE, 0, LIVEROUTER_DATABASE_URL=proxy.dsn)
        start = sum(passed)  # of a process that starts, and hears of a few changes
        passed.clear()
        commits(world, LIVE, count, LIVEROUTER_DATABASE_URL=proxy.dsn)
    return max(0, sum(passed) - start) / count / 1000


def _grown(what: str, engine: str, values: dict[int, float], unit: str, samples: int) -> Iterator[Figure]:
    """Yield one figure for each number of names, beside that of one."""
    for size, value in values.items():
        if size > 1:
            yield Figure(
                what=f"{what}, {size} names, {engine}",
                ours=value,
                baseline=values[1],
                against="one name",
                unit=unit,
                samples=samples,
                series={"names": [float(s) for s in values], "values": list(values.values())},
            )

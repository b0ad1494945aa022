"""What failing over costs beyond the attempt that failed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Figure, median

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.bench.world import World


def measure(world: World) -> Iterator[Figure]:
    """Yield a failing-over call against its two parts made one after the other."""
    broken = world.provider("openai", "--fail", "503")
    fallback = {"llm_provider": "anthropic", "llm_model": "claude-sonnet-4-6", "llm_fallback_config": None}
    # one try, and no cooling: else only the first calls would fail over
    rows = {"openai_api_base": broken, "litellm_num_retries": 1, "litellm_allowed_fails": 1000}
    with world.memory(**rows) as both:
        over = both.chat_model()
        with world.memory(**fallback) as spare, world.memory(**rows, llm_fallback_config=None) as lone:
            times = asyncio.run(_rounds(over, spare.chat_model(), lone.chat_model(), world.samples(100, 10)))
    yield Figure(
        what="a call that fails over",
        ours=median(times["ours"]),
        baseline=median(times["parts"]),
        against="the failed attempt + the fallback's call alone",
        unit="ms",
        goal=1.2,
        samples=len(times["ours"]),
        series=times,
    )


async def _rounds(over: Any, spare: Any, lone: Any, count: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"ours": [], "parts": []}
    for n in range(count + 5):
        ours = await _timed(over.ainvoke)
        failed = await _timed(lone.ainvoke, fails=True)
        alone = await _timed(spare.ainvoke)
        if n >= 5:
            times["ours"].append(ours)
            times["parts"].append(failed + alone)
    return times


async def _timed(call: Callable[[str], Awaitable[Any]], *, fails: bool = False) -> float:
    began = time.perf_counter()
    try:
        answer = await call("hi")
    except Exception:
        if not fails:
            raise
    else:
        assert not fails, "the broken provider answered"
        assert answer.content
    return (time.perf_counter() - began) * 1000

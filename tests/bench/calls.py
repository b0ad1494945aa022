"""What a call through the handle costs: against langchain-litellm on the same Router, a bare Router, and ChatOpenAI."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Figure, median, quantile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from tests.bench.world import World

    Calls = Mapping[str, Callable[[], Awaitable[object]]]

PROMPT = "Tell me something in about twenty words, please, so that a stream has some chunks to send back to its reader."
ROUNDS = 7


def measure(world: World) -> Iterator[Figure]:
    """Yield the cost of calls, CPU and wall, one caller and fifty."""
    from langchain_litellm import ChatLiteLLMRouter
    from langchain_openai import ChatOpenAI

    with world.memory() as live:
        router = live.generation().router
        params = [
            {"model": "openai/gpt-4o", "api_base": world.openai, "api_key": "sk-bench", "order": 1},
            {"model": "anthropic/claude-sonnet-4-6", "api_base": world.anthropic, "api_key": "sk-bench", "order": 2},
        ]
        own = _own_router(params)
        ours = live.chat_model()
        stock = ChatLiteLLMRouter(router=router, model="ekaiX-model")
        plain = ChatOpenAI(model="gpt-4o", base_url=world.openai, api_key="sk-bench", stream_usage=True)  # type: ignore[arg-type]
        messages = [{"role": "user", "content": PROMPT}]

        async def bare() -> object:
            return await own.acompletion(model="m", messages=messages)

        async def bare_stream() -> None:
            async for _ in await own.acompletion(model="m", messages=messages, stream=True):
                pass

        async def consume(model: Any) -> None:
            async for _ in model.astream(PROMPT):
                pass

        invokes: Calls = {
            "ours": lambda: ours.ainvoke(PROMPT),
            "ChatLiteLLMRouter": lambda: stock.ainvoke(PROMPT),
            "a bare Router": bare,
            "ChatOpenAI": lambda: plain.ainvoke(PROMPT),
        }
        streams: Calls = {
            "ours": lambda: consume(ours),
            "ChatLiteLLMRouter": lambda: consume(stock),
            "a bare Router": bare_stream,
            "ChatOpenAI": lambda: consume(plain),
        }
        loads = [
            (f"{name}, {callers} caller{'s' * (callers > 1)}", calls, callers)
            for name, calls in (("ainvoke", invokes), ("astream", streams))
            for callers in (1, 50)
        ]
        yield from asyncio.run(_compare_all(loads, world.samples(100, 20)))
        # our Router refuses blocking calls, and nobody would have another one beside it
        yield from _sync("sync invoke", ours, ChatLiteLLMRouter(router=own, model="m"), world.samples(150, 20))
        yield _replaced(world, ours, world.samples(50, 10))
    behind_tls = world.behind_tls(world.openai)
    with world.memory(openai_api_base=behind_tls) as live:
        own = _own_router([params[0] | {"api_base": behind_tls}])
        stock = ChatLiteLLMRouter(router=own, model="m")
        yield from _sync("sync invoke over TLS", live.chat_model(), stock, world.samples(150, 20))


def _own_router(params: Sequence[dict[str, Any]]) -> Any:
    """Return litellm's Router as a user makes it, of deployments in one group "m"."""
    import litellm

    return litellm.Router(model_list=[{"model_name": "m", "litellm_params": each} for each in params])


async def _compare_all(loads: Sequence[tuple[str, Calls, int]], count: int) -> list[Figure]:
    """Measure every load in one event loop: ChatOpenAI keeps connections of the loop that it was first used in."""
    figures: list[Figure] = []
    for what, calls, callers in loads:
        cpu: dict[str, list[float]] = {name: [] for name in calls}
        wall: dict[str, list[float]] = {name: [] for name in calls}
        await _rounds(calls, callers, count, cpu, wall)
        figures += _compared(what, count, cpu, wall)
    return figures


def _compared(what: str, count: int, cpu: dict[str, list[float]], wall: dict[str, list[float]]) -> Iterator[Figure]:
    for baseline, goal in (("ChatLiteLLMRouter", 1.05), ("a bare Router", 1.1), ("ChatOpenAI", None)):
        yield Figure(
            what=f"CPU per call, {what}",
            ours=median(cpu["ours"]),
            baseline=median(cpu[baseline]),
            against=baseline,
            unit="ms",
            goal=goal,
            samples=count * ROUNDS,
            series=cpu if baseline == "ChatLiteLLMRouter" else {},
        )
    yield Figure(
        what=f"wall per call, {what}",
        ours=median(wall["ours"]),
        baseline=median(wall["ChatLiteLLMRouter"]),
        against="ChatLiteLLMRouter",
        unit="ms",
        samples=count * ROUNDS,
    )


async def _rounds(
    calls: Calls,
    callers: int,
    count: int,
    cpu: dict[str, list[float]],
    wall: dict[str, list[float]],
) -> None:
    """Measure all *calls* in turn, round by round, so that a busy moment of the machine hits every one of them."""
    for call in calls.values():
        await asyncio.gather(*(call() for _ in range(callers)))  # clients, handlers and connections
    for _ in range(ROUNDS):
        for name, call in calls.items():
            gc.collect()
            spent, began = time.process_time(), time.perf_counter()
            await _load(call, callers, count)
            await asyncio.sleep(0.05)  # litellm logs behind the answer: that is part of what a call costs
            cpu[name].append((time.process_time() - spent) * 1000 / count)
            wall[name].append((time.perf_counter() - began - 0.05) * 1000 / count)


async def _load(call: Callable[[], Awaitable[object]], callers: int, count: int) -> None:
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(caller() for _ in range(callers)))


def _sync(what: str, ours: Any, stock: Any, count: int) -> Iterator[Figure]:
    times: dict[str, list[float]] = {"ours": [], "ChatLiteLLMRouter": []}
    opened: dict[str, int] = {}
    models = {"ours": ours, "ChatLiteLLMRouter": stock}
    for model in models.values():
        model.invoke(PROMPT)
    for name, model in models.items():
        opened[name] = _descriptors()
        for _ in range(count):
            began = time.perf_counter()
            model.invoke(PROMPT)
            times[name].append((time.perf_counter() - began) * 1000)
        opened[name] = _descriptors() - opened[name]
    yield Figure(
        what=f"{what}, median",
        ours=median(times["ours"]),
        baseline=median(times["ChatLiteLLMRouter"]),
        against="ChatLiteLLMRouter.invoke",
        unit="ms",
        goal=1.0,
        samples=count,
        series=times,
    )
    yield Figure(
        what=f"{what}, p99",
        ours=quantile(times["ours"], 0.99),
        baseline=quantile(times["ChatLiteLLMRouter"], 0.99),
        against="ChatLiteLLMRouter.invoke",
        unit="ms",
        samples=count,
    )
    yield Figure(
        what=f"{what}: descriptors opened by {count} calls",
        ours=opened["ours"],
        baseline=opened["ChatLiteLLMRouter"],
        against="ChatLiteLLMRouter.invoke",
        unit="",
        limit=2,
    )


def _replaced(world: World, ours: Any, count: int) -> Figure:
    """Compare with the design that this replaces: each call builds its Router from the settings of the moment."""
    import litellm
    from langchain_litellm import ChatLiteLLMRouter

    params = {"model": "openai/gpt-4o", "api_base": world.openai, "api_key": "sk-bench"}

    def rebuilt() -> None:
        router = litellm.Router(model_list=[{"model_name": "m", "litellm_params": dict(params)}])
        ChatLiteLLMRouter(router=router, model="m").invoke(PROMPT)
        router.discard()

    times: dict[str, list[float]] = {"ours": [], "rebuilt": []}
    for n in range(count + 3):
        for name, call in (("ours", lambda: ours.invoke(PROMPT)), ("rebuilt", rebuilt)):
            began = time.perf_counter()
            call()
            if n >= 3:
                times[name].append((time.perf_counter() - began) * 1000)
    return Figure(
        what="sync invoke, median",
        ours=median(times["ours"]),
        baseline=median(times["rebuilt"]),
        against="a Router built for each call, the design this replaces",
        unit="ms",
        samples=count,
    )


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())

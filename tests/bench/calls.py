"""What a call costs: both engines beside what a user would have instead, in one process, in CPU time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from pydantic import SecretStr

from tests.bench.figures import Figure, median

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.world import World

CHUNKS: Final = 224
SHORT, LONG = "Tell me something in 8 words", f"Tell me something in {CHUNKS} words"
_LOGGED_S: Final = 0.05  # for what litellm logs behind the answers of a slice
NATIVE, LITELLM = "native engine", "litellm engine"
CHAT_OPENAI, WITH_FALLBACKS = "ChatOpenAI", "ChatOpenAI.with_fallbacks"
CHAT_ROUTER, ROUTER, PROXY = "ChatLiteLLMRouter on a stock Router", "a stock Router", "ChatOpenAI over LiteLLM's proxy"


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to call a model.

    Attributes:
        name: of LangChain's method, and what it returns.
        count: calls of one slice.
        slices: of each model, in a full run.
        callers: how many call at once; 0 for sync calls.
        litellm_goal: the largest ratio wanted of the litellm engine to ChatLiteLLMRouter.
        native_goal: the largest ratio wanted of the native engine to ChatOpenAI.
    """

    name: str
    count: int
    slices: int
    callers: int = 1
    is_stream: bool = False
    litellm_goal: float | None = None
    native_goal: float | None = None


KINDS: Final = (
    Kind("ainvoke", 6, 120, litellm_goal=0.9, native_goal=1.1),
    Kind("ainvoke, 50 callers", 50, 30, callers=50),
    Kind("invoke", 6, 120, callers=0, litellm_goal=0.9, native_goal=1.1),
    Kind(f"astream, {CHUNKS} chunks", 1, 60, is_stream=True, litellm_goal=1.05, native_goal=1.1),
    Kind(f"stream, {CHUNKS} chunks", 1, 60, callers=0, is_stream=True, litellm_goal=1.05, native_goal=1.1),
)


def measure(world: World) -> Iterator[Figure]:
    """Yield the CPU time of calls of each kind, the descriptors of sync ones, and what a Router for each call takes."""
    with world.memory(litellm_enable=False) as native, world.memory() as live, asyncio.Runner() as runner:
        models = _models(world) | {NATIVE: native.chat_model(), LITELLM: live.chat_model()}
        server = None
        if world.litellm_proxy is not None:
            base, key, server = world.proxy()
            models[PROXY] = _chat_openai(base, key)
        for kind in KINDS:
            yield from _compared(kind, _slices(kind, models, runner, world, server))
        yield _descriptors(models, world.samples(45, 5))
        yield _replaced(world, models[LITELLM], world.samples(50, 5))
        for name in (CHAT_ROUTER, ROUTER):
            models[name].router.discard()


def _models(world: World) -> dict[str, Any]:
    """Return what a user would have instead: each with the same fallback, where it can have one."""
    from langchain_anthropic import ChatAnthropic
    from langchain_litellm import ChatLiteLLMRouter

    spare: Any = {"model": "claude-sonnet-4-6", "base_url": world.anthropic, "api_key": "sk-bench"}
    return {
        CHAT_OPENAI: _chat_openai(world.openai),
        WITH_FALLBACKS: _chat_openai(world.openai).with_fallbacks([ChatAnthropic(**spare)]),
        CHAT_ROUTER: ChatLiteLLMRouter(router=_router(world), model="m"),
        ROUTER: _Bare(_router(world)),
    }


def _chat_openai(base: str, key: str = "sk-bench") -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-4o", base_url=base, api_key=SecretStr(key), stream_usage=True)


def _router(world: World) -> Any:
    """Return litellm's Router as its users make it."""
    import litellm

    litellm.suppress_debug_info = True
    models = [
        ("m", {"model": "openai/gpt-4o", "api_base": world.openai, "api_key": "sk-bench"}),
        ("spare", {"model": "anthropic/claude-sonnet-4-6", "api_base": world.anthropic, "api_key": "sk-bench"}),
    ]
    entries = [{"model_name": name, "litellm_params": params} for name, params in models]
    return litellm.Router(model_list=entries, fallbacks=[{"m": ["spare"]}])


class _Bare:
    """A Router under the names of LangChain's methods."""

    def __init__(self, router: Any) -> None:
        self.router = router

    def _request(self, prompt: str) -> dict[str, Any]:
        return {"model": "m", "messages": [{"role": "user", "content": prompt}]}

    def invoke(self, prompt: str) -> Any:
        return self.router.completion(**self._request(prompt))

    def stream(self, prompt: str) -> Any:
        return self.router.completion(**self._request(prompt), stream=True)

    async def ainvoke(self, prompt: str) -> Any:
        return await self.router.acompletion(**self._request(prompt))

    async def astream(self, prompt: str) -> Any:
        async for chunk in await self.router.acompletion(**self._request(prompt), stream=True):
            yield chunk


def _slices(
    kind: Kind, models: Mapping[str, Any], runner: asyncio.Runner, world: World, server: int | None
) -> dict[str, list[float]]:
    """Return the CPU milliseconds of a call by each model, one value for each slice.

    Slices are short, and each model has one in each round, in an order that is drawn anew: so the n-th of two models
    are a pair, which the same moment of the machine hits, and nobody always comes behind the same other. A slice begins
    with a call that is not counted, as connections that have idled too long are opened anew. What the garbage
    collector takes depends on what else is loaded, so that is kept out of its sight. *server* is the process of the
    proxy, whose time counts with its caller's.
    """
    spent: dict[str, list[float]] = {name: [] for name in models}
    order, draw = list(models), random.Random(1)  # noqa: S311 - an order
    count = min(kind.count, world.samples(10 * kind.count, 1))  # fewer below a quick look
    for number in range(world.samples(kind.slices, 2) + 1):
        draw.shuffle(order)
        for name in order:
            _load(kind, models[name], runner, 1)
            gc.collect()
            gc.freeze()
            other = server if name == PROXY else None
            began = _cpu_s(other)
            _load(kind, models[name], runner, count)
            if number:  # the first makes clients
                spent[name].append((_cpu_s(other) - began) * 1000 / count)
    gc.unfreeze()
    return spent


def _cpu_s(server: int | None) -> float:
    """Return the CPU seconds of this process, and of the process *server* with its children."""
    spent = time.process_time()
    if server is not None:
        process = psutil.Process(server)
        spent += sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))
    return spent


def _load(kind: Kind, model: Any, runner: asyncio.Runner, count: int) -> None:
    """Make *count* calls, and wait until nobody works for them any more."""
    if kind.callers:
        runner.run(_load_async(kind, model, count))
    else:
        _load_sync(kind, model, count)


async def _load_async(kind: Kind, model: Any, count: int) -> None:
    """Make *count* calls."""
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            if kind.is_stream:
                async with contextlib.aclosing(model.astream(LONG)) as chunks:
                    assert len([chunk async for chunk in chunks]) >= CHUNKS
            else:
                await model.ainvoke(SHORT)

    await asyncio.gather(*(caller() for _ in range(kind.callers)))
    await asyncio.sleep(_LOGGED_S)


def _load_sync(kind: Kind, model: Any, count: int) -> None:
    """Make *count* calls, one after the other, without an event loop."""
    for _ in range(count):
        if kind.is_stream:
            assert len(list(model.stream(LONG))) >= CHUNKS
        else:
            model.invoke(SHORT)
    time.sleep(_LOGGED_S)


def _compared(kind: Kind, spent: Mapping[str, Sequence[float]]) -> Iterator[Figure]:
    """Yield each engine against its baselines."""
    pairs = [
        (NATIVE, CHAT_OPENAI, kind.native_goal),
        (NATIVE, WITH_FALLBACKS, 1.0 if kind.native_goal else None),
        (LITELLM, CHAT_ROUTER, kind.litellm_goal),
        (LITELLM, ROUTER, None),
        *((engine, PROXY, None) for engine in (NATIVE, LITELLM) if PROXY in spent),
    ]
    for engine, baseline, goal in pairs:
        yield Figure(
            what=f"{kind.name}: CPU of a call, {engine}",
            ours=median(spent[engine]),
            baseline=median(spent[baseline]),
            against=baseline,
            unit="ms",
            goal=goal,
            samples=kind.count * len(spent[engine]),
            ratios=[round(ours / theirs, 4) for ours, theirs in zip(spent[engine], spent[baseline], strict=True)],
        )


def _descriptors(models: Mapping[str, Any], count: int) -> Figure:
    """Return how many descriptors sync calls leave open: litellm makes a loop, and so a client, for some."""
    opened = {}
    for name in (LITELLM, CHAT_ROUTER):
        before = _open_descriptors()
        for _ in range(count):
            models[name].invoke(SHORT)
        opened[name] = max(_open_descriptors() - before, 0)  # those of calls before may be closed meanwhile
    return Figure(
        what=f"invoke: descriptors opened by {count} calls, {LITELLM}",
        ours=opened[LITELLM],
        baseline=opened[CHAT_ROUTER],
        against=CHAT_ROUTER,
        unit="",
        limit=2,
    )


def _replaced(world: World, ours: Any, count: int) -> Figure:
    """Compare with the design that this replaces: each call builds its Router from the settings of the moment."""
    from langchain_litellm import ChatLiteLLMRouter

    def rebuilt() -> None:
        router = _router(world)
        ChatLiteLLMRouter(router=router, model="m").invoke(SHORT)
        router.discard()

    spent: dict[str, list[float]] = {"ours": [], "rebuilt": []}
    for n in range(count + 1):
        for name, call in (("ours", lambda: ours.invoke(SHORT)), ("rebuilt", rebuilt)):
            began = time.process_time()
            call()
            if n:
                spent[name].append((time.process_time() - began) * 1000)
    return Figure(
        what=f"invoke: CPU of a call, {LITELLM}",
        ours=median(spent["ours"]),
        baseline=median(spent["rebuilt"]),
        against="a Router built for each call, the design this replaces",
        unit="ms",
        samples=count,
    )


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())

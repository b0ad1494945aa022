"""Failover under load: fifty callers at once, two hundred swaps with cooldowns active."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import litellm
import pytest

from liverouter.testing import Failure
from tests.kit.dialects import DIALECTS
from tests.kit.leaps import leap
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import LONG_S, METHODS, PROMPT, World, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [*LITELLM_WARNINGS]

CALLERS = 50
# One for each dialect and of each kind, the matrix has them all: the caller's fault, the key's, the quota's, the
# provider's, the wire's, silence, a hollow stream.
WAYS: Final = (
    Failure.BAD_REQUEST,
    Failure.UNAUTHORIZED,
    Failure.RATE_LIMIT_RETRY_AFTER,
    Failure.SERVER_ERROR,
    Failure.REFUSED,
    Failure.HANG,
    Failure.PREAMBLE,
)
TIMEOUT_S = 120.0  # the fallback has no more, for fifty calls at once on a busy machine
LISTS: Final = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "_async_success_callback",
    "_async_failure_callback",
    "input_callback",
    "service_callback",
)


@pytest.fixture(scope="module")
def worlds() -> Iterator[dict[str, World]]:
    """A world per dialect, warm, made when first asked for."""
    made: dict[str, World] = {}
    yield made
    for world in reversed(made.values()):
        world.__exit__()


def world_of(worlds: dict[str, World], dialect: str) -> World:
    """Return the world of *dialect*, with nothing failing and nothing cooling."""
    if dialect not in worlds:
        world = worlds[dialect] = World(dialect, litellm_timeout=60).__enter__()
        for method in ("invoke", "stream"):
            world.call(method)
            world.primary.fail(Failure.BAD_REQUEST, times=1)
            world.call(method)
    world = worlds[dialect]
    world.primary.heal()
    world.clock.tick(10_000)
    return world


class TestFiftyCallers:
    @pytest.mark.parametrize("failure", WAYS, ids=lambda failure: failure.value)
    def test_fifty_of_fifty_are_answered(
        self, worlds: dict[str, World], failure: Failure, wait_until: Callable[..., None]
    ) -> None:
        """Half streaming, half not, all at the same time: every one of them gets the fallback's answer."""
        world = world_of(worlds, list(DIALECTS)[WAYS.index(failure)])
        world.live.set(litellm_timeout=TIMEOUT_S)
        world.primary.fail(failure)
        hits = world.primary.hits

        async def one(number: int) -> dict[str, Any]:
            if number % 2:
                answer = await world.model.ainvoke(PROMPT)
                return dict(answer.response_metadata["liverouter"])
            chunks = [chunk async for chunk in world.model.astream(PROMPT)]
            assert "".join(str(chunk.content) for chunk in chunks).endswith(PROMPT)
            return dict(chunks[-1].response_metadata["liverouter"])

        async def storm() -> list[dict[str, Any]]:
            return await asyncio.gather(*(one(number) for number in range(CALLERS)))

        started = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            stormy = pool.submit(asyncio.run, storm())
            if failure is Failure.HANG:  # only the timeout ends it: once it keeps all of them waiting
                wait_until(lambda: world.primary.hits - hits == CALLERS)
                leap(world.live, 1.2 * TIMEOUT_S)
            told = stormy.result()
        seconds = time.monotonic() - started
        assert [one["role"] for one in told] == ["fallback"] * CALLERS
        assert world.primary.hits - hits <= 2 * CALLERS
        assert seconds < LONG_S


class TestSeveralLoops:
    def test_clients_of_one_process_do_not_disturb_each_other(self, caplog: pytest.LogCaptureFixture) -> None:
        """Three clients, each with an I/O loop of its own: no call is made twice, and nothing fails behind them."""
        with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
            worlds = [stack.enter_context(World("openai", fallback="")) for _ in range(3)]
            for world in worlds:
                world.call()
            before = [world.primary.hits for world in worlds]
            calls = [pool.submit(world.call, method) for method in METHODS * 15 for world in worlds]
            assert {call.result().told["attempts"] for call in calls} == {1}
            assert [world.primary.hits for world in worlds] == [hits + 60 for hits in before]
        gc.collect()
        assert "LoggingWorker" not in caplog.text


class TestSwaps:
    def test_two_hundred_swaps_leave_nothing_behind(self, wait_until: Callable[..., None]) -> None:
        """Under calls, with the primary cooling: lists, Routers, descriptors and prices stay as they were."""
        with World("openai", litellm_cooldown_time=3600) as world:
            world.call("stream")
            world.primary.fail(Failure.UNAUTHORIZED)
            assert world.call().primary_hits == 1
            routers: list[weakref.ref[Any]] = []
            stop, roles = threading.Event(), []

            def call(method: str) -> None:
                while not stop.is_set():
                    roles.append(ask(world.model, method).response_metadata["liverouter"]["role"])

            callers = [threading.Thread(target=call, args=(m,)) for m in ("invoke", "stream", "ainvoke")]
            for caller in callers:
                caller.start()
            lists = {name: list(getattr(litellm, name)) for name in LISTS}
            prices, descriptors = set(litellm.model_cost), _descriptors()
            for number in range(200):
                world.live.set(llm_fallback_config=_spare(world, number))  # another one each time; the primary stays
                routers.append(weakref.ref(world.live.generation().router))
                if number % 20 == 19:  # the one in force, and one that a call in flight may still hold
                    wait_until(lambda: _alive(routers) <= 2)
            stop.set()
            for caller in callers:
                caller.join()

            assert {name: list(getattr(litellm, name)) for name in LISTS} == lists
            assert len(set(litellm.model_cost) - prices) <= 1, "litellm names the model once, and no key"
            assert _descriptors() <= descriptors + 20
            assert set(roles) == {"fallback"}, "no call failed, and none asked the primary"
            assert world.primary.hits == 2, "the one that answered, and the one that began the cooldown"
            assert world.cooling_s() > 3_000


def _alive(routers: list[weakref.ref[Any]]) -> int:
    gc.collect()
    return sum(router() is not None for router in routers)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _spare(world: World, number: int) -> dict[str, Any]:
    models = ("claude-sonnet-4-6", "claude-haiku-4-5", "claude-opus-4-1")
    return {
        "provider": "anthropic",
        "model": models[number % 3],
        "api_base": world.fallback.api_base,
        "api_key": {"secret": "spare"},
        "temperature": number / 200,
    }

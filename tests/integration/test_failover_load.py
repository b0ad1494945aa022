"""Failover under load: twenty callers at once, forty swaps with cooldowns active."""

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
from tests.kit.leaps import leap
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import LONG_S, METHODS, PROMPT, World, ask

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [*LITELLM_WARNINGS]

CALLERS = 20
# One of each kind, and for each of the libraries that hold connections; the matrix has them all.
WAYS: Final = {"openai": Failure.REFUSED, "anthropic": Failure.SERVER_ERROR, "vertex-ai": Failure.HANG}
SWAPS: Final = 40  # more than litellm's lists take
TIMEOUT_S = 120.0  # the fallback has no more, for twenty calls at once on a busy machine
LISTS: Final = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "_async_success_callback",
    "_async_failure_callback",
    "input_callback",
    "service_callback",
)


class TestTwentyCallers:
    @pytest.mark.parametrize(("dialect", "failure"), WAYS.items(), ids=WAYS)
    def test_all_of_them_are_answered(self, dialect: str, failure: Failure, wait_until: Callable[..., None]) -> None:
        """Half streaming, half not, all at the same time: every one of them gets the fallback's answer."""
        with World(dialect, litellm_timeout=TIMEOUT_S) as world:
            for method in ("invoke", "stream"):
                world.call(method)  # loads what is loaded late, before time counts
            told, seconds, hits = storm(world, failure, wait_until)
        assert [one["role"] for one in told] == ["fallback"] * CALLERS
        assert hits <= 2 * CALLERS
        assert seconds < LONG_S


def storm(world: World, failure: Failure, wait_until: Callable[..., None]) -> tuple[list[dict[str, Any]], float, int]:
    """Have all call while the primary fails; return what was told, the seconds, and how often the primary was asked."""
    world.primary.fail(failure)
    before = world.primary.hits

    async def one(number: int) -> dict[str, Any]:
        if number % 2:
            answer = await world.model.ainvoke(PROMPT)
            return dict(answer.response_metadata["liverouter"])
        chunks = [chunk async for chunk in world.model.astream(PROMPT)]
        assert "".join(str(chunk.content) for chunk in chunks).endswith(PROMPT)
        return dict(chunks[-1].response_metadata["liverouter"])

    async def everybody() -> list[dict[str, Any]]:
        return await asyncio.gather(*(one(number) for number in range(CALLERS)))

    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(asyncio.run, everybody())
        if failure is Failure.HANG:  # only the timeout ends it: once it keeps all of them waiting
            wait_until(lambda: world.primary.hits - before == CALLERS)
            leap(world.live, 1.2 * TIMEOUT_S)
        told = calls.result()
    return told, time.monotonic() - started, world.primary.hits - before


class TestSeveralLoops:
    def test_clients_of_one_process_do_not_disturb_each_other(self, caplog: pytest.LogCaptureFixture) -> None:
        """Three clients, each with an I/O loop of its own: no call is made twice, and nothing fails behind them."""
        with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
            worlds = [stack.enter_context(World("openai", fallback="")) for _ in range(3)]
            for world in worlds:
                world.call()
            before = [world.primary.hits for world in worlds]
            calls = [pool.submit(world.call, method) for method in METHODS * 2 for world in worlds]
            assert {call.result().told["attempts"] for call in calls} == {1}
            assert [world.primary.hits for world in worlds] == [hits + 8 for hits in before]
        gc.collect()
        assert "LoggingWorker" not in caplog.text


class TestSwaps:
    def test_swaps_leave_nothing_behind(self, wait_until: Callable[..., None]) -> None:
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
            for number in range(SWAPS):
                world.live.set(llm_fallback_config=_spare(world, number))  # another one each time; the primary stays
                routers.append(weakref.ref(world.live.generation().router))
                if number % 10 == 9:  # the one in force, and one that a call in flight may still hold
                    wait_until(lambda: _alive(routers) <= 2)
            stop.set()
            for caller in callers:
                caller.join()

            assert {name: list(getattr(litellm, name)) for name in LISTS} == lists
            assert len(set(litellm.model_cost) - prices) <= 1, "litellm names the model once, and no key"
            assert _descriptors() <= descriptors + SWAPS / 2
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
        "temperature": number / SWAPS,
    }

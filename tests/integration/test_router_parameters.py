"""Parameters of calls at `live.router()`, litellm's own: each deployment is sent what it takes, as by the handle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.exceptions import ModelInvalidRequestError

from liverouter.routing.clock import Clock
from liverouter.testing import Failure
from tests.kit.dialects import DIALECTS
from tests.kit.everybody import World
from tests.kit.standins import bodies
from tests.kit.waiting import until_async
from tests.kit.wires import LITELLM_WARNINGS, user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.revision import Deployment

pytestmark = [*LITELLM_WARNINGS]
ASKED: Final[dict[str, Any]] = {
    "max_completion_tokens": 10_000_000,
    "reasoning_effort": "low",
    "seed": 1,
    "stop": ["a", "b", "c", "d", "e", "f"],
    "temperature": 1.75,
    "top_k": 5,
    "top_p": 0.5,
    "user": "ada@example.com",
    "verbosity": "low",
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One world for all tests."""
    with World() as entered:
        yield entered


def ask(world: World, dialect: str, **asked: Any) -> Any:
    """Ask the deployment of *dialect* alone, in litellm's words, and return what its provider got."""
    generation, wanted = world.clients["litellm"].generation(), DIALECTS[dialect]
    label = f"{wanted.provider}/{wanted.model}"
    router: Any = generation.router
    identifier = next(d.id for d in generation.deployments if d.label == label)

    async def call() -> None:
        await router.acompletion(identifier, user("hi"), **asked)

    asyncio.run(call())
    return bodies(world.standins[wanted.provider])[-1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_parameter_is_fitted_to_whom_is_asked(world: World, dialect: str) -> None:
    """All at once and one by one: none is refused, and each body is the one that the handle sends."""
    standin = world.standins[DIALECTS[dialect].provider]
    for asked in (ASKED, *({name: value} for name, value in ASKED.items())):
        sent = ask(world, dialect, **asked)
        by_handle = world.ask((dialect, "litellm"), "hi", **asked)
        assert {n: v for n, v in sent.items() if n != "messages"} == {
            n: v for n, v in by_handle.items() if n != "messages"
        }
    assert standin.violations == ()


def test_value_of_another_type_is_one_error(world: World) -> None:
    """Before anything leaves."""
    before = world.standins["openai"].hits
    with pytest.raises(ModelInvalidRequestError, match="'temperature' wants a number"):
        ask(world, "openai", temperature="hot")
    assert world.standins["openai"].hits == before


async def test_each_attempt_is_let_go_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that failed, one that was cancelled, and the last: no timer and no stream of theirs is left."""
    made: list[Clock] = []
    closed: list[Clock] = []

    class Watched(Clock):
        async def close(self) -> None:
            closed.append(self)
            await super().close()

    def watched(_: Deployment, timeout_s: float) -> Clock:
        made.append(Watched(timeout_s))
        return made[-1]

    monkeypatch.setattr("liverouter.routing.engines.router.clock_for", watched)
    live = world.clients["litellm"]
    router, (first, second, *_) = live.generation().router, live.generation().deployments
    standins = [world.standins[deployment.provider] for deployment in (first, second)]
    standins[0].fail(Failure.SERVER_ERROR, times=1)
    assert await router.acompletion("default", user("hi"))
    assert closed == made
    assert len(made) == 2
    live.cooldowns.add_success(first.id)
    with standins[0].hold() as gate:
        call = asyncio.create_task(router.acompletion(first.id, user("hi")))
        await gate.wait_held_async(1, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until_async(lambda: len(closed) == len(made) == 3)  # on the loop that the attempt runs on
    assert closed == made

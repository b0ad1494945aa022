"""Parameters of calls at `live.router()`, litellm's own: each deployment is sent what it takes, as by the handle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.exceptions import ModelInvalidRequestError

from tests.kit.dialects import DIALECTS
from tests.kit.everybody import World
from tests.kit.standins import bodies
from tests.kit.wires import LITELLM_WARNINGS, user

if TYPE_CHECKING:
    from collections.abc import Iterator

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

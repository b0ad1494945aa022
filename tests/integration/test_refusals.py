"""A model or its provider that declines: one error for all of them, LangChain's where it has one, in both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core import exceptions as core
from langchain_core.exceptions import ModelInvalidRequestError

from liverouter.errors import CallError
from liverouter.testing import Failure, Reply
from tests.kit.dialects import DIALECTS
from tests.kit.everybody import TARGETS, World, named
from tests.kit.standins import collect, run
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]

TEXT: Final = "I would rather not."
OPENAIS: Final = ("azure-openai", "openai", "snowflake")  # whose refusals are texts of their own
CODE: Final = {"type": "code_interpreter", "container": {"type": "auto"}}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One world for all tests."""
    with World() as entered:
        yield entered


def ask(world: World, target: tuple[str, str], *, stream: bool, **bound: Any) -> Any:
    """Ask the *target* alone."""
    dialect, model = DIALECTS[target[0]], world.clients[target[1]].chat_model()
    alone: Any = model.bind(model=f"{dialect.provider}/{dialect.model}", **bound)
    return run(lambda: collect(alone)) if stream else alone.invoke("hi")


def is_langchains(error: BaseException) -> bool:
    """Tell whether *error* is of LangChain's class for refusals, where the installed one has it."""
    return isinstance(error, getattr(core, "ModelRefusalError", ModelInvalidRequestError))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("target", TARGETS, ids=named)
class TestRefusals:
    def test_answer_that_refuses_is_one_error(self, world: World, target: tuple[str, str], *, stream: bool) -> None:
        """By its stop reason, a safety block or a filter: LR305, a refusal and a bad request, and nobody cools."""
        world.standins[DIALECTS[target[0]].provider].respond(Reply(finish="refusal"))
        with pytest.raises(CallError) as caught:
            ask(world, target, stream=stream)
        assert caught.value.code == "LR305"
        assert isinstance(caught.value, ModelInvalidRequestError)
        assert is_langchains(caught.value)
        assert world.clients[target[1]].generation().cooling == {}

    def test_request_that_is_refused_is_one_too(self, world: World, target: tuple[str, str], *, stream: bool) -> None:
        """A policy's 400 stays what its library raised, and becomes a refusal."""
        world.standins[DIALECTS[target[0]].provider].fail(Failure.CONTENT_POLICY, times=1)
        with pytest.raises(ModelInvalidRequestError) as caught:
            ask(world, target, stream=stream)
        assert is_langchains(caught.value)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("target", [target for target in TARGETS if target[0] in OPENAIS], ids=named)
def test_words_of_a_refusal_are_in_it(world: World, target: tuple[str, str], *, stream: bool) -> None:
    """OpenAI's models refuse in a member of their own: it is no answer, and no empty one."""
    world.standins[DIALECTS[target[0]].provider].respond(Reply(text=TEXT, finish="refusal"))
    with pytest.raises(CallError, match=TEXT) as caught:
        ask(world, target, stream=stream)
    assert is_langchains(caught.value)
    assert caught.value.raw_message is not None  # type: ignore[attr-defined]  # of a RefusedError


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_refusal_of_openais_other_api(world: World, *, stream: bool) -> None:
    """It stands in the content there."""
    standin = world.standins["openai"]
    standin.respond(Reply(text=TEXT, finish="refusal"))
    with pytest.raises(CallError, match=TEXT) as caught:
        ask(world, ("openai", "native"), stream=stream, tools=[CODE])
    assert is_langchains(caught.value)

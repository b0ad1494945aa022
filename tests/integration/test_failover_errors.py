"""Where no failover is possible, one honest error: after the first chunk, without a fallback, with everything down."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import litellm
import pytest
from langchain_core import exceptions as core
from litellm.integrations.custom_logger import CustomLogger

from liverouter.chat.errors import EveryDeploymentFailedError
from liverouter.testing import Failure
from tests.kit.dialects import DIALECTS
from tests.kit.leaps import leap
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import PROMPT, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = [*LITELLM_WARNINGS]

SHORT_S = 0.5
LONG_S = 60.0  # however busy the machine is: what nothing ends takes two minutes
BREAKS = (Failure.EOF, Failure.RESET, Failure.ERROR_EVENT, Failure.MALFORMED, Failure.HANG)
OWN: Final[Mapping[Failure, tuple[type[Exception], int | None]]] = {  # how a provider's error surfaces
    Failure.REFUSED: (core.ModelConnectionError, None),
    Failure.BAD_REQUEST: (core.ModelInvalidRequestError, 400),
    Failure.CONTEXT_WINDOW: (core.ContextOverflowError, 400),
    Failure.UNAUTHORIZED: (core.ModelAuthenticationError, 401),
    Failure.FORBIDDEN: (core.ModelPermissionDeniedError, 403),
    Failure.NOT_FOUND: (core.ModelNotFoundError, 404),
    Failure.UNPROCESSABLE: (core.ModelInvalidRequestError, 422),
    Failure.RATE_LIMIT: (core.ModelRateLimitError, 429),
    Failure.SERVER_ERROR: (core.ModelAPIError, 500),
    Failure.UNAVAILABLE: (core.ModelAPIError, 503),
}


@pytest.fixture(scope="module", params=DIALECTS)
def each(request: pytest.FixtureRequest) -> Iterator[World]:
    """A primary of each dialect with a fallback."""
    with World(request.param, litellm_timeout=2 * LONG_S) as made:
        yield made


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A primary with a fallback, where what is looked at is the same for every dialect."""
    with World("openai", litellm_allowed_fails=3, litellm_cooldown_time=30, litellm_timeout=2 * LONG_S) as made:
        yield made


@pytest.fixture(scope="module", params=DIALECTS)
def lone(request: pytest.FixtureRequest) -> Iterator[World]:
    """A primary of each dialect without a fallback, which has answered once."""
    with World(request.param, fallback="", litellm_timeout=2 * LONG_S) as made:
        made.call()  # with Google's token fetched
        yield made


def fresh(world: World, timeout_s: float = 2 * LONG_S) -> World:
    """Return *world* with nothing failing and nothing cooling."""
    for standin in world.standins:
        standin.heal()
    world.clock.tick(1_000)
    if world.live.generation().snapshot.timeout_s != timeout_s:
        world.live.set(litellm_timeout=timeout_s)
    return world


def heard(world: World, *, silent: bool) -> Iterator[str]:
    """Yield the pieces of a stream; where the primary then falls silent, its timeout passes at once."""
    for chunk in world.model.stream(PROMPT):
        yield str(chunk.content)
        if silent and chunk.text:
            leap(world.live, 4 * LONG_S)


def failing_call(world: World, method: str = "invoke") -> tuple[Exception, float]:
    """Return the error of a call that must fail, and the seconds it took."""
    started = time.monotonic()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is what the tests look at
        world.call(method)
    return caught.value, time.monotonic() - started


class TestAfterTheFirstChunk:
    def test_broken_stream_ends_in_one_typed_error(self, each: World) -> None:
        """The reader gets what came, then one error; the fallback is not asked, since nothing can be taken back.

        Two of the breaks for each dialect, so that each is met by several.
        """
        turn = list(DIALECTS).index(each.dialect.name)
        for failure in (BREAKS[turn % 5], BREAKS[turn % 5 - 2]):
            fresh(each)
            each.primary.fail(failure, after_chunks=1)
            before = each.hits()
            pieces: list[str] = []
            started = time.monotonic()
            with pytest.raises(core.ModelError) as caught:
                pieces.extend(heard(each, silent=failure is Failure.HANG))
            assert time.monotonic() - started < LONG_S
            assert "".join(pieces).strip(), "what came before the break was delivered"
            assert not "".join(pieces).endswith(PROMPT)
            assert each.hits() == (before[0] + 1, before[1])
            assert isinstance(caught.value, (core.ModelAPIError, core.ModelConnectionError, core.ModelTimeoutError))
            assert each.deployment().secrets[each.dialect.key].reveal() not in str(caught.value)

    def test_broken_streams_count_toward_the_cooldown(self, world: World) -> None:
        """A primary that always dies in the middle cools like one that answers errors, and the fallback serves."""
        fresh(world)
        world.primary.fail(Failure.EOF, after_chunks=1)
        for _ in range(3):
            assert world.cooling_s() == 0
            with pytest.raises(core.ModelError):
                list(world.model.stream(PROMPT))
        assert world.cooling_s() > 0
        assert world.call("stream").role == "fallback"

    def test_whole_stream_forgets_the_failures_before_it(self, world: World) -> None:
        """Failures count in a row: an answer between them starts anew."""
        fresh(world)
        for _ in range(3):
            world.primary.fail(Failure.EOF, after_chunks=1, times=1)
            with pytest.raises(core.ModelError):
                list(world.model.stream(PROMPT))
            assert world.call("stream").role == "primary"
        assert world.cooling_s() == 0


class TestNoFallback:
    def test_provider_s_own_error_surfaces_every_time(self, lone: World, sleeps: list[tuple[str, float]]) -> None:
        """Calls and streams in turn, each asked the provider, none slept: nothing is masked by a cooldown."""
        for number, (failure, (kind, status)) in enumerate(OWN.items(), list(DIALECTS).index(lone.dialect.name)):
            fresh(lone)
            lone.primary.fail(failure)
            hits = 0 if failure.is_unreachable else 2 if status in {500, 503} else 1
            before = lone.primary.hits
            error, seconds = failing_call(lone, ("invoke", "stream")[number % 2])
            assert isinstance(error, kind), failure
            if status is not None:
                assert getattr(error, "status_code", None) == status
            assert "RouterRateLimit" not in type(error).__name__
            assert lone.primary.hits - before == hits
            assert seconds < LONG_S
            assert lone.cooling_s() == 0
        assert sleeps == []
        lone.primary.heal()
        assert lone.call().role == "primary"

    def test_timeout_surfaces_every_time(self, lone: World) -> None:
        """A provider that hangs costs its timeout and no more, each time."""
        fresh(lone, SHORT_S)
        lone.primary.fail(Failure.HANG)
        for method in ("invoke", "stream"):
            error, seconds = failing_call(lone, method)
            assert isinstance(error, core.ModelTimeoutError)
            assert 0.9 * SHORT_S < seconds < LONG_S


class TestEverythingDown:
    def test_error_names_both_deployments_and_both_causes(self, world: World, sleeps: list[tuple[str, float]]) -> None:
        """One error tells who failed and why, also once both cool: then both are asked, and nobody sleeps."""
        fresh(world)
        world.primary.fail(Failure.SERVER_ERROR)
        world.fallback.fail(Failure.UNAUTHORIZED)
        for method in ("invoke", "stream", "invoke", "stream"):
            error, seconds = failing_call(world, method)
            assert isinstance(error, EveryDeploymentFailedError)
            assert isinstance(error, core.ModelError)
            assert set(error.causes) == {world.deployment().id, world.deployment("fallback").id}
            assert world.deployment().label in str(error)
            assert world.deployment("fallback").label in str(error)
            assert "500" in error.causes[world.deployment().id]
            assert "401" in error.causes[world.deployment("fallback").id]
            assert seconds < LONG_S
        assert sleeps == []
        assert world.cooling_s() > 0
        assert world.cooling_s("fallback") > 0

    @pytest.mark.parametrize(
        "failure",
        [
            *(Failure.REFUSED, Failure.RESET, Failure.UNAUTHORIZED, Failure.SERVER_ERROR, Failure.EMPTY),
            *(Failure.PREAMBLE, Failure.ERROR_EVENT),
        ],
        ids=lambda failure: failure.value,
    )
    def test_error_names_each_deployment_once(self, world: World, failure: Failure) -> None:
        """Whether a library's error or one of our own, which names it by itself, says what happened there."""
        fresh(world)
        for standin in world.standins:
            standin.fail(failure)
        error, _ = failing_call(world, "stream")
        assert isinstance(error, EveryDeploymentFailedError)
        assert [str(error).count(world.deployment(role).label) for role in ("primary", "fallback")] == [1, 1]
        assert str(error).count("[LR") == 1
        assert not re.search(r"UnreachedError|EmptyAnswerError|CutStreamError", str(error))

    def test_what_heals_answers_at_once_although_it_cools(self, world: World) -> None:
        """With nobody else left a cooling deployment is asked: an answer is worth more than a rest."""
        fresh(world)
        world.primary.fail(Failure.UNAUTHORIZED)
        world.fallback.fail(Failure.UNAUTHORIZED)
        failing_call(world)
        world.primary.heal()
        assert world.cooling_s() > 0
        assert world.cooling_s("fallback") > 0
        healed = world.call()
        assert (healed.role, healed.primary_hits, healed.fallback_hits) == ("primary", 1, 0)

    def test_fallback_that_fails_sends_the_call_back_to_a_cooling_primary(self, world: World) -> None:
        """A primary that is well again answers before its cooldown ends, where the fallback cannot."""
        fresh(world)
        world.primary.fail(Failure.UNAUTHORIZED, times=1)
        assert world.call().role == "fallback"
        world.fallback.fail(Failure.SERVER_ERROR)
        rescued = world.call()
        assert (rescued.role, rescued.primary_hits, rescued.fallback_hits) == ("primary", 1, 2)

    @pytest.mark.parametrize(
        ("failure", "kind"),
        [
            (Failure.BAD_REQUEST, core.ModelInvalidRequestError),
            (Failure.CONTEXT_WINDOW, core.ContextOverflowError),
            (Failure.UNPROCESSABLE, core.ModelInvalidRequestError),
        ],
        ids=lambda value: getattr(value, "value", ""),
    )
    def test_caller_s_own_mistake_surfaces_as_such(self, world: World, failure: Failure, kind: type[Exception]) -> None:
        """What both refuse is the caller's 400, as the primary worded it, and neither cools for it."""
        fresh(world)
        world.primary.fail(failure)
        world.fallback.fail(failure)
        for method in ("invoke", "stream"):
            error, _ = failing_call(world, method)
            assert isinstance(error, kind)
            assert not isinstance(error, EveryDeploymentFailedError)
            assert not error.is_retryable  # type: ignore[attr-defined]  # LangChain's, which pytest.raises cannot tell
        assert world.cooling_s() == world.cooling_s("fallback") == 0


class TestTheRouterItself:
    async def test_direct_call_raises_the_primary_s_error_with_the_others_as_notes(self) -> None:
        """Whoever calls `live.router()` gets litellm's own class, the first failure's, and sees the rest beside it."""
        with World("openai") as world:
            world.primary.fail(Failure.SERVER_ERROR)
            world.fallback.fail(Failure.UNAUTHORIZED)
            router: Any = world.live.generation().router
            request = {"model": "ekaiX-model", "messages": [{"role": "user", "content": PROMPT}]}
            with pytest.raises(litellm.InternalServerError) as caught:
                await world.live.io.acall(router.acompletion, **request)
            assert any("AuthenticationError 401" in note for note in caught.value.__notes__)

    def test_application_s_own_litellm_logger_hears_every_attempt(
        self, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
    ) -> None:
        """Who listens to litellm still hears each attempt, failed or not, under the deployment that made it."""
        heard: list[tuple[str, str]] = []

        class Logger(CustomLogger):  # type: ignore[misc]  # litellm has no types
            async def async_log_success_event(
                self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
            ) -> None:
                del response_obj, start_time, end_time  # litellm passes them by these names
                heard.append(("success", kwargs["standard_logging_object"]["model_id"]))

            async def async_log_failure_event(
                self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
            ) -> None:
                del response_obj, start_time, end_time
                heard.append(("failure", kwargs["standard_logging_object"]["model_id"]))

        for name in ("success_callback", "failure_callback", "_async_success_callback", "_async_failure_callback"):
            monkeypatch.setattr(litellm, name, [])  # litellm moves what stands in `callbacks` into all of them
        monkeypatch.setattr(litellm, "callbacks", [Logger()])
        with World("openai") as world:
            world.primary.fail(Failure.SERVER_ERROR)
            world.call()
            primary, fallback = world.deployment().id, world.deployment("fallback").id
            wait_until(lambda: len(heard) >= 3)
        assert sorted(heard) == sorted([("failure", primary), ("failure", primary), ("success", fallback)])

    async def test_disable_fallbacks_asks_one_deployment_only(self) -> None:
        """An argument of litellm's own, for a caller that wants no second opinion, is heeded."""
        with World("openai") as world:
            world.primary.fail(Failure.BAD_REQUEST)
            with pytest.raises(core.ModelInvalidRequestError):
                await world.model.ainvoke(PROMPT, disable_fallbacks=True)
            assert world.hits() == (1, 0)

"""The outage is seen: what processes that make calls tell the database, the log and `problems` of their providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from liverouter import LiveRouter
from liverouter.bus import Bus
from liverouter.chat.usage import UsageCounter
from liverouter.events import CallFailed, ConfigApplied, DeploymentCooling, DeploymentRecovered
from liverouter.testing import EventLog, Failure, StandIn
from tests.kit.admin import Admin
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import METHODS, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [*LITELLM_WARNINGS]


@pytest.fixture(scope="module", params=["litellm", "native"])
def each(request: pytest.FixtureRequest) -> Iterator[World]:
    """An OpenAI primary with a fallback, by each engine, warm."""
    with World("openai", litellm_enable=request.param == "litellm", litellm_allowed_fails=1) as made:
        made.call()
        yield made


@pytest.fixture
def world(each: World) -> World:
    """The same, nothing failing or cooling, and no event told yet."""
    for standin in each.standins:
        standin.heal()
    each.clock.tick(100)
    each.call()
    each.events.__init__()  # type: ignore[misc]  # as new
    each.live.usage.__init__(bus=Bus(each.events))  # type: ignore[misc]
    return each


def told(world: World, role: str = "primary") -> dict[str, Any]:
    """Return what a report would say of the first deployment of *role*."""
    ids = [d.id for d in world.live.generation().deployments]
    return world.live.usage.health("default", ids)[world.deployment(role).id]


class TestEvents:
    @pytest.mark.parametrize("method", METHODS)
    def test_call_that_nobody_answers_is_an_error(self, world: World, method: str) -> None:
        """Once, with every deployment and why; no word of the provider's."""
        world.primary.fail(Failure.UNAUTHORIZED)
        world.fallback.fail(Failure.RATE_LIMIT)
        for _ in range(3):
            with pytest.raises(Exception, match="401"):
                world.call(method)
        (event,) = world.events.of(CallFailed)
        assert (event.level, event.named) == ("error", "default")
        assert event.deployments == (world.deployment().id, world.deployment("fallback").id)
        assert [cause.rpartition("Error ")[2] for cause in event.causes] == ["401", "429"]
        assert [e.deployment for e in world.events.of(DeploymentCooling)] == list(event.deployments)

    def test_caller_who_asks_wrongly_is_no_outage(self, world: World) -> None:
        """Nothing is told of a deployment that refuses what nobody could answer."""
        for standin in world.standins:
            standin.fail(Failure.BAD_REQUEST)
        with pytest.raises(Exception, match="told to"):
            world.call()
        assert world.events.of(CallFailed) == []
        assert told(world) == {}

    def test_recovery_is_told_once(self, world: World) -> None:
        """After a cooldown the primary answers again."""
        world.primary.fail(Failure.UNAUTHORIZED)
        world.call()
        (event,) = world.events.of(DeploymentCooling)
        assert (event.level, event.deployment, event.duration_s) == ("warning", world.deployment().id, 60.0)
        assert event.cause.endswith("AuthenticationError 401")
        world.primary.heal()
        world.clock.tick(61)
        for _ in range(2):
            world.call()
        (recovered,) = world.events.of(DeploymentRecovered)
        assert recovered.deployment == world.deployment().id


class TestCounts:
    def test_failure_is_told_until_an_answer(self, world: World) -> None:
        """Of the deployment that failed, and of no other."""
        world.primary.fail(Failure.UNAUTHORIZED)
        world.call()
        facts = told(world)
        assert facts["failing_ms"] == facts["failed_ms"] >= 0
        assert "calls_failed_ms" not in facts
        assert "cause" not in told(world, "fallback")
        assert told(world, "fallback")["answered_ms"] >= 0
        world.primary.heal()
        world.clock.tick(61)
        world.call()
        assert told(world).keys() == {"answered_ms", "longest_prompt"}

    @pytest.mark.parametrize(
        ("failure", "cause"),
        [
            (Failure.UNAUTHORIZED, "the provider does not know the key, HTTP 401"),
            (Failure.OUT_OF_MONEY, "no money left, or a limit reached, HTTP 402"),
            (Failure.DISABLED, "the account may not do this, HTTP 403"),
            (Failure.UNKNOWN_MODEL, "there is no such model, or no such address, HTTP 404"),
            (Failure.RATE_LIMIT, "too many calls, or no quota left, HTTP 429"),
            (Failure.SERVER_ERROR, "the provider fails, or its answer cannot be read"),
            (Failure.OVERLOADED, "the provider fails, HTTP 529"),
            (Failure.REFUSED, "the provider cannot be reached"),
            (Failure.RESET, "the provider cannot be reached"),
            (Failure.HTML, "the provider fails, or its answer cannot be read"),
        ],
    )
    def test_cause_is_in_words(self, world: World, failure: Failure, cause: str) -> None:
        """What an operator reads in `problems`, the same of both engines: no class of a library's."""
        world.primary.fail(failure)
        world.call()
        assert told(world)["cause"] == cause

    def test_calls_fail_until_one_is_answered_or_something_new_can_be_asked(self, world: World) -> None:
        """An admin who changes a key has mended it as far as anybody knows."""
        for standin in world.standins:
            standin.fail(Failure.UNAUTHORIZED)
        with pytest.raises(Exception, match="401"):
            world.call()
        assert told(world)["calls_failing_ms"] >= 0
        assert told(world, "fallback")["calls_failing_ms"] >= 0
        ids = [d.id for d in world.live.generation().deployments]
        assert "calls_failing_ms" not in world.live.usage.health("default", [*ids, "another"])[ids[0]]

    def test_one_failure_between_answers_says_nothing(self) -> None:
        """A busy process has one now and then; five in a row, or none answered for eight seconds, do."""
        now = 0.0
        usage = UsageCounter(bus=Bus(), monotonic=lambda: now)
        health = usage._health  # noqa: SLF001 - what calls tell it
        usage.add_success("a")
        for _ in range(4):
            health.failed("a", "x", now)
        assert "cause" not in usage.health("default", ["a"])["a"]
        assert not health.take_news()
        health.failed("a", "x", now)
        assert usage.health("default", ["a"])["a"]["cause"] == "x"
        assert health.take_news()
        health.failed("a", "x", now)
        assert not health.take_news()
        reports: list[bool] = []
        usage.on_news = lambda: reports.append(True)
        usage.add_success("a")
        usage.add_success("a")
        assert reports == [True]
        assert usage.counts_in_s() is None
        health.failed("a", "x", now)
        assert usage.counts_in_s() == 8
        now = 8.0
        assert usage.health("default", ["a"])["a"]["failed_ms"] == 8_000
        assert usage.counts_in_s() is None

    def test_longest_prompt_is_of_the_last_days(self) -> None:
        """One of long ago does not count for ever."""
        now = 0.0
        usage = UsageCounter(bus=Bus(), monotonic=lambda: now)
        usage.add_success("a", prompt_tokens=9_000)
        now = 90_000.0
        usage.add_success("a", prompt_tokens=10)
        assert usage.health("default", ["a"])["a"]["longest_prompt"] == 9_000
        now = 180_000.0
        usage.add_success("a", prompt_tokens=20)
        assert usage.health("default", ["a"])["a"]["longest_prompt"] == 20


class TestProblems:
    def test_outage_stands_in_problems_and_goes(
        self, dsn: str, openai: StandIn, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
    ) -> None:
        """At once, by the report that the failure wakes, and not with the next heartbeat; so does its end."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
        admin, events = Admin(dsn), EventLog()
        admin.set(llm_provider="openai", llm_model="gpt-4o", openai_api_base=openai.base_url, litellm_enable=False)

        def codes() -> set[str]:
            found = admin.connection.execute("SELECT code FROM liverouter.problems").fetchall()
            return {code for (code,) in found}

        with LiveRouter(database_url=dsn, observers=(events,), heartbeat_interval_s=30) as live:
            events.wait_for(ConfigApplied)
            openai.fail(Failure.UNAUTHORIZED)
            with pytest.raises(Exception, match="401"):
                live.chat_model().invoke("hi")
            wait_until(lambda: codes() == {"LR320", "LR323"})
            openai.heal()
            live.chat_model().invoke("hi")
            wait_until(lambda: codes() == set())
        admin.close()

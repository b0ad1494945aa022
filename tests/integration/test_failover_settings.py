"""The four settings of failover do what their names say; lists, orders and weights; what a swap keeps and forgets."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.exceptions import ModelAuthenticationError, ModelTimeoutError

from liverouter.testing import Failure, MemoryRouter, StandIn
from tests.kit.dialects import DIALECTS
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import PROMPT, Clock, World, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [*LITELLM_WARNINGS]

LONG_S = 60.0  # however busy the machine is


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """An OpenAI primary with a fallback, warm."""
    with World("openai") as made:
        made.call("invoke")
        made.call("stream")
        yield made


@pytest.fixture
def world(shared: World) -> World:
    """The same, with nothing failing, nothing cooling and default settings."""
    for standin in shared.standins:
        standin.heal()
    shared.clock.tick(100_000)
    shared.live.set(
        litellm_num_retries=None, litellm_allowed_fails=None, litellm_cooldown_time=None, litellm_timeout=None
    )
    return shared


class TestNumRetries:
    @pytest.mark.parametrize(("tries", "hits"), [(0, 1), (1, 1), (2, 2), (4, 4)])
    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_server_error_is_tried_that_often(self, world: World, tries: int, hits: int, method: str) -> None:
        """`litellm_num_retries` is the number of tries on one deployment before the next is asked."""
        world.live.set(litellm_num_retries=tries, litellm_allowed_fails=100)
        world.primary.fail(Failure.SERVER_ERROR)
        outcome = world.call(method)
        assert (outcome.primary_hits, outcome.fallback_hits) == (hits, 1)
        assert outcome.told["attempts"] == hits + 1

    def test_retry_that_succeeds_stays_with_the_primary(self, world: World) -> None:
        """One bad answer is no failover."""
        world.primary.fail(Failure.UNAVAILABLE, times=1)
        outcome = world.call()
        assert (outcome.role, outcome.primary_hits, outcome.fallback_hits) == ("primary", 2, 0)
        assert outcome.told["failed_over"] is False

    def test_fallback_has_tries_of_its_own(self, world: World) -> None:
        """The tries are per deployment, and a fallback that recovers in time answers."""
        world.primary.fail(Failure.SERVER_ERROR)
        world.fallback.fail(Failure.SERVER_ERROR, times=1)
        outcome = world.call()
        assert (outcome.role, outcome.primary_hits, outcome.fallback_hits) == ("fallback", 2, 2)

    def test_what_a_retry_cannot_mend_is_tried_once(self, world: World) -> None:
        """A refused key is refused again: no second request."""
        world.live.set(litellm_num_retries=5)
        world.primary.fail(Failure.UNAUTHORIZED)
        assert world.call().primary_hits == 1


class TestAllowedFails:
    @pytest.mark.parametrize("allowed", [1, 3, 5])
    def test_deployment_cools_at_that_failure(self, world: World, allowed: int) -> None:
        """`litellm_allowed_fails` is the number of failures before a deployment cools: 3 means at the third."""
        world.live.set(litellm_allowed_fails=allowed, litellm_num_retries=1)
        world.primary.fail(Failure.SERVER_ERROR)
        for failure in range(1, allowed + 1):
            assert world.cooling_s() == 0, f"before failure {failure}"
            assert world.call().primary_hits == 1
        assert world.cooling_s() > 0
        assert world.call().primary_hits == 0

    def test_default_is_three(self, world: World) -> None:
        """Left alone, two tries of one call and the first of the next make three."""
        world.primary.fail(Failure.SERVER_ERROR)
        assert [world.call().primary_hits for _ in range(3)] == [2, 1, 0]

    def test_answer_in_between_starts_the_count_anew(self, world: World) -> None:
        """One failure in three is a bad day, not an outage."""
        world.live.set(litellm_allowed_fails=2, litellm_num_retries=1)
        for _ in range(4):
            world.primary.fail(Failure.SERVER_ERROR, times=1)
            assert world.call().role == "fallback"
            assert world.call().role == "primary"
        assert world.cooling_s() == 0

    def test_one_failure_after_a_cooldown_begins_the_next(self, world: World) -> None:
        """A deployment on probation has no three failures more."""
        world.live.set(litellm_allowed_fails=3, litellm_num_retries=3, litellm_cooldown_time=30)
        world.primary.fail(Failure.SERVER_ERROR)
        assert world.call().primary_hits == 3
        world.clock.tick(31)
        assert world.call().primary_hits == 1
        assert world.cooling_s() > 0


class TestCooldownTime:
    @pytest.mark.parametrize("seconds", [5.0, 90.0])
    def test_deployment_rests_that_long(self, world: World, seconds: float) -> None:
        """`litellm_cooldown_time` is how long a cooling deployment is left alone, and not a second longer."""
        world.live.set(litellm_cooldown_time=seconds)
        world.primary.fail(Failure.UNAUTHORIZED, times=1)
        world.call()
        assert world.cooling_s() == pytest.approx(seconds)
        world.clock.tick(seconds - 0.1)
        assert world.call().primary_hits == 0
        world.clock.tick(0.2)
        assert world.call().role == "primary"

    def test_zero_turns_cooldowns_off(self, world: World) -> None:
        """With 0 every call asks the primary first."""
        world.live.set(litellm_cooldown_time=0)
        world.primary.fail(Failure.UNAUTHORIZED)
        assert [world.call().primary_hits for _ in range(3)] == [1, 1, 1]

    @pytest.mark.parametrize(("asked", "length"), [(3600.0, 60.0), (7.0, 7.0)])
    def test_retry_after_counts_up_to_that_time(self, world: World, asked: float, length: float) -> None:
        """A provider may ask for a shorter rest; one that asks for an hour does not get it."""
        world.primary.fail(Failure.RATE_LIMIT_RETRY_AFTER, retry_after_s=asked)
        world.call()
        assert world.cooling_s() == pytest.approx(length)

    def test_retry_after_zero_is_no_cooldown(self, world: World) -> None:
        """A provider that says "again at once" is asked again at once."""
        world.primary.fail(Failure.RATE_LIMIT_RETRY_AFTER, retry_after_s=0)
        assert [world.call().primary_hits for _ in range(2)] == [1, 1]


class TestNamed:
    @pytest.mark.parametrize("method", ["invoke", "stream"])
    @pytest.mark.parametrize("form", ["model", "label", "id"])
    def test_named_deployment_is_asked_though_it_cools(self, world: World, method: str, form: str) -> None:
        """Whoever names a deployment means that one: it is asked, and answers, whatever it did before."""
        world.primary.fail(Failure.UNAUTHORIZED, times=1)
        world.call()
        assert world.cooling_s() > 0
        outcome = world.call(method, model=getattr(world.deployment(), form))
        assert (outcome.role, outcome.primary_hits, outcome.fallback_hits) == ("primary", 1, 0)

    @pytest.mark.parametrize("form", ["model", "label", "id"])
    def test_named_fallback_answers_while_the_primary_cools(self, world: World, form: str) -> None:
        """A healthy deployment that is named is asked at once, whoever cools beside it."""
        world.primary.fail(Failure.UNAUTHORIZED, times=1)
        world.call()
        assert world.cooling_s() > 0
        outcome = world.call(model=getattr(world.deployment("fallback"), form))
        assert (outcome.role, outcome.primary_hits, outcome.fallback_hits) == ("fallback", 0, 1)

    def test_named_deployment_that_still_fails_tells_its_own_error(self, world: World) -> None:
        """The error is the provider's, not one of the walk through the others."""
        world.primary.fail(Failure.UNAUTHORIZED)
        world.call()
        with pytest.raises(ModelAuthenticationError):
            world.call(model=world.deployment().label)
        assert world.cooling_s() > 0


@pytest.fixture(scope="module", params=DIALECTS)
def lone(request: pytest.FixtureRequest) -> Iterator[World]:
    """A primary of each dialect alone, which has answered once."""
    with World(request.param, fallback="", litellm_num_retries=1) as made:
        for method in ("invoke", "stream"):
            made.call(method)
        yield made


class TestTimeout:
    """Without a fallback: it would have no more time, and a busy machine may need it."""

    def test_change_holds_for_the_next_call(self, lone: World) -> None:
        """`litellm_timeout` ends an attempt, streamed or not, and a new value holds at once: Vertex streams too."""
        lone.primary.fail(Failure.STALL)
        for timeout_s in (0.4, 0.8):  # 120 before, by default
            lone.live.set(litellm_timeout=timeout_s)
            for method in ("invoke", "stream"):
                assert 0.9 * timeout_s < timed_out_s(lone, method) < LONG_S

    def test_caller_may_ask_for_another(self, lone: World) -> None:
        """A timeout given with the call wins over the configured one, also where the provider's client forgets it."""
        lone.live.set(litellm_timeout=2 * LONG_S)
        lone.primary.fail(Failure.STALL)
        for method in ("invoke", "stream"):
            assert timed_out_s(lone, method, timeout=0.4) < LONG_S


def timed_out_s(world: World, method: str, **options: Any) -> float:
    """Return the seconds that a call took, which must end in a timeout."""
    started = time.monotonic()
    with pytest.raises(ModelTimeoutError):
        world.call(method, **options)
    return time.monotonic() - started


class Chain:
    """A primary and two fallbacks, each another provider."""

    def __init__(self, stack: ExitStack) -> None:
        """Start everything; *stack* ends it."""
        names = ("openai", "anthropic", "snowflake-cortex")
        self.standins = [stack.enter_context(StandIn(name)) for name in names]
        self.clock = Clock()
        rows = {
            **DIALECTS["openai"].rows(self.standins[0]),
            "llm_fallback_config": self._fallbacks({}, {}),
            "litellm_enable": False,  # both engines are walked by the same code
        }
        secrets = {"openai_api_key": "sk-1", "second": "sk-ant-2", "third": "pat-3"}
        self.live = stack.enter_context(MemoryRouter(rows, secrets=secrets, clock=self.clock))

    def _fallbacks(self, second: dict[str, Any], third: dict[str, Any]) -> list[dict[str, Any]]:
        anthropic, snowflake = DIALECTS["anthropic"], DIALECTS["snowflake"]
        return [
            {**anthropic.entry(self.standins[1]), "api_key": {"secret": "second"}, **second},
            {**snowflake.entry(self.standins[2]), "api_key": {"secret": "third"}, **third},
        ]

    def arrange(self, *, second: dict[str, Any] | None = None, third: dict[str, Any] | None = None) -> None:
        """Give the fallbacks members of their own; nothing fails, nothing cools."""
        for standin in self.standins:
            standin.heal()
        self.clock.tick(100_000)
        self.live.set(llm_fallback_config=self._fallbacks(second or {}, third or {}))

    def call(self, method: str = "invoke") -> tuple[str, list[int]]:
        """Return the provider that answered and the hits of each."""
        before = [standin.hits for standin in self.standins]
        answer = ask(self.live.chat_model(), method)
        hits = [standin.hits - was for standin, was in zip(self.standins, before, strict=True)]
        return answer.response_metadata["liverouter"]["provider"], hits


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """The one chain of this module."""
    with ExitStack() as stack:
        yield Chain(stack)


class TestMoreThanTwo:
    @pytest.mark.parametrize(
        ("failure", "hits"),
        [
            (Failure.SERVER_ERROR, [2, 2, 1]),
            (Failure.UNAUTHORIZED, [1, 1, 1]),
            (Failure.CONTEXT_WINDOW, [1, 1, 1]),
            (Failure.CONTENT_POLICY, [1, 1, 1]),
            (Failure.REFUSAL, [1, 1, 1]),
        ],
        ids=lambda value: getattr(value, "value", ""),
    )
    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_third_answers_where_two_fail(self, chain: Chain, failure: Failure, hits: list[int], method: str) -> None:
        """Whatever the first two answer, the list is walked to its end, in order."""
        chain.arrange()
        chain.standins[0].fail(failure)
        chain.standins[1].fail(failure)
        assert chain.call(method) == ("snowflake-cortex", hits)

    def test_cooling_ones_are_passed_over(self, chain: Chain) -> None:
        """With the first two cooling, the third is asked at once."""
        chain.arrange()
        for standin in chain.standins[:2]:
            standin.fail(Failure.UNAUTHORIZED)
        chain.call()
        assert chain.call() == ("snowflake-cortex", [0, 0, 1])

    def test_own_order_overrides_the_list_s(self, chain: Chain) -> None:
        """`order` decides, not the place in the list."""
        chain.arrange(second={"order": 9}, third={"order": 2})
        chain.standins[0].fail(Failure.UNAUTHORIZED)
        assert chain.call() == ("snowflake-cortex", [1, 0, 1])

    def test_equals_share_the_load_by_weight(self, chain: Chain) -> None:
        """Two fallbacks of one order serve nine to one where their weights say so."""
        random.seed(7)  # the walk draws from the module's generator
        chain.arrange(second={"order": 2, "weight": 9}, third={"order": 2, "weight": 1})
        chain.standins[0].fail(Failure.UNAUTHORIZED)
        chain.call()
        served = [chain.call()[0] for _ in range(60)]
        assert set(served) == {"anthropic", "snowflake-cortex"}
        assert served.count("anthropic") >= 44

    def test_equal_that_fails_is_replaced_by_its_equal(self, chain: Chain) -> None:
        """Every deployment of one order is asked before the call fails, whichever was drawn first."""
        chain.arrange(second={"order": 2}, third={"order": 2})
        chain.standins[0].fail(Failure.UNAUTHORIZED)
        chain.standins[1].fail(Failure.BAD_REQUEST)
        for _ in range(8):
            provider, hits = chain.call()
            assert provider == "snowflake-cortex"
            assert hits[1] <= 1

    def test_cooling_equal_is_passed_over(self, chain: Chain) -> None:
        """Of two equals the one that cools is not drawn."""
        chain.arrange(second={"order": 2}, third={"order": 2})
        chain.standins[0].fail(Failure.UNAUTHORIZED)
        chain.standins[1].fail(Failure.UNAUTHORIZED)
        while not chain.call()[1][1]:
            pass  # until the second was drawn once, and cools
        assert [chain.call()[1] for _ in range(8)] == [[0, 0, 1]] * 8

    def test_equal_of_the_primary_shares_its_load(self, chain: Chain) -> None:
        """A fallback of order 1 is a second primary."""
        random.seed(7)
        chain.arrange(second={"order": 1})
        served = [chain.call()[0] for _ in range(40)]
        assert min(served.count("openai"), served.count("anthropic")) > 5


class TestSwap:
    def test_changed_fallback_does_not_forget_that_the_primary_is_down(self, world: World) -> None:
        """A new revision that leaves the primary alone leaves its cooldown alone."""
        world.primary.fail(Failure.UNAUTHORIZED)
        world.call()
        entry = world.live.generation().snapshot.fallbacks[0]
        world.live.set(llm_temperature=0.3)
        world.live.set(
            llm_fallback_config={
                "provider": entry.provider,
                "model": "claude-haiku-4-5",
                "api_base": world.fallback.api_base,
                "api_key": {"secret": "spare"},
            }
        )
        outcome = world.call()
        assert (outcome.role, outcome.primary_hits, outcome.told["model"]) == ("fallback", 0, "claude-haiku-4-5")

    def test_new_key_is_tried_at_once(self, world: World) -> None:
        """Mending the key mends the deployment: nobody waits for the old one's cooldown."""
        world.primary.fail(Failure.UNAUTHORIZED, times=1)
        world.call()
        assert world.cooling_s() > 0
        world.live.set(secrets={"openai_api_key": f"sk-mended-{time.monotonic_ns()}"})
        assert world.cooling_s() == 0
        assert world.call().role == "primary"

    def test_new_endpoint_is_tried_at_once(self, world: World) -> None:
        """Another address is another deployment."""
        world.primary.fail(Failure.UNAUTHORIZED)
        world.call()
        with StandIn("openai") as other:
            world.live.set(openai_api_base=other.api_base)
            assert world.call().role == "primary"
            assert other.hits == 1
            world.live.set(openai_api_base=world.primary.api_base)
        assert world.cooling_s() > 0, "and the old one, back again, is still what it was"

    def test_cooling_fallback_that_becomes_the_primary_still_cools(self) -> None:
        """A role is no part of a deployment: what it did as a fallback counts."""
        with World("openai") as world:
            world.primary.fail(Failure.UNAUTHORIZED, times=1)
            world.fallback.fail(Failure.UNAUTHORIZED, times=1)
            with pytest.raises(Exception, match="every deployment failed"):
                world.call()
            world.clock.tick(30)
            world.primary.heal()
            spare = DIALECTS["anthropic"]
            world.live.set(
                **spare.rows(world.fallback),
                secrets={"anthropic_api_key": spare.secret_for(world.fallback, "fallback"), "first": "sk-key-new"},
                llm_fallback_config={**world.dialect.entry(world.primary), "api_key": {"secret": "first"}},
            )
            assert world.deployment().provider == "anthropic"
            assert world.cooling_s() == pytest.approx(30)
            assert world.call().told["provider"] == "openai"

    def test_failure_in_flight_on_the_old_generation_is_known_to_the_new(self, world: World) -> None:
        """A call that began before the swap and fails after it still spares the next one the same failure."""
        gate = world.primary.hold()
        world.primary.fail(Failure.UNAUTHORIZED)
        before = world.primary.hits
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(ask, world.model)
            world.primary.wait_hits(before + 1, 60)
            world.live.set(litellm_cooldown_time=45)
            gate.open()
            assert call.result(60).response_metadata["liverouter"]["role"] == "fallback"
        assert world.cooling_s() > 0
        assert world.call().primary_hits == 0

    def test_generation_and_settings_agree_within_one_call(self, world: World) -> None:
        """Twenty swaps under calls: each answer comes from one revision, and none fails."""
        stop, failures = threading.Event(), []

        def call() -> None:
            while not stop.is_set():
                told = ask(world.model).response_metadata["liverouter"]
                if told["role"] != "primary":
                    failures.append(told)

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        for number in range(20):
            world.live.set(llm_temperature=number / 100)
        stop.set()
        for caller in callers:
            caller.join()
        assert failures == []


def test_prompt_reaches_the_fallback_unchanged(world: World) -> None:
    """What the primary was asked is what the fallback is asked."""
    world.primary.fail(Failure.SERVER_ERROR)
    world.call()
    assert world.fallback.requests[-1].body is not None
    assert PROMPT in str(world.fallback.requests[-1].body["messages"])

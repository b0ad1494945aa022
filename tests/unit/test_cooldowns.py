"""When a deployment cools, for how long, and what a failure is to blame on."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, strategies as st

from liverouter.routing.causes import Cause, cause_of
from liverouter.routing.cooldowns import Cooldown, Cooldowns, Limits

LIMITS = Limits(allowed_fails=3, cooldown_time_s=60.0)
DEPLOYMENT = "openai/gpt-4o#0"


class Clock:
    """A clock that tests tick."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Return unix seconds."""
        return self.now


def failure(status: int, retry_after_s: float | None = None) -> Cause:
    """Return a failure with *status*."""
    return Cause("Error", status, retry_after_s)


class ProviderError(Exception):
    """An error as provider libraries raise them."""

    def __init__(self, status: Any = None) -> None:
        self.status_code = status


class RefreshError(Exception):
    """What stands behind credentials that Google gives no token for."""


class ReadTimeout(TimeoutError):  # noqa: N818 - httpx's own name  # noqa: N818 - its name is looked at
    """What stands behind an answer that did not come in time."""


def raised(error: Exception, behind: type[Exception] | None) -> Exception:
    """Return *error* as it is caught, with an error of *behind* as its context."""
    error.__context__ = behind() if behind is not None else None
    return error


class TestCause:
    @pytest.mark.parametrize(
        ("status", "behind", "read"),
        [
            (429, None, 429),
            (503, None, 503),
            (400, None, 400),
            (None, None, 500),
            ("429", None, 500),
            (200, None, 500),
            (422, None, 422),
            (500, RefreshError, 401),
            (500, ReadTimeout, 408),
            (503, ReadTimeout, 503),
            (401, ReadTimeout, 401),
        ],
    )
    def test_status_is_the_provider_s_or_what_it_means(
        self, status: Any, behind: type[Exception] | None, read: int
    ) -> None:
        """The 500 that litellm gives to a timeout, to a refused key and to all else is told apart."""
        cause = cause_of(raised(ProviderError(status), behind))
        assert (cause.name, cause.status) == ("ProviderError", read)
        assert str(cause) == f"ProviderError {read}"

    @pytest.mark.parametrize("status", [500, 502, 503, 529])
    def test_server_errors_are_worth_a_retry(self, status: int) -> None:
        """The same deployment may answer the next time."""
        assert failure(status).is_worth_a_retry

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429])
    def test_other_errors_are_not(self, status: int) -> None:
        """Neither a wrong request nor a spent quota nor another timeout is mended by asking again."""
        assert not failure(status).is_worth_a_retry


class TestBegin:
    @pytest.mark.parametrize("status", [401, 402, 403, 404, 429])
    def test_one_is_enough_where_no_retry_helps(self, status: int) -> None:
        """An operator must act, or the provider has had enough."""
        cooldowns = Cooldowns(clock=Clock())
        cooldowns.add_failure(DEPLOYMENT, failure(status), LIMITS)
        assert cooldowns.remaining_s([DEPLOYMENT]) == {DEPLOYMENT: 60.0}

    @pytest.mark.parametrize("status", [400, 405, 409, 413, 422])
    def test_caller_s_mistakes_never_count(self, status: int) -> None:
        """A thousand bad requests say nothing about the deployment."""
        cooldowns = Cooldowns(clock=Clock())
        for _ in range(1_000):
            cooldowns.add_failure(DEPLOYMENT, failure(status), LIMITS)
        assert cooldowns.active() == {}

    @pytest.mark.parametrize("status", [408, 500, 503, 529])
    @pytest.mark.parametrize("allowed", [0, 1, 2, 7])
    def test_others_count_to_the_allowed_number(self, status: int, allowed: int) -> None:
        """The number configured is the failure that begins it; 0 counts as 1."""
        cooldowns, limits = Cooldowns(clock=Clock()), Limits(allowed, 60.0)
        for count in range(1, max(allowed, 1) + 1):
            assert not cooldowns.active(), f"before failure {count}"
            cooldowns.add_failure(DEPLOYMENT, failure(status), limits)
        assert cooldowns.active()

    def test_failures_far_apart_do_not_add_up(self) -> None:
        """A failure is forgotten after the cooldown time without another."""
        clock = Clock()
        cooldowns = Cooldowns(clock=clock)
        for _ in range(10):
            cooldowns.add_failure(DEPLOYMENT, failure(500), LIMITS)
            clock.now += 61
        assert cooldowns.active() == {}

    def test_success_forgets_failures_and_ends_no_cooldown(self) -> None:
        """An answer that was on its way when the deployment fell does not lift it up."""
        cooldowns = Cooldowns(clock=Clock())
        for _ in range(3):
            cooldowns.add_failure(DEPLOYMENT, failure(500), LIMITS)
            cooldowns.add_success(DEPLOYMENT)
        assert cooldowns.active() == {}
        cooldowns.add_failure(DEPLOYMENT, failure(401), LIMITS)
        cooldowns.add_success(DEPLOYMENT)
        assert cooldowns.active()

    def test_deployments_count_for_themselves(self) -> None:
        """One's failures are not the other's."""
        cooldowns = Cooldowns(clock=Clock())
        for number in range(6):
            cooldowns.add_failure(f"{DEPLOYMENT}{number % 3}", failure(500), LIMITS)
        assert cooldowns.active() == {}

    def test_memory_is_bounded(self) -> None:
        """Ids that come and go, with every key that was ever used, do not stay for ever."""
        clock = Clock()
        cooldowns = Cooldowns(clock=clock)
        for number in range(5_000):
            cooldowns.add_failure(f"{DEPLOYMENT}{number}", failure(500), LIMITS)
            cooldowns.adopt(f"{DEPLOYMENT}{number}", Cooldown(clock.now, 1.0, failure(500)))
        assert len(cooldowns._failures) <= 1_000  # noqa: SLF001 - memory has no other surface
        assert len(cooldowns.active()) <= 1_000
        clock.now += 2
        assert cooldowns.active() == {}

    def test_process_without_calls_has_room_for_what_others_tell(self) -> None:
        """What is over makes room though nobody asks what is on."""
        clock = Clock()
        cooldowns = Cooldowns(clock=clock)
        for number in range(1_000):
            cooldowns.adopt(f"{DEPLOYMENT}{number}", Cooldown(clock.now, 1.0, failure(500)))
        clock.now += 2
        cooldowns.adopt(DEPLOYMENT, Cooldown(clock.now, 60.0, failure(500)))
        assert cooldowns.active().keys() == {DEPLOYMENT}


class TestLength:
    def test_cooldown_ends_by_itself(self) -> None:
        """Not a moment before, not a moment after."""
        clock = Clock()
        cooldowns = Cooldowns(clock=clock)
        cooldowns.add_failure(DEPLOYMENT, failure(401), LIMITS)
        clock.now += 59.9
        assert DEPLOYMENT in cooldowns.active()
        clock.now += 0.2
        assert cooldowns.active() == {}
        assert cooldowns.remaining_s([DEPLOYMENT]) == {}

    @given(asked=st.none() | st.floats(0, 1e6), configured=st.floats(0, 86_400))
    def test_retry_after_shortens_and_never_lengthens(self, asked: float | None, configured: float) -> None:
        """Whatever the provider asks for, the configured time is the most it gets."""
        cooldowns = Cooldowns(clock=Clock())
        cooldowns.add_failure(DEPLOYMENT, failure(429, asked), Limits(3, configured))
        expected = configured if asked is None else min(asked, configured)
        length = cooldowns.remaining_s([DEPLOYMENT]).get(DEPLOYMENT, 0.0)
        assert length == pytest.approx(expected, abs=1e-3)

    def test_longer_cooldown_wins_over_a_shorter(self) -> None:
        """A short Retry-After does not end what a refused key began."""
        cooldowns = Cooldowns(clock=Clock())
        cooldowns.add_failure(DEPLOYMENT, failure(401), LIMITS)
        cooldowns.add_failure(DEPLOYMENT, failure(429, 1.0), LIMITS)
        assert cooldowns.remaining_s([DEPLOYMENT]) == {DEPLOYMENT: 60.0}

    def test_after_it_one_failure_begins_the_next_until_an_answer(self) -> None:
        """Probation: the first try after a cooldown decides."""
        clock = Clock()
        cooldowns = Cooldowns(clock=clock)
        for _ in range(3):
            cooldowns.add_failure(DEPLOYMENT, failure(500), LIMITS)
        clock.now += 61
        cooldowns.add_failure(DEPLOYMENT, failure(500), LIMITS)
        assert cooldowns.active()
        clock.now += 61
        cooldowns.add_success(DEPLOYMENT)
        cooldowns.add_failure(DEPLOYMENT, failure(500), LIMITS)
        assert cooldowns.active() == {}


class TestObservers:
    def test_observer_hears_what_began_here_once(self) -> None:
        """Not what was adopted, and not a failure during a cooldown that changes nothing."""
        heard: list[str] = []
        clock = Clock()
        cooldowns = Cooldowns(clock=clock)
        cooldowns.on_begin(lambda identifier, _: heard.append(identifier))
        cooldowns.add_failure(DEPLOYMENT, failure(401), LIMITS)
        cooldowns.add_failure(DEPLOYMENT, failure(401), LIMITS)
        cooldowns.adopt("other", Cooldown(clock.now, 60.0, failure(401)))
        assert heard == [DEPLOYMENT]
        assert set(cooldowns.active()) == {DEPLOYMENT, "other"}

    def test_threads_do_not_lose_failures(self) -> None:
        """Calls on several threads count into one record."""
        cooldowns, limits = Cooldowns(), Limits(4_000, 600.0)

        def fail() -> None:
            for _ in range(1_000):
                cooldowns.add_failure(DEPLOYMENT, failure(500), limits)

        threads = [threading.Thread(target=fail) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cooldowns.active(), "the four thousandth failure began it"

"""Every provider as the primary, failing in every way, in both engines: the call is answered by the fallback."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.testing import FAILURES, Failure
from tests.integration.failover_table import VARIABLE, filled, markdown
from tests.kit import pages
from tests.kit.dialects import DIALECTS
from tests.kit.leaps import connecting, leap
from tests.kit.waiting import until
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS
from tests.kit.world import LONG_S, METHODS, Outcome, World

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]

TRIES, ALLOWED_FAILS, COOLDOWN_S = 2, 2, 30.0
TIMEOUT_S = 120.0  # the fallback has no more, on a busy machine; a call that the primary keeps waiting leaps over it
BEFORE_CONTENT: Final = (Failure.ERROR_EVENT, Failure.PREAMBLE, Failure.STALL)  # 200, then no content

ROWS: Final = (*FAILURES, *BEFORE_CONTENT)
WAITS: Final = {Failure.BLACKHOLE, Failure.HANG, Failure.STALL}  # only the timeout ends them
CALLERS: Final = {  # the request is to blame: nothing cools
    Failure.BAD_REQUEST,
    Failure.CONTEXT_WINDOW,
    Failure.CONTENT_POLICY,
    Failure.TOO_LARGE,
    Failure.UNPROCESSABLE,
    Failure.REFUSAL,
}
AT_ONCE: Final = {
    Failure.UNAUTHORIZED,
    Failure.FORBIDDEN,
    Failure.NOT_FOUND,
    Failure.RATE_LIMIT,
    Failure.RATE_LIMIT_RETRY_AFTER,
    Failure.OUT_OF_MONEY,
    Failure.DISABLED,
    Failure.UNKNOWN_MODEL,
}
ONE_HIT: Final = {*CALLERS, *AT_ONCE, Failure.TIMEOUT, Failure.HANG, Failure.STALL}  # asking again would not help
COUNTED: Final = ONE_HIT - CALLERS - AT_ONCE | {Failure.BLACKHOLE}  # one failure a call, of which two begin a cooldown
BODIES: Final = {Failure.EMPTY, Failure.HTML, Failure.MALFORMED, Failure.REFUSAL, *BEFORE_CONTENT}  # a 200 that is none
Table = dict[str, dict[str, dict[str, dict[str, Any]]]]  # failure -> dialect -> engine -> what was measured
ENGINES: Final = ("litellm", "native")
CASES: Final = sorted(
    ((failure, dialect, engine) for failure in ROWS for dialect in DIALECTS for engine in ENGINES),
    key=lambda case: case[0] not in WAITS,
)
BODY: Final = {  # every parameter that a call without tools may send, streamed or not
    "anthropic": {"model", "messages", "max_tokens", "temperature", "stream"},
    "openai": {"model", "messages", "max_tokens", "temperature", "stream", "stream_options"},
    "azure-openai": {"model", "messages", "max_tokens", "temperature", "stream", "stream_options"},
    "vertex-ai": {"contents", "generationConfig"},
    "vertex-ai claude": {"anthropic_version", "messages", "max_tokens", "temperature", "stream"},
    "snowflake": {"model", "messages", "max_completion_tokens", "temperature", "stream"},
    "snowflake claude": {"model", "messages", "max_tokens", "temperature", "stream"},
}
HTTP: Final = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
HEADERS: Final = {  # beside HTTP's own and those in which OpenAI's library names itself
    "anthropic": {"anthropic-version", "x-api-key"},
    "openai": {"authorization"},
    "azure-openai": {"api-key"},
    "vertex-ai": {"authorization"},
    "vertex-ai claude": {"anthropic-version", "authorization", "x-api-key"},
    "snowflake": {"authorization", "x-snowflake-authorization-token-type"},
    "snowflake claude": {"anthropic-version", "authorization", "x-snowflake-authorization-token-type"},
}
NATIVE_BODY: Final = {  # what the provider's own class sends beside or instead of it
    "openai": {"max_completion_tokens"},
    "azure-openai": {"max_completion_tokens"},
    "vertex-ai": {"safetySettings"},
    "snowflake": {"stream_options"},
    "snowflake claude": {"max_completion_tokens", "stream_options"},
}
NATIVE_HEADERS: Final = {  # Anthropic's library puts the key there since its version 2; Google's names itself
    "anthropic": {"authorization"},
    "vertex-ai": {"x-goog-api-client", "x-server-timeout"},
}


def methods_of(failure: Failure, dialect: str, engine: str) -> tuple[str, ...]:
    """Return the methods of one case, one of the four in turn; of a 200 that is none by litellm, a whole and a stream.

    What litellm makes of a body depends on whether it is a stream, what it makes of a status does not.
    """
    turn = ROWS.index(failure) + list(DIALECTS).index(dialect)
    if engine == "native" or failure not in BODIES:
        return (METHODS[turn % len(METHODS)],)
    return ("ainvoke", "stream") if turn % 2 else ("invoke", "astream")


def expected_hits(failure: Failure) -> int:
    """Return the requests that one failing call may cost the primary."""
    if failure.is_unreachable:
        return 0
    return 1 if failure in ONE_HIT else TRIES


class Worlds:
    """One world per dialect and engine, made when first asked for, kept for the module."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], World] = {}

    def of(self, dialect: str, engine: str) -> World:
        """Return the world, with nothing failing and nothing cooling."""
        world = self._made.get((dialect, engine)) or self._make(dialect, engine)
        world.primary.heal()
        world.clock.tick(10 * COOLDOWN_S)
        return world

    def _make(self, dialect: str, engine: str) -> World:
        world = World(
            dialect,
            litellm_enable=engine == "litellm",
            litellm_num_retries=TRIES,
            litellm_allowed_fails=ALLOWED_FAILS,
            litellm_cooldown_time=COOLDOWN_S,
            litellm_timeout=TIMEOUT_S,
            llm_temperature=0.5,
            llm_max_tokens=100,
        )
        self._made[dialect, engine] = world.__enter__()
        for method in ("invoke", "stream"):
            assert world.call(method).role == "primary"  # loads what litellm loads late, before time counts
        world.primary.fail(Failure.BAD_REQUEST)
        assert world.call().role == "fallback"
        return world

    def all(self) -> list[World]:
        """Return every world there is."""
        return list(self._made.values())

    def close(self) -> None:
        """End them all."""
        for world in reversed(self.all()):
            world.__exit__()


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    """The worlds of this module."""
    made = Worlds()
    yield made
    made.close()


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """What each case measured; written as JSON where `failover_table` asks for it."""
    measured: Table = {}
    yield measured
    if path := os.environ.get(VARIABLE):
        settings = {"tries": TRIES, "allowed_fails": ALLOWED_FAILS}
        Path(path).write_text(json.dumps({"settings": settings, "rows": measured}, indent=1), encoding="utf-8")


class TestPrimaryFails:
    @pytest.mark.parametrize(
        ("failure", "dialect", "engine"), CASES, ids=lambda value: str(getattr(value, "value", value))
    )
    def test_call_is_answered_by_the_fallback(
        self,
        *,
        failure: Failure,
        dialect: str,
        engine: str,
        worlds: Worlds,
        table: Table,
        sleeps: list[tuple[str, float]],
    ) -> None:
        """Calls and streams are answered, within the tries, without a sleep; the primary cools as it should.

        From a loop and from a thread in turn: every failure and every dialect is met by all four methods. What follows
        the first call is seen of each failure with one dialect, in turn.
        """
        methods = methods_of(failure, dialect, engine)
        once = list(DIALECTS)[ROWS.index(failure) % len(DIALECTS)] == dialect
        first = [_play(worlds.of(dialect, engine), failure, method, whole=once) for method in methods]
        assert sleeps == []
        table.setdefault(failure.value, {}).setdefault(dialect, {})[engine] = {
            "primary_hits": max(outcome.primary_hits for outcome in first),
            "seconds": round(max(outcome.seconds for outcome in first), 2),
            "cools": "no" if failure in CALLERS else "at once" if failure in AT_ONCE else "counted",
        }


def _play(world: World, failure: Failure, method: str, *, whole: bool) -> Outcome:
    """Have the primary fail for *method*, where *whole* until it cools and heals; return the first call's outcome."""
    world.primary.fail(failure)
    hits = expected_hits(failure)

    first = _call(world, failure, method)
    _check_first(first, world, hits)
    if failure in COUNTED:
        assert world.cooling_s() == 0
        assert _call(world, failure, method).role == "fallback"
    cools = failure not in CALLERS
    assert (0 < world.cooling_s() <= COOLDOWN_S) is cools
    if whole:
        _heal(world, method, 0 if cools else hits)
    return first


def _heal(world: World, method: str, hits: int) -> None:
    """See that a failing primary is asked that often, never while it cools, and again as soon as that is over."""
    failed_over = world.call(method)
    assert (failed_over.primary_hits, failed_over.fallback_hits, failed_over.role) == (hits, 1, "fallback")
    assert failed_over.seconds < TIMEOUT_S / 2
    assert failed_over.told["failed_over"] is True
    world.primary.heal()
    world.clock.tick(COOLDOWN_S + 1)
    healed = world.call(method)
    assert (healed.primary_hits, healed.fallback_hits, healed.role) == (1, 0, "primary"), "tried again after it"


def _call(world: World, failure: Failure, method: str) -> Outcome:
    """Call the failing primary; where it keeps the call waiting, the timeout passes at once, no shorter time does."""
    if failure not in WAITS:
        return world.call(method)
    hits, fallback_hits = world.hits()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(world.call, method)
        if failure.is_unreachable:
            until(lambda: connecting(world.live))
        else:
            world.primary.wait_hits(hits + 1, LONG_S)
        leap(world.live, 0.9 * TIMEOUT_S)
        assert world.fallback.hits == fallback_hits
        assert not call.done()
        leap(world.live, 0.3 * TIMEOUT_S)
        return call.result(LONG_S)


def _check_first(first: Outcome, world: World, hits: int) -> None:
    assert first.role == "fallback"
    assert str(first.answer.content).endswith("hi there")
    assert (first.primary_hits, first.fallback_hits) == (hits, 1)
    assert first.told["failed_over"] is True
    assert not hits or first.told["attempts"] == hits + 1
    assert first.told["deployment_id"] == world.deployment("fallback").id
    assert first.seconds < TIMEOUT_S / 2


class TestDocs:
    def test_table_shows_what_this_run_measured(self, table: Table) -> None:
        """The documentation's table is no claim: it is what the run above saw, cell by cell."""
        if sum(len(engines) for cells in table.values() for engines in cells.values()) < len(CASES):
            pytest.skip("needs the whole matrix in this run")
        text = pages.text()
        assert "<!-- measured: failover -->" in text
        assert filled(text, markdown(table)) == text, "python -m tests.integration.failover_table writes it"


class TestWire:
    """What all of the above sent."""

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_request_holds_the_provider_s_parameters_and_nothing_else(
        self, dialect: str, engine: str, worlds: Worlds
    ) -> None:
        """No parameter, header or query is outside the provider's list, and none was refused as unknown."""
        more = (NATIVE_BODY, NATIVE_HEADERS) if engine == "native" else ({}, {})
        parameters, headers = (
            known[dialect] | own.get(dialect, set()) for known, own in zip((BODY, HEADERS), more, strict=True)
        )
        world = worlds.of(dialect, engine)
        for method in ("invoke", "stream"):
            world.call(method)
        for standin in world.standins:
            assert standin.violations == ()
        for request in world.primary.requests:
            if request.kind != "chat":
                continue
            assert request.body is not None
            assert set(request.body) <= parameters
            own = {name for name in request.headers if not name.startswith("x-stainless-")}
            assert own - HTTP <= headers
            assert set(request.query.items()) <= {("alt", "sse"), ("api-version", "2024-10-21")}

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_secret_goes_to_its_own_provider_only(self, dialect: str, engine: str, worlds: Worlds) -> None:
        """Neither deployment ever sees a secret of the other."""
        world = worlds.of(dialect, engine)
        world.primary.fail(Failure.BAD_REQUEST)
        for method in ("invoke", "stream"):
            world.call(method)
        deployments = world.live.generation().snapshot.deployments
        for deployment, other in zip(world.standins, reversed(deployments), strict=True):
            secrets = [part for secret in other.secrets.values() for part in _parts(secret.reveal())]
            assert secrets
            for request in deployment.requests:
                text = json.dumps([request.path, dict(request.query), dict(request.headers), request.body])
                assert not [secret for secret in secrets if secret in text]


def _parts(secret: str) -> list[str]:
    """Return what of a secret must not be seen: the whole, or a service account's private key and its id."""
    if not secret.startswith("{"):
        return [secret]
    account = json.loads(secret)
    return [json.dumps(account["private_key"])[1:-1], account["private_key_id"]]

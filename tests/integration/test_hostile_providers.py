"""A provider that means harm gets no key onward, no memory, no time and no room in an error: by either engine."""

from __future__ import annotations

import contextlib
import functools
import gc
import gzip
import itertools
import json
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core import exceptions as core

from liverouter.routing import guard
from liverouter.secrecy.leaving import chain
from liverouter.testing import MemoryRouter, StandIn
from tests.integration.test_tracebacks import searched, secrets_of
from tests.kit.dialects import DIALECTS
from tests.kit.hostile import ENGINES, EVENTS, MIB, OK, Connection, Hostile, answers, attacked, bomb
from tests.kit.leaps import leap
from tests.kit.waiting import until
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import METHODS, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.hostile import Script

pytestmark = [*LITELLM_WARNINGS]

TIMEOUT_S: Final = 0.5
NEVER_S: Final = 120.0  # however busy the machine is: what is not bounded ends with the test's timeout
WORK_S: Final = 6.0  # of the processor, which other processes hardly lengthen; what is not bounded takes minutes
LONG_TEXT: Final = "x" * 50_000
NO_TIMES: Final = (  # what a Retry-After may say instead
    "Mon, 01 Jan 2020 00:00:00 +99999999999999999999",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "1e999",
    "NaN",
    "-1",
    "9" * 5_000,
    "Mon, 99 Foo 99999 99:99:99 GMT",
)
NO_ANSWERS: Final = (
    b"[]",
    b"null",
    b'"text"',
    b"{}",
    b'{"choices": 7, "content": 7, "candidates": 7}',
    b'{"choices": [7], "content": [7], "candidates": [7]}',
    b'{"choices": [{"message": 7}], "content": [{"type": "text"}], "candidates": [{"content": 7}]}',
    b'{"choices": [{"message": {"content": {"a": 1}}}], "content": [{"type": "text", "text": 7}]}',
    b'{"choices": [], "content": [], "candidates": []}',
    b'{"choices": [{"index": 0, "finish_reason": [7], "message": {"role": "assistant", "content": 7}}]}',
    b"[" * 5_000 + b"]" * 5_000,
    b"9" * 5_000,
)
SLOW: Final = (
    (b"HTTP/1.1 401 No\r\n", b"{" + b'"type":"service_account"' * 2_600),
    (b"HTTP/1.1 401 No\r\n", b'{"error":{"message":"' + b"-eyJaaaaaaaaaa" * 4_500 + b'"}}'),
    (OK, json.dumps({"error": [LONG_TEXT] * 100}).encode()),
    (OK.replace(b"json", b"json; charset=punycode"), b"a" * 400_000),
    (b"HTTP/1.1 401 No\r\nContent-Type: text/plain; charset=bz2\r\n", b"x" * 100),
    (EVENTS, b"\x0c" * 60_000 + b"\n\n"),
    (EVENTS, b"data: {}\xe2\x80\xa8" * 20_000 + b"\n\n"),
)
MANY: Final = (  # the head, and of the body: what begins it, a value, how often, what ends it
    (OK, b'{"choices":[', b"[],", 3_000_000, b"[]]}"),
    (OK, b'{"x":{', b'"key":1,', 4_000_000, b'"k":1}}'),
    (EVENTS, b'data: {"x":[', b"1,", 6_000_000, b"1]}\n\n"),
    (OK, b'{"x":[', b'"abcdefghij",', 4_000_000, b'""]}'),
)
BOMB: Final = functools.cache(bomb)  # which takes long to make
EACH: Final = [f"{engine} {dialect}" for engine in ENGINES for dialect in DIALECTS]
# One for each way that bytes come to us: the others share their HTTP client with one of these.
WAYS: Final = [
    *(f"litellm {dialect}" for dialect in ("openai", "azure-openai", "anthropic", "vertex-ai")),
    *(f"native {dialect}" for dialect in ("openai", "anthropic", "vertex-ai", "vertex-ai claude")),
]


@pytest.fixture(scope="module", params=EACH)
def attack(request: pytest.FixtureRequest) -> Iterator[tuple[Hostile, MemoryRouter]]:
    """Each provider, by each engine."""
    engine, _, dialect = request.param.partition(" ")
    with attacked(dialect, engine) as both:
        yield both


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[Hostile, MemoryRouter]]:
    """Each way that an answer takes."""
    engine, _, dialect = request.param.partition(" ")
    with attacked(dialect, engine) as both:
        yield both


@pytest.fixture(scope="module", params=WAYS)
def hasty(request: pytest.FixtureRequest) -> Iterator[tuple[Hostile, MemoryRouter]]:
    """Each way that an answer takes, asked by a client with little patience."""
    engine, _, dialect = request.param.partition(" ")
    with attacked(dialect, engine, litellm_timeout=TIMEOUT_S) as both:
        yield both


@pytest.fixture
def turn(request: pytest.FixtureRequest) -> int:
    """The number of the way or the provider, by which what need not be crossed with it is given out in turn."""
    (param,) = request.node.callspec.params.values()
    return EACH.index(param)


def _event(data: bytes) -> bytes:
    """Return *data* as an event, with the name that Anthropic's have."""
    kind = json.loads(data).get("type")
    return (b"event: %s\n" % kind.encode() if kind else b"") + b"data: " + data + b"\n\n"


def failing(
    live: MemoryRouter, method: str = "invoke", kind: type[Exception] | tuple[type[Exception], ...] = core.ModelError
) -> Exception:
    """Call and return the error, which is one of LangChain's."""
    with pytest.raises(kind) as caught:
        ask(live.chat_model(), method)
    return caught.value


def timed_out(server: Hostile, live: MemoryRouter, method: str, kind: type[Exception] = core.ModelTimeoutError) -> None:
    """Have a call that reached *server* end by its timeout; one before it may not, in a process that stood still."""
    calls = 0
    while not server.heads:
        failing(live, method, kind)
        calls += 1
    assert len(server.heads) <= calls, "none was tried again"


def endless(piece: bytes) -> Script:
    """Return a script that answers with *piece* for ever."""

    def script(connection: Connection) -> None:
        connection.send(EVENTS + b"\r\n")
        connection.flood(piece)

    return script


class TestRedirects:
    def test_none_is_followed(self, attack: tuple[Hostile, MemoryRouter], turn: int) -> None:
        """Neither key nor prompt leaves for where it points; the error says that, and nothing is tried again.

        Two of the five statuses each, one of which would have the request sent again as it was.
        """
        server, live = attack
        with Hostile() as other:
            for status, method in (((307, 308)[turn % 2], METHODS[turn % 4]), (301 + turn % 3, METHODS[turn % 4 - 1])):
                location = f"{other.origin}/steal?key=sk-secret"
                server.does(answers(b"HTTP/1.1 %d Go\r\nLocation: %s\r\n" % (status, location.encode())))
                error = failing(live, method)
                assert (len(server.heads), other.heads) == (1, [])
                assert f"redirect ({status}) to {other.origin}" in str(error)
                assert "steal" not in str(error)
                assert not error.is_retryable  # type: ignore[attr-defined]  # LangChain's

    def test_neither_is_one_within_the_origin_nor_to_nowhere(self, way: tuple[Hostile, MemoryRouter]) -> None:
        """Another path, another scheme, no address at all: an error, and one request."""
        server, live = way
        for location in ("/other", "https://127.0.0.1", "//127.0.0.1:1", "http://[::1", "\xff", ""):
            server.does(answers(b"HTTP/1.1 307 Go\r\nLocation: %s\r\n" % location.encode("latin-1")))
            failing(live)
            assert len(server.heads) == 1

    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_one_fails_over_and_cools_at_once(self, method: str) -> None:
        """It is an operator's mistake or an attack: another try mends neither."""
        with attacked("anthropic", "litellm", litellm_num_retries=3) as (server, live), StandIn("openai") as spare:
            live.set(llm_fallback_config=DIALECTS["openai"].entry(spare), secrets={"spare": "sk-spare"})
            server.does(answers(b"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\n"))
            told = ask(live.chat_model(), method).response_metadata["liverouter"]
            assert (told["role"], len(server.heads)) == ("fallback", 1)
            assert live.cooldowns.active()

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", ["vertex-ai", "vertex-ai claude"])
    def test_google_s_token_desk_sends_nobody_elsewhere(self, dialect: str, engine: str) -> None:
        """The signed request for a token goes to the desk that was configured."""
        with attacked(dialect, engine) as (server, live), Hostile() as desk, Hostile() as other:
            desk.does(answers(b"HTTP/1.1 307 Go\r\nLocation: %s/token\r\n" % other.origin.encode()))
            live.set(secrets=desk.google_secrets())
            error = failing(live, kind=Exception)
            assert (len(desk.heads), server.heads, other.heads) == (1, [], [])
            assert "redirect" in str(error)


class TestBodies:
    @pytest.mark.parametrize(("status", "method"), [(b"200 OK", "stream"), (b"500 No", "invoke")])
    def test_gzip_bomb_costs_no_memory(
        self, way: tuple[Hostile, MemoryRouter], status: bytes, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A GiB of zeros in a MiB of gzip is an error, or an error's status, at the price of the bound.

        Each way once as a stream and once as a whole answer, once with a good status and once with a bad one: a client
        reads the four by one of two functions.
        """
        monkeypatch.setattr(guard, "MAX_ANSWER", 8 * MIB)
        server, live = way
        head = b"HTTP/1.1 " + status + b"\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
        server.does(answers(head, BOMB()))
        tracemalloc.start()
        try:
            failing(live, method)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 50 * MIB
        assert len(server.heads) == 1

    def test_what_is_packed_otherwise_is_refused(self, way: tuple[Hostile, MemoryRouter], turn: int) -> None:
        """Nothing was asked for packed; what comes so, or is broken, is an error of the provider."""
        server, live = way
        for number, encoding in enumerate((b"br", b"zstd", b"gzip, gzip, gzip", b"gzip", b"x" * 5000), turn):
            method = ("invoke", "stream")[number % 2]
            server.does(answers(OK + b"Content-Encoding: " + encoding + b"\r\n", b"{}" * 500))
            failing(live, method)
            assert b"accept-encoding: identity" in server.heads[0].lower()

    @pytest.mark.parametrize(
        ("piece", "method"), [(b"x" * 65_536, "invoke"), (b'data: "' + b"y" * 65_536, "stream")], ids=["whole", "event"]
    )
    def test_body_without_an_end_is_read_up_to_the_bound(
        self, way: tuple[Hostile, MemoryRouter], method: str, piece: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No more is read than the bound, and what the sockets hold: whole, or as an event of a stream."""
        monkeypatch.setattr(guard, "MAX_ANSWER", MIB)
        server, live = way
        server.does(endless(piece))
        timed_out(server, live, method, core.ModelError)
        assert server.sent < 40 * MIB * len(server.heads)

    def test_events_without_content_are_read_until_the_timeout(
        self, hasty: tuple[Hostile, MemoryRouter], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are none too many for that; the bound is the same."""
        monkeypatch.setattr(guard, "MAX_ANSWER", MIB)
        server, live = hasty
        server.does(endless(b"data: {}\n\n" * 1_000))
        timed_out(server, live, "stream", core.ModelError)
        assert server.sent < 40 * MIB * len(server.heads)

    @pytest.mark.parametrize("engine", ENGINES)
    def test_bound_is_64_mib(self, engine: str) -> None:
        """As documented, to the byte: what is larger is refused, and its memory is freed."""

        def large(connection: Connection) -> None:
            connection.send(OK + b"Content-Length: %d\r\n\r\n" % (64 * MIB + 1))
            connection.flood(b" " * MIB, 64 * MIB)
            connection.send(b" ")

        with attacked("anthropic", engine) as (server, live):
            server.does(large)
            assert "larger than 64 MiB" in str(failing(live))

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", ["openai", "anthropic"])
    def test_event_of_a_million_lines_holds_nobody_up(self, dialect: str, engine: str) -> None:
        """OpenAI's decoder copies an event for each of its lines: hours, where the lines are short."""

        def lines(connection: Connection) -> None:
            connection.send(EVENTS + b"\r\n")
            connection.flood(b"data:\n" * 20_000, 2 * MIB)

        with attacked(dialect, engine, litellm_timeout=20) as (server, live):
            server.does(lines)
            failing(live, "stream")

    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_error_s_text_is_clipped(self, way: tuple[Hostile, MemoryRouter], method: str) -> None:
        """2,000 characters, wherever the error keeps them; the status arrives though the body never ends."""
        server, live = way
        status = {"invoke": b"400", "stream": b"500"}[method]

        def long(connection: Connection) -> None:
            connection.send(b"HTTP/1.1 " + status + b" No\r\nContent-Type: application/json\r\n\r\n")
            connection.flood(b'{"error": {"message": "' + LONG_TEXT.encode() * 10, 64 * MIB)

        server.does(long)
        error = failing(live, method)
        statuses = {getattr(link, name, None) for link in chain(error) for name in ("status_code", "code")}
        assert int(status) in statuses
        assert server.sent < 20 * MIB * len(server.heads)
        assert len(str(error)) <= 2_000
        kept = {name: value for name, value in vars(error).items() if not hasattr(value, "headers")}
        assert max(len(repr(value)) for value in (*kept.values(), error.args)) < 2_500
        response = getattr(error, "response", None)
        assert response is None or len(response.text) <= 2_000


class TestTime:
    @pytest.mark.parametrize(
        ("head", "drop"),
        [
            (b"", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (OK + b"Content-Length: 99999\r\n\r\n", b" "),
            (OK + b"Transfer-Encoding: chunked\r\n\r\n1", b";extension=endless"),
            (EVENTS + b"\r\n", b": ping\n\n"),
            (EVENTS + b"\r\n", b"data: "),
            (
                EVENTS + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff",
                b"\x00\x00\x00\xff\xff",
            ),
        ],
        ids=["head", "1xx", "body", "chunk", "pings", "event", "packed"],
    )
    def test_trickle_ends_with_the_attempt(self, hasty: tuple[Hostile, MemoryRouter], head: bytes, drop: bytes) -> None:
        """However slowly an answer arrives, and whatever it is: `litellm_timeout` is the attempt's, not a read's.

        Bodies are read whole where they are JSON, as a stream where they are events or have not begun.
        """
        server, live = hasty
        method = "ainvoke" if head.startswith(OK) else "stream"

        def trickling(connection: Connection) -> None:
            connection.send(head)
            connection.trickle(drop)

        server.does(trickling)
        started = time.monotonic()
        timed_out(server, live, method, core.ModelError if drop.startswith(b":") else core.ModelTimeoutError)
        assert time.monotonic() - started < NEVER_S

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", ["openai", "anthropic"])
    def test_stream_that_falls_silent_ends_with_an_error(self, dialect: str, engine: str) -> None:
        """After its first content, too, pings and pieces without any content do not keep a call for ever."""
        first, empty = STREAMED[dialect]
        with attacked(dialect, engine, litellm_timeout=TIMEOUT_S) as (server, live):
            for piece, method in ((b": ping\n\n", "astream"), (_event(empty), "stream")):

                def silent(connection: Connection, piece: bytes = piece) -> None:
                    connection.send(EVENTS + b"\r\n" + b"".join(map(_event, first)))
                    while not server.ended.wait(0.02):
                        connection.send(piece)

                server.does(silent)
                started = time.monotonic()
                timed_out(server, live, method)
                assert time.monotonic() - started < NEVER_S
            live.set(litellm_timeout=NEVER_S)
            said = live.chat_model().stream("hi")
            assert next(chunk.text for chunk in said if chunk.text) == "Hi"  # so it had been heard before

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("kind", ["reasoning without words", "pieces after the end"])
    def test_what_looks_like_content_does_not_keep_a_stream(self, engine: str, kind: str) -> None:
        """Gateways send members of reasoning that hold nothing, and pieces after they have said why it ended."""
        first, empty = STREAMED["openai"]
        finish = empty.replace(b'"delta":{"content":""}', b'"delta":{},"finish_reason":"stop"')
        thinks = empty.replace(b'"content":""', b'"content":"","reasoning":null,"reasoning_content":""')
        begun, piece = ([*first, finish], empty) if kind == "pieces after the end" else (first, thinks)

        def endless(connection: Connection) -> None:
            connection.send(EVENTS + b"\r\n" + b"".join(map(_event, begun)))
            while not server.ended.wait(0.02):
                connection.send(_event(piece))

        with attacked("openai", engine, litellm_timeout=TIMEOUT_S) as (server, live):
            server.does(endless)
            started = time.monotonic()
            failing(live, "stream", core.ModelTimeoutError)
            assert time.monotonic() - started < NEVER_S

    @pytest.mark.parametrize("way", WAYS)
    def test_provider_says_nothing_about_retries(self, way: str, turn: int) -> None:
        """Neither how often it is asked again nor how long that waits: a library would sleep for weeks."""
        engine, _, dialect = way.partition(" ")
        wishes = b"x-should-retry: %s\r\nRetry-After: 999999\r\nretry-after-ms: 999999999\r\n"
        with attacked(dialect, engine, litellm_timeout=30, litellm_num_retries=2) as (server, live):
            for number, (status, wish, asked) in enumerate(
                ((401, b"true", 1), (429, b"true", 1), (500, b"false", 2)), turn
            ):
                server.does(answers(b"HTTP/1.1 %d No\r\n" % status + wishes % wish, b"{}"))
                started = time.monotonic()
                failing(live, ("invoke", "stream")[number % 2])
                assert time.monotonic() - started < NEVER_S
                assert len(server.heads) == asked

    def test_header_that_is_no_ascii_is_an_error_like_any_other(self, way: tuple[Hostile, MemoryRouter]) -> None:
        """Whatever a library makes of it."""
        server, live = way
        server.does(answers(b"HTTP/1.1 401 No\r\nRetry-After: \xe9\xff\r\n", b"{}"))
        failing(live, kind=Exception)

    def test_pause_that_is_no_time_is_an_error_like_any_other(self, way: tuple[Hostile, MemoryRouter]) -> None:
        """The provider's 429, typed and without a key, whatever its Retry-After says."""
        server, live = way
        for when, method in zip(NO_TIMES, itertools.cycle(("invoke", "stream"))):
            server.does(answers(b"HTTP/1.1 429 No\r\nRetry-After: %s\r\n" % when.encode(), b"{}"))
            error = failing(live, method, core.ModelRateLimitError)
            searched(error, secrets_of(live))

    def test_pause_that_is_no_time_fails_over(self) -> None:
        """As any 429 does."""
        with attacked("anthropic", "litellm") as (server, live), StandIn("openai") as spare:
            live.set(llm_fallback_config=DIALECTS["openai"].entry(spare), secrets={"spare": "sk-spare"})
            when = b"Mon, 01 Jan 2020 00:00:00 +99999999999999999999"
            server.does(answers(b"HTTP/1.1 429 No\r\nRetry-After: " + when + b"\r\n", b"{}"))
            assert ask(live.chat_model()).response_metadata["liverouter"]["role"] == "fallback"
            assert live.cooldowns.active()

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", ["vertex-ai", "vertex-ai claude"])
    def test_error_of_the_token_desk_leaves_the_deadline(self, dialect: str, engine: str) -> None:
        """Its second answer is a token; what trickles then ends with the attempt all the same."""

        def trickling(connection: Connection) -> None:
            connection.send(OK + b"Content-Length: 99999\r\n\r\n")
            connection.trickle(b" ")

        token = answers(OK, b'{"access_token": "ya29.x", "expires_in": 3600, "token_type": "Bearer"}')
        with attacked(dialect, engine) as (server, live), Hostile() as desk, ThreadPoolExecutor(1) as caller:
            server.does(trickling)
            desk.does(lambda c: token(c) if len(desk.heads) > 1 else answers(b"HTTP/1.1 503 No\r\n", b"{}")(c))
            live.set(litellm_timeout=NEVER_S, secrets=desk.google_secrets())
            failed = caller.submit(failing, live, kind=(core.ModelTimeoutError, core.ModelAPIError))
            for _ in range(2):  # neither is longer than a read may take
                sent = server.sent
                until(lambda sent=sent: server.sent > sent + 2)  # type: ignore[misc]  # of this round
                leap(live, 0.6 * NEVER_S)
            failed.result()
            assert (len(desk.heads), len(server.heads)) == (2, 1)

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", ["vertex-ai", "vertex-ai claude"])
    @pytest.mark.parametrize("drop", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50, OK + b"\r\n" + b" " * 1000])
    def test_trickling_token_desk_ends_with_the_attempt(self, dialect: str, engine: str, drop: bytes) -> None:
        """Google's token is part of the attempt, and its thread ends with it."""
        with attacked(dialect, engine, litellm_timeout=TIMEOUT_S) as (server, live), Hostile() as desk:
            desk.does(lambda connection: connection.trickle(drop))
            live.set(secrets=desk.google_secrets())
            started = time.monotonic()
            failing(live, kind=(core.ModelTimeoutError, core.ModelAPIError))  # whichever deadline comes first
            assert time.monotonic() - started < NEVER_S
            assert server.heads == []


class TestShape:
    def test_answer_that_takes_long_to_read_holds_nobody_up(self, way: tuple[Hostile, MemoryRouter], turn: int) -> None:
        """Reading it is no work, whatever a library thinks of it: each took seconds, in which no other call went on.

        Of those whose values are many each way meets one: they are counted before any library reads them.
        """
        server, live = way
        kind, begins, value, count, ends = MANY[turn % len(MANY)]
        for head, body in (*SLOW, (kind, begins + value * count + ends)):
            server.does(answers(head, body))
            started = time.process_time()
            with contextlib.suppress(Exception):
                ask(live.chat_model(), "stream" if head == EVENTS else "invoke")
            assert time.process_time() - started < WORK_S, body[:50]

    def test_packed_answer_that_goes_on_is_refused(self, way: tuple[Hostile, MemoryRouter]) -> None:
        """What comes after its end would count nowhere."""
        server, live = way
        server.does(answers(OK + b"Content-Encoding: gzip\r\n", gzip.compress(b"{}") + b"x"))
        assert "after its packed end" in str(failing(live))


class TestNonsense:
    def test_answer_of_another_shape_is_the_provider_s_error(self, attack: tuple[Hostile, MemoryRouter]) -> None:
        """Whatever a library trips over, its caller learns that the model's answer was to blame; or it is empty."""
        server, live = attack
        for body in NO_ANSWERS:
            server.does(answers(OK, body))
            said = ""
            with contextlib.suppress(core.ModelError):
                said = ask(live.chat_model()).text or "nothing"
            assert not said or (said == "nothing" and not live.generation().snapshot.litellm_enable), body[:100]

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", ["openai", "anthropic"])
    def test_names_and_figures_stay_within_bounds(self, dialect: str, engine: str) -> None:
        """A model's name of any length, and tokens beyond all sums."""
        names = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
        answer = WHOLE[dialect] | {"model": LONG_TEXT, "usage": dict.fromkeys(names, 10**30)}
        with attacked(dialect, engine) as (server, live):
            server.does(answers(OK, json.dumps(answer).encode()))
            try:
                told = ask(live.chat_model()).response_metadata
            except core.ModelAPIError:  # litellm since 1.110, which reads figures as 64 bits
                assert engine == "litellm"
                return
            assert len(told["model_name"]) <= 200
            (row,) = live.usage.drain()
            assert (row["prompt_tokens"], row["completion_tokens"]) == (10**9, 10**9)
            assert 0 <= row["cost_usd"] <= 10**6

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", ["openai", "anthropic", "azure-openai", "snowflake"])
    def test_figures_that_are_none_are_counted_as_none(self, dialect: str, engine: str) -> None:
        """A typed error or an answer, and a row of counts that the database takes."""
        spoken = "anthropic" if dialect == "anthropic" else "openai"
        with attacked(dialect, engine) as (server, live):
            for said in ("x", [1], {"a": 1}, None, 0.5, True):
                usage = dict.fromkeys(WHOLE[spoken]["usage"], said)
                server.does(answers(OK, json.dumps(WHOLE[spoken] | {"usage": usage}).encode()))
                with contextlib.suppress(core.ModelError):
                    ask(live.chat_model())
                (row,) = live.usage.drain()
                assert all(isinstance(row[name], int) for name in ("prompt_tokens", "completion_tokens")), said

    @pytest.mark.parametrize("member", ["finish_reason", "system_fingerprint", "model", "id", "service_tier"])
    @pytest.mark.parametrize("engine", ENGINES)
    def test_pieces_that_do_not_fit_together_are_no_error_of_ours(self, engine: str, member: str) -> None:
        """A name that is a list once and a text then."""
        first = json.loads(STREAMED["openai"][0][0])
        pieces = []
        for said in ([7], "text", {"a": 1}, None, 7):
            piece = json.loads(json.dumps(first))
            (piece["choices"][0] if member == "finish_reason" else piece)[member] = said
            pieces.append(piece)
        first["choices"][0] |= {"finish_reason": "stop", "delta": {}}
        body = b"".join(b"data: %s\n\n" % json.dumps(piece).encode() for piece in (*pieces, first))
        with attacked("openai", engine) as (server, live):
            server.does(answers(EVENTS, body + b"data: [DONE]\n\n"))
            with contextlib.suppress(core.ModelError):
                assert "Hi" in ask(live.chat_model(), "stream").text

    def test_stream_of_another_shape_leaves_no_connection_open(self) -> None:
        """google-genai closes none of its own."""
        left = threading.Event()

        def shapeless(connection: Connection) -> None:
            connection.send(EVENTS + b"\r\n" + b'data: {"candidates":[{"content":{"parts":["x"]}}]}\n\n')
            connection.wait()
            if not server.ended.is_set():
                left.set()

        with attacked("vertex-ai", "native") as (server, live):
            server.does(shapeless)
            gc.disable()
            try:
                failing(live, "stream")
                assert left.wait(NEVER_S)
            finally:
                gc.enable()


class TestCookies:
    def test_none_is_kept(self, attack: tuple[Hostile, MemoryRouter]) -> None:
        """A client serves many calls: what one answer sets, no other request carries."""
        server, live = attack
        server.does(answers(b"HTTP/1.1 401 No\r\nSet-Cookie: a=b; Path=/\r\n", b"{}"))
        for _ in range(2):
            failing(live)
        assert not any(b"cookie:" in head.lower() for head in server.heads)


class TestWhatIsWell:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_reader_may_take_its_time(self, engine: str) -> None:
        """What it does between two pieces is none of the provider's, however they are cut."""
        piece = json.loads(STREAMED["openai"][0][0])
        texts = [f"{number:09} " for number in range(400)]
        texts.insert(300, "word " * 40_000)  # which comes in several pieces
        events = []
        for text in texts:
            piece["choices"][0]["delta"]["content"] = text
            events.append(b"data: %s\n\n" % json.dumps(piece).encode())
        piece["choices"][0] |= {"finish_reason": "stop", "delta": {}}
        events.append(b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(piece).encode())
        with attacked("openai", engine, litellm_timeout=NEVER_S) as (server, live):
            server.does(answers(EVENTS, b"".join(events)))
            length = 0
            for number, chunk in enumerate(live.chat_model().stream("hi")):
                length += len(chunk.text)
                if number in (5, 150):
                    leap(live, 1.2 * NEVER_S)
            assert length == sum(map(len, texts))

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("begun", [False, True])
    def test_gateway_may_show_what_a_model_thinks(self, engine: str, *, begun: bool) -> None:
        """For longer than the timeout: it is not silent, whoever drops that member."""
        piece = json.loads(STREAMED["openai"][0][0])

        def event(finish: str | None = None, **delta: str) -> bytes:
            piece["choices"][0] |= {"delta": delta, "finish_reason": finish}
            return b"data: %s\n\n" % json.dumps(piece).encode()

        def thinking(connection: Connection) -> None:
            connection.send(EVENTS + b"Connection: close\r\n\r\n" + (event(content="Hi ") if begun else b""))
            while not thought.wait(0.02) and not server.ended.is_set():
                connection.send(event(reasoning_content="hm"))
            connection.send(event(content="there") + event("stop") + b"data: [DONE]\n\n")

        thought = threading.Event()
        with attacked("openai", engine, litellm_timeout=NEVER_S) as (server, live), ThreadPoolExecutor(1) as caller:
            server.does(thinking)
            answer = caller.submit(ask, live.chat_model(), "stream")
            for _ in range(5):  # 1.5 times the timeout, of which two rounds may pass before it hears what was sent
                sent = server.sent
                until(lambda sent=sent: server.sent > sent + 1_000)  # type: ignore[misc]  # of this round
                leap(live, 0.3 * NEVER_S)
            thought.set()
            assert answer.result().text == ("Hi there" if begun else "there")

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("dialect", ["openai", "anthropic", "vertex-ai"])
    def test_gzip_that_nobody_asked_for_is_read(self, dialect: str, engine: str) -> None:
        """Some gateways pack whatever they are asked."""
        with attacked(dialect, engine) as (server, live):
            body = json.dumps(WHOLE[dialect]).encode()
            server.does(answers(OK + b"Content-Encoding: gzip\r\n", gzip.compress(body)))
            assert ask(live.chat_model()).text == "ok"


STREAMED: Final = {  # events up to the first content, and one without any
    "openai": (
        [
            b'{"id":"1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}]}'
        ],
        b'{"id":"1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":""}}]}',
    ),
    "anthropic": (
        [
            b'{"type":"message_start","message":{"id":"1","type":"message","role":"assistant","content":[],"model":"claude-sonnet-4-6","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}',
            b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
            b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}',
        ],
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}',
    ),
}
WHOLE: Final[dict[str, dict[str, Any]]] = {
    "openai": {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    "anthropic": {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": "ok"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "vertex-ai": {
        "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [{"text": "ok"}]}}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
    },
}

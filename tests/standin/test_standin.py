"""The stand-ins' server: scripting, recording, and every way of being out of reach."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import pytest

from liverouter.testing import Ask, Failure, Reply, StandIn
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT_S = 60.0  # for what comes, however busy the machine is
CONTENT = b'"delta": {"content": "'  # in each chunk of a stream that has any


@pytest.fixture
def standin() -> Iterator[StandIn]:
    """An OpenAI stand-in."""
    with StandIn("openai") as running:
        yield running


@pytest.fixture
def http(standin: StandIn) -> Iterator[httpx.Client]:
    """A client with a key for it."""
    headers = {"authorization": "Bearer sk-test"}
    kept = httpx.Limits(keepalive_expiry=None)  # however long a pause between two requests is
    with httpx.Client(base_url=standin.api_base, headers=headers, timeout=WAIT_S, limits=kept) as client:
        yield client


def body(text: str = "hi", **more: Any) -> dict[str, Any]:
    """Return a chat request."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


def ask(http: httpx.Client, text: str = "hi", **more: Any) -> httpx.Response:
    """Send a chat request."""
    return http.post("/chat/completions", json=body(text, **more))


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "standin-openai"}


def assert_silent(response: httpx.Response) -> None:
    """Fail where more comes of a stream than has been read."""
    with pytest.raises(httpcore.ReadTimeout):
        response.extensions["network_stream"].read(1, timeout=0.2)


def said(response: httpx.Response) -> str:
    """Return the text of a whole answer."""
    text: str = response.raise_for_status().json()["choices"][0]["message"]["content"]
    return text


class TestLifecycle:
    def test_stop_leaves_no_thread_connection_or_port(self, standin: StandIn, http: httpx.Client) -> None:
        """After `stop` the thread is gone, the client's connection is ended and the port is free."""
        ask(http)
        port, running = standin.port, _threads()
        standin.stop()
        assert standin.open_connections == 0
        assert len(running - _threads()) == 1
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))

    def test_stop_ends_a_request_in_progress(self, standin: StandIn, http: httpx.Client) -> None:
        """A hanging client is cut off by `stop`, and that is not the client's disconnect."""
        standin.fail("hang")
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(ask, http)
            standin.wait_hits(1, WAIT_S)
            standin.stop()
            with pytest.raises(httpx.TransportError):
                call.result(WAIT_S)
        assert (standin.in_flight, standin.disconnects) == (0, 0)

    @pytest.mark.parametrize("end", [StandIn.stop, lambda standin: standin.fail("refused")], ids=["stop", "refused"])
    def test_a_connection_that_arrives_just_then_is_ended(
        self, standin: StandIn, http: httpx.Client, end: Callable[[StandIn], None]
    ) -> None:
        """It is accepted in the same round of the event loop in which the port is closed."""
        late: list[socket.socket] = []
        ending = threading.Thread(target=end, args=(standin,))

        def answer(_: Ask) -> Reply:  # on the server's thread: both wait for it now, the connection and the end
            late.append(socket.create_connection(("127.0.0.1", standin.port)))
            ending.start()
            asked = threading.Condition.wait.__code__
            until(lambda: sys._current_frames()[ending.ident or 0].f_code is asked, WAIT_S)  # noqa: SLF001
            return Reply(text="done")

        standin.respond(answer)
        with contextlib.suppress(httpx.TransportError):  # a stop ends it, too
            ask(http)
        ending.join(WAIT_S)
        with late[0] as connection:
            connection.settimeout(WAIT_S)
            assert connection.recv(1) == b""

    def test_start_twice_is_refused(self, standin: StandIn) -> None:
        """A stand-in serves once."""
        with pytest.raises(RuntimeError, match="make a new one"):
            standin.start()

    def test_a_taken_port_is_an_error(self, standin: StandIn) -> None:
        """Two stand-ins never share a port, not even while the first refuses connections."""
        standin.fail("refused")
        with pytest.raises(OSError, match="in use"):
            StandIn("openai", port=standin.port).start()

    def test_an_unknown_provider_is_an_error(self) -> None:
        """The message names those there are."""
        with pytest.raises(ValueError, match="no stand-in for provider 'opnai'; there are anthropic, azure-openai"):
            StandIn("opnai")

    def test_before_start_it_has_no_address(self) -> None:
        """An address is asked for too early: the message says what to do."""
        with pytest.raises(RuntimeError, match="context manager"):
            _ = StandIn("openai").base_url

    def test_importing_it_loads_neither_litellm_nor_langchain(self) -> None:
        """They cost seconds, and a stand-in needs neither."""
        loaded = "import sys, liverouter.testing; print({'litellm', 'langchain_core', 'fastapi'} & set(sys.modules))"
        assert subprocess.check_output([sys.executable, "-c", loaded], text=True).strip() == "set()"

    async def test_it_is_an_async_context_manager(self) -> None:
        """Inside an event loop start, waits and stop do not block it."""
        async with (
            StandIn("openai") as standin,
            httpx.AsyncClient(base_url=standin.api_base, timeout=WAIT_S) as client,
        ):
            await client.post("/chat/completions", json=body(), headers={"authorization": "Bearer k"})
            await standin.wait_hits_async(1, WAIT_S)

    @pytest.mark.parametrize("provider", ["openai", "anthropic"])
    def test_it_serves_in_a_process_of_its_own(self, provider: str) -> None:
        """`python -m liverouter.testing` prints the base URL, serves, and ends on SIGTERM with 0."""
        command = [sys.executable, "-m", "liverouter.testing", "--provider", provider, "--fail", "503"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            key = {"authorization": "Bearer k"}
            response = httpx.post(url + "/nowhere", json={}, headers=key, timeout=WAIT_S)
            process.terminate()
            assert process.wait(WAIT_S) == 0
        assert (response.status_code, response.headers["content-type"]) == (404, "application/json")


class TestAnswers:
    def test_the_default_answer_names_the_model(self, http: httpx.Client) -> None:
        """Who served is in the text, with what the user said."""
        assert said(ask(http, "good morning")) == "gpt-4o says: good morning"

    def test_a_long_question_gets_a_short_answer(self, http: httpx.Client) -> None:
        """The echo is cut, so that a summary is shorter than what it sums up."""
        assert len(said(ask(http, "word " * 1000))) < 250

    def test_tokens_grow_with_the_text(self, http: httpx.Client) -> None:
        """Ten times the text, about ten times the tokens."""
        short, long = (ask(http, "word " * count).json()["usage"]["prompt_tokens"] for count in (100, 1000))
        assert 9 <= long / short <= 11

    def test_replies_are_given_in_order_and_then_the_default_again(self, standin: StandIn, http: httpx.Client) -> None:
        """Texts, replies and functions queue up alike."""
        standin.respond("one", Reply(text="two"), lambda request: Reply(text=request.user_text.upper()))
        assert [said(ask(http)) for _ in range(4)] == ["one", "two", "HI", "gpt-4o says: hi"]

    def test_a_failed_request_takes_no_reply(self, standin: StandIn, http: httpx.Client) -> None:
        """A scripted reply waits for a request that is answered."""
        standin.respond("kept")
        standin.fail("500", times=1)
        assert ask(http).status_code == 500
        assert said(ask(http)) == "kept"

    def test_an_answering_function_replaces_the_default(self) -> None:
        """`answer=` sees what is asked, in no dialect."""
        seen: list[Ask] = []

        def answer(request: Ask) -> Reply:
            seen.append(request)
            return Reply(text="mine")

        with StandIn("openai", answer=answer) as standin:
            headers = {"authorization": "Bearer k"}
            url = standin.api_base + "/chat/completions"
            asked = body("q", stop=["x"], max_tokens=9)
            response = httpx.post(url, json=asked, headers=headers, timeout=WAIT_S)
        assert said(response) == "mine"
        assert (seen[0].user_text, seen[0].stop, seen[0].max_tokens) == ("q", ("x",), 9)

    def test_a_defect_in_an_answering_function_ends_the_connection(
        self, standin: StandIn, http: httpx.Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nothing hangs, the traceback is logged, and the next request is served."""

        def broken(request: Ask) -> Reply:
            raise LookupError(request.user_text)

        standin.respond(broken)
        with pytest.raises(httpx.RemoteProtocolError):
            ask(http, "boom")
        assert said(ask(http)) == "gpt-4o says: hi"
        assert "LookupError: boom" in caplog.text


class TestFail:
    def test_counted_failures_come_before_the_standing_one(self, standin: StandIn, http: httpx.Client) -> None:
        """`times` queues; without it the failure stays; `heal` drops all."""
        standin.fail("503")
        standin.fail("429", times=2)
        statuses = [ask(http).status_code for _ in range(4)]
        standin.fail("401", times=5)
        standin.heal()
        assert (statuses, ask(http).status_code) == ([429, 429, 503, 503], 200)

    def test_the_last_standing_failure_holds(self, standin: StandIn, http: httpx.Client) -> None:
        """One replaces the other."""
        standin.fail("503")
        standin.fail(Failure.NOT_FOUND)
        assert ask(http).status_code == 404

    def test_retry_after_is_two_seconds_unless_told(self, standin: StandIn, http: httpx.Client) -> None:
        """The header comes with 429-retry-after, or with any HTTP error that is given a number."""
        standin.fail("429-retry-after", times=1)
        standin.fail("429", times=1)
        standin.fail("503", times=1, retry_after_s=90)
        assert [ask(http).headers.get("retry-after") for _ in range(3)] == ["2", None, "90"]

    def test_what_cannot_happen_is_refused(self, standin: StandIn) -> None:
        """Unknown names, counted unreachability, an empty body in mid-stream."""
        with pytest.raises(ValueError, match="418"):
            standin.fail("418")
        with pytest.raises(ValueError, match="lasts until heal"):
            standin.fail("refused", times=1)
        with pytest.raises(ValueError, match="cannot happen in the middle"):
            standin.fail("empty", after_chunks=1)
        with pytest.raises(ValueError, match="0 or more"):
            standin.fail("reset", after_chunks=-1)


class TestUnreachable:
    def test_refused_refuses_new_connections_and_ends_idle_ones(self, standin: StandIn, http: httpx.Client) -> None:
        """The port is kept: healed, the same address serves again."""
        ask(http)
        standin.fail("refused")
        standin.wait_until(lambda one: one.open_connections == 0, WAIT_S)
        with pytest.raises(httpx.ConnectError, match="refused"):
            ask(http)
        standin.heal()
        assert said(ask(http)) == "gpt-4o says: hi"

    def test_blackhole_lets_connect_hang(self, standin: StandIn, http: httpx.Client) -> None:
        """Connecting runs into the client's own timeout; healed, the same address serves again."""
        standin.fail("blackhole")
        with pytest.raises(httpx.ConnectTimeout):
            http.post("/chat/completions", json=body(), timeout=0.2)
        assert standin.hits == 0
        standin.heal()
        assert said(ask(http)) == "gpt-4o says: hi"

    def test_another_standing_failure_opens_the_port_again(self, standin: StandIn, http: httpx.Client) -> None:
        """An HTTP error needs a listener."""
        standin.fail("refused")
        standin.fail("500")
        assert ask(http).status_code == 500

    def test_a_request_in_progress_outlives_the_listener(self, standin: StandIn, http: httpx.Client) -> None:
        """Only new and idle connections are hit."""
        with ThreadPoolExecutor(1) as pool, standin.hold() as gate:
            call = pool.submit(ask, http)
            gate.wait_held(1, WAIT_S)
            standin.fail("refused")
            gate.open()
            assert said(call.result(WAIT_S)) == "gpt-4o says: hi"
        with pytest.raises(httpx.ReadError):  # the connection was kept, the provider is gone
            ask(http)

    def test_hang_reads_the_request_and_answers_nothing(self, standin: StandIn, http: httpx.Client) -> None:
        """A read timeout at the client, a disconnect at the provider."""
        standin.fail("hang")
        with pytest.raises(httpx.ReadTimeout):
            http.post("/chat/completions", json=body(), timeout=httpx.Timeout(WAIT_S, read=0.1))
        standin.wait_disconnects(1, WAIT_S)

    def test_reset_sends_rst(self, standin: StandIn) -> None:
        """The client sees ECONNRESET, not an end of file."""
        standin.fail("reset")
        with socket.create_connection(("127.0.0.1", standin.port), timeout=WAIT_S) as client:
            content = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
            head = "POST /v1/chat/completions HTTP/1.1", "Host: x", "Authorization: Bearer k"
            client.sendall("\r\n".join((*head, f"Content-Length: {len(content)}", "", "")).encode() + content)
            with pytest.raises(ConnectionResetError):
                client.recv(1)


class TestStreams:
    def test_it_comes_in_pieces_that_make_the_whole(self, http: httpx.Client) -> None:
        """Server-sent events end with the finish marker and `[DONE]`."""
        events = ask(http, "one two", stream=True).text.strip().split("\n\n")
        assert (len(events), events[-1]) == (7, "data: [DONE]")
        assert '"finish_reason": "stop"' in events[-2]

    def test_a_gate_holds_a_stream_after_some_chunks(self, standin: StandIn, http: httpx.Client) -> None:
        """What was sent arrives before the gate opens, the rest after."""
        with (
            standin.hold(after_chunks=2) as gate,
            http.stream("POST", "/chat/completions", json=body("a b c", stream=True)) as response,
        ):
            pieces = response.iter_raw()
            before = ""
            while "says: " not in before:
                before += next(pieces).decode()
            gate.wait_held(1, WAIT_S)
            assert "c" not in before.rsplit('"content"', 1)[1]
            gate.open()
            assert "[DONE]" in "".join(piece.decode() for piece in pieces)

    def test_an_older_gate_does_not_open_a_newer_one(self, standin: StandIn, http: httpx.Client) -> None:
        """Each holds what came in its time."""
        with ThreadPoolExecutor(1) as pool:
            old, new = standin.hold(), standin.hold()
            old.open()
            call = pool.submit(ask, http)
            new.wait_held(1, WAIT_S)
            new.open()
            assert said(call.result(WAIT_S)) == "gpt-4o says: hi"

    def test_leaving_a_stream_early_is_a_disconnect(self, standin: StandIn, http: httpx.Client) -> None:
        """Cancellation reaches the provider, and is counted."""
        with standin.hold(after_chunks=1) as gate:
            with http.stream("POST", "/chat/completions", json=body(stream=True)):
                gate.wait_held(1, WAIT_S)
            standin.wait_disconnects(1, WAIT_S)
        assert standin.in_flight == 0

    def test_reading_a_stream_to_its_end_is_none(self, standin: StandIn, http: httpx.Client) -> None:
        """A client that got everything left no stream early."""
        ask(http, stream=True)
        http.close()
        standin.wait_until(lambda one: one.open_connections == 0, WAIT_S)
        assert standin.disconnects == 0

    @pytest.mark.parametrize(
        ("kind", "after", "ends_with"),
        [
            ("eof", 1, b'"finish_reason": null}]}\n\n'),
            ("eof", 3, b'"finish_reason": null}]}\n\n'),
            ("preamble", 0, b'"finish_reason": null}]}\n\n'),
            ("refusal", 2, b"data: [DONE]\n\n"),
            ("error-event", 2, b'"code": null}}\n\n'),
            ("429", 2, b'"code": "rate_limit_exceeded"}}\n\n'),
            ("malformed", 2, b'"chat\n\n'),
        ],
    )
    def test_a_failure_after_k_chunks_comes_after_k_chunks(
        self, standin: StandIn, http: httpx.Client, kind: str, after: int, ends_with: bytes
    ) -> None:
        """Content first, then the failure in the stream's own format, then a clean end of HTTP."""
        standin.fail(kind, after_chunks=after)
        response = ask(http, "a b c d", stream=True)
        assert (response.status_code, response.content.count(CONTENT)) == (200, after)
        assert response.content.endswith(ends_with)

    def test_a_broken_stream_breaks_after_k_chunks(self, standin: StandIn, http: httpx.Client) -> None:
        """What was sent before arrives."""
        standin.fail("reset", after_chunks=2)
        got: list[bytes] = []
        with (
            http.stream("POST", "/chat/completions", json=body(stream=True)) as response,
            pytest.raises(httpx.ReadError),
        ):
            got.extend(response.iter_raw())
        assert b"".join(got).count(CONTENT) == 2

    def test_a_stalled_stream_falls_silent_after_k_chunks(self, standin: StandIn, http: httpx.Client) -> None:
        """What was sent before arrives."""
        standin.fail("stall", after_chunks=2)
        with http.stream("POST", "/chat/completions", json=body(stream=True)) as response:
            pieces, got = response.iter_raw(), b""
            while got.count(CONTENT) < 2:
                got += next(pieces)
            assert got.count(CONTENT) == 2
            assert_silent(response)

    def test_a_stall_before_the_first_chunk_sends_headers_only(self, standin: StandIn, http: httpx.Client) -> None:
        """The client knows the status and nothing else."""
        standin.fail("stall")
        with http.stream("POST", "/chat/completions", json=body(stream=True)) as response:
            assert response.status_code == 200
            assert_silent(response)

    @pytest.mark.parametrize("kind", ["eof", "eof-in-tool", "preamble"])
    def test_without_streaming_the_body_is_cut(self, standin: StandIn, http: httpx.Client, kind: str) -> None:
        """Fewer bytes arrive than were announced."""
        standin.fail(kind)
        with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
            ask(http)


class TestRecording:
    def test_a_request_is_recorded_whole(self, standin: StandIn, http: httpx.Client) -> None:
        """Method, path, query, headers, body, connection."""
        http.post("/chat/completions?a=1", json=body("q"))
        request = standin.requests[0]
        assert (request.number, request.kind, request.method, request.path) == (
            1,
            "chat",
            "POST",
            "/v1/chat/completions",
        )
        assert (request.query, request.headers["authorization"]) == ({"a": "1"}, "Bearer sk-test")
        assert (request.body, request.connection_id) == (body("q"), 1)

    def test_its_repr_shows_no_credential_and_no_text(self, standin: StandIn, http: httpx.Client) -> None:
        """A failing assertion prints no secret."""
        ask(http, "private")
        assert "sk-test" not in repr(standin.requests)
        assert "private" not in repr(standin.requests)

    def test_connections_are_kept_alive(self, standin: StandIn, http: httpx.Client) -> None:
        """Many requests, one connection."""
        for stream in (False, True, False, True):
            ask(http, stream=stream)
        assert (standin.hits, standin.accepted, standin.open_connections) == (4, 1, 1)

    @pytest.mark.parametrize("provider", ["openai", "anthropic"])
    def test_a_list_of_models_is_no_hit(self, provider: str) -> None:
        """Only calls of the model count."""
        headers = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
        with StandIn(provider) as standin:
            listed = httpx.get(standin.base_url + "/v1/models", headers=headers, timeout=WAIT_S)
            assert listed.json()["data"][0]["id"] == "stand-in"
            assert (standin.hits, standin.requests[0].kind) == (0, "models")

    def test_forget_starts_anew(self, standin: StandIn, http: httpx.Client) -> None:
        """Requests, violations and counts are dropped, open connections are still known."""
        ask(http, nonsense=1)
        standin.forget()
        assert (standin.requests, standin.violations, standin.hits) == ((), (), 0)
        assert (standin.accepted, standin.open_connections) == (1, 1)

    def test_keep_bounds_what_is_remembered(self) -> None:
        """A long run does not grow."""
        headers = {"authorization": "Bearer k"}
        with StandIn("openai", keep=2) as standin, httpx.Client(headers=headers, timeout=WAIT_S) as client:
            for number in range(4):
                client.post(standin.api_base + "/chat/completions", json=body(str(number)))
            texts = [request.body["messages"][0]["content"] for request in standin.requests if request.body]
        assert (texts, standin.hits) == (["2", "3"], 4)

    def test_a_wait_that_is_not_met_says_what_was_there(self, standin: StandIn) -> None:
        """A bound, and the counts in the message."""
        with pytest.raises(TimeoutError, match=r"did not get there in 0\.01 s: hits 0, in flight 0"):
            standin.wait_hits(1, 0.01)
        with standin.hold() as gate, pytest.raises(TimeoutError, match="0 of 1 requests stood at the gate"):
            gate.wait_held(1, 0.01)

    def test_many_callers_are_counted_exactly(self, standin: StandIn, http: httpx.Client) -> None:
        """Eight threads, no request lost."""
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: said(ask(http, str(number))), range(200)))
        assert answers == [f"gpt-4o says: {number}" for number in range(200)]
        assert (standin.hits, len({request.number for request in standin.requests})) == (200, 200)


class TestViolations:
    def test_what_the_provider_would_not_take_is_remembered(self, standin: StandIn, http: httpx.Client) -> None:
        """A failover would hide a 400; the stand-in does not forget it."""
        ask(http, snowflake_account="x")
        assert [(v.number, v.status, v.message) for v in standin.violations] == [
            (1, 400, "Unknown parameter: 'snowflake_account'.")
        ]

    def test_it_is_found_even_while_the_provider_fails(self, standin: StandIn, http: httpx.Client) -> None:
        """Validation comes before the script."""
        standin.fail("hang")
        assert ask(http, nonsense=1).status_code == 400

    def test_scripted_failures_are_none(self, standin: StandIn, http: httpx.Client) -> None:
        """What a test asked for is no violation."""
        standin.fail("400")
        assert ask(http).status_code == 400
        assert standin.violations == ()

    def test_only_accepted_keys_are_accepted(self) -> None:
        """With `accept_keys` every other credential gets a 401."""
        with StandIn("openai", accept_keys={"right"}) as standin:
            url = standin.api_base + "/chat/completions"
            statuses = [
                httpx.post(url, json=body(), headers=headers, timeout=WAIT_S).status_code
                for headers in ({"authorization": "Bearer right"}, {"authorization": "Bearer wrong"}, {})
            ]
        assert statuses == [200, 401, 401]

    def test_a_body_that_is_no_json_object_is_a_400(self, http: httpx.Client) -> None:
        """Neither half a body nor a list gets through."""
        statuses = [http.post("/chat/completions", content=content).status_code for content in (b'{"a', b"[]", b"")]
        assert statuses == [400, 400, 400]

    def test_bytes_that_are_no_http_end_the_connection(self, standin: StandIn) -> None:
        """A stranger's protocol is hung up on."""
        with socket.create_connection(("127.0.0.1", standin.port), timeout=WAIT_S) as client:
            client.sendall(b"\x16\x03\x01 not http\r\n\r\n")
            assert client.recv(1) == b""

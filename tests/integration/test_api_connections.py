"""Connections that are slow, silent, half-sent or too many end; everybody else is served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter import LiveRouter
from liverouter.daemon.auth import AdminToken, LoginLimiter
from liverouter.daemon.complaints import Complaints
from liverouter.daemon.connections import Limits
from liverouter.daemon.context import build_context
from liverouter.daemon.request_guard import Policy
from liverouter.daemon.service import Server
from tests.kit.http import PATIENCE_S as LONG_S, Api, HTTPConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN: Final = "a-long-random-admin-token-0123456789"
PATIENCE_S: Final = 0.4  # in here
MOST: Final = 5
AUTHORIZED: Final = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
STREAM: Final = f"GET /api/events HTTP/1.1\r\n{AUTHORIZED}\r\n"
HALF: Final = {
    "nothing": "",
    "half a line": "GET /api/sta",
    "half a head": f"GET /api/status HTTP/1.1\r\n{AUTHORIZED}",
    "half a body": f"POST /api/check HTTP/1.1\r\n{AUTHORIZED}Content-Length: 9\r\n\r\n{{",
    "half a chunk": f"POST /api/check HTTP/1.1\r\n{AUTHORIZED}Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "half a sign-in": "POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    "an awaited 100": f"POST /api/check HTTP/1.1\r\n{AUTHORIZED}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    "a body that nobody reads": f"GET /livez HTTP/1.1\r\n{AUTHORIZED}Content-Length: 9\r\n\r\n{{",
    "a whole request and half of one": f"GET /livez HTTP/1.1\r\n{AUTHORIZED}\r\nGET /li",
}


@pytest.fixture(scope="module")
def database(server: Any) -> str:
    """A database that is not there: nothing in here needs one."""
    return str(server.dsn("liverouter_no_such_database"))


@pytest.fixture(scope="module")
def hasty(database: str) -> Iterator[Api]:
    """The API with little patience."""
    with Api(database, token=TOKEN, limits=Limits(patience_s=PATIENCE_S)) as api:
        yield api


@pytest.fixture
def crowded(database: str) -> Iterator[Api]:
    """The API with all patience, and few connections for one visitor."""
    with Api(database, token=TOKEN, limits=Limits(patience_s=LONG_S, per_visitor=MOST)) as api:
        yield api


def address(api: Api) -> tuple[str, int]:
    """Return where it listens."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    return host, int(port)


def connect(api: Api, sent: str = "", *, source: str = "127.0.0.1") -> socket.socket:
    """Return a connection of *source* on which *sent* was sent: to the server, all at one moment."""
    with api.held():
        connection = socket.create_connection(address(api), timeout=LONG_S, source_address=(source, 0))
        connection.sendall(sent.encode())
    return connection


def status(api: Api) -> int:
    """Return what somebody is answered who connects anew and asks for little."""
    with api.browser() as browser:
        return browser.get("/livez").status_code


def read_to_the_end(connection: socket.socket) -> bytes:
    """Return all that comes until the other side ends it; fails when it does not."""
    said = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            said += part
    return bytes(said)


class TestPatience:
    def test_is_ten_seconds(self) -> None:
        """What is served grants 10 s, 100 connections a visitor, and half of the descriptors in all."""
        limits = Limits()
        assert (limits.patience_s, limits.per_visitor) == (10.0, 100)
        assert limits.in_all == min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2, 10_000)

    def test_half_sent_request_ends(self, hasty: Api) -> None:
        """A connection that says nothing, or stops anywhere within a request, is ended."""
        with contextlib.ExitStack() as stack:
            held = {name: stack.enter_context(connect(hasty, sent)) for name, sent in HALF.items()}
            for connection in held.values():
                read_to_the_end(connection)

    @pytest.mark.parametrize("sent", [*HALF.values()][1:6], ids=[*HALF.keys()][1:6])
    def test_trickling_does_not_help(self, hasty: Api, sent: str) -> None:
        """Who sends a little, again and again, is ended all the same: the whole request counts."""
        with connect(hasty, sent) as connection:
            connection.settimeout(PATIENCE_S / 20)
            while True:
                try:
                    if not connection.recv(65_536):
                        break
                except TimeoutError:
                    pass
                except ConnectionResetError:
                    break
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.sendall(b"x")

    def test_slow_body_is_told(self, hasty: Api) -> None:
        """A body that does not come is 408, and the connection ends with it."""
        with connect(hasty, HALF["half a body"]) as connection:
            said = read_to_the_end(connection)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in said.lower()

    def test_answer_that_nobody_reads_ends(self, hasty: Api) -> None:
        """Who asks on and on and reads nothing is ended, with what was to be sent to him."""
        ask = f"GET /api/openapi.json HTTP/1.1\r\n{AUTHORIZED}\r\n"
        with connect(hasty, ask) as connection:
            while not ended(connection, ask.encode()):
                pass

    def test_unread_stream_ends(self, hasty: Api) -> None:
        """A stream whose reader is deaf ends as well."""
        with connect(hasty, STREAM) as connection:
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            stop = threading.Event()
            try:
                feeder = threading.Thread(target=feed, args=(hasty, stop))
                feeder.start()
                while not ended(connection):
                    pass
            finally:
                stop.set()
                feeder.join()

    def test_stream_that_is_read_lives_on(self, hasty: Api) -> None:
        """A stream may be silent for longer than a request may take, and is not ended."""
        with connect(hasty, STREAM) as connection, connection.makefile("rb") as lines:
            assert next(lines) == b"HTTP/1.1 200 OK\r\n"
            with connect(hasty) as silent:  # begun later, and ended before
                read_to_the_end(silent)
            hasty.publish("event", {"name": "later"})
            while b"later" not in next(lines):
                pass

    def test_next_request_may_come_later(self, crowded: Api) -> None:
        """A connection that is kept serves one request after another, each with its own time."""
        with HTTPConnection(*address(crowded)) as client:
            client.connect()
            kept = client.sock
            for _ in range(3):
                assert client.ask("GET", "/livez")[0].status == 200
            assert client.sock is kept


def feed(api: Api, stop: threading.Event) -> None:
    """Have much to tell, until told to stop."""
    while not stop.wait(0.001):
        api.publish("event", {"name": "x" * 50_000})


def ended(connection: socket.socket, sent: bytes = b"x") -> bool:
    """Tell whether the other side has ended it, without reading what came: what is sent then comes back."""
    try:
        connection.sendall(sent)
    except ConnectionError:
        return True
    return False


class TestCrowd:
    def test_silent_connections_make_room(self, crowded: Api) -> None:
        """Who holds all connections of an address keeps nobody out: for a new one, the one that waited longest ends."""
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(connect(crowded, sent)) for sent in ("", "GET", "", "", "POST /api")]
            assert status(crowded) == 200
            assert read_to_the_end(held[0]) == b""

    def test_half_sent_bodies_make_room(self, crowded: Api) -> None:
        """So it is with requests whose body is not there yet."""
        with contextlib.ExitStack() as stack:
            for _ in range(MOST):
                stack.enter_context(connect(crowded, HALF["half a sign-in"]))
            assert status(crowded) == 200

    def test_streams_do_not(self, crowded: Api) -> None:
        """What is being answered is not ended: one more is told to come back later."""
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(connect(crowded, STREAM)) for _ in range(MOST)]
            for connection in held:
                assert connection.recv(15) == b"HTTP/1.1 200 OK"
            with connect(crowded) as connection:
                assert read_to_the_end(connection).startswith(b"HTTP/1.1 503 ")
            held[0].close()
            while status(crowded) == 503:
                pass

    def test_all_together_are_bounded(self, database: str) -> None:
        """However many addresses there are, all of them have so many connections together."""
        with Api(database, token=TOKEN, limits=Limits(in_all=3)) as api, contextlib.ExitStack() as stack:
            held = [stack.enter_context(connect(api, "G", source=f"127.0.0.{number + 2}")) for number in range(4)]
            assert read_to_the_end(held[0]) == b""
            assert status(api) == 200

    def test_closed_connections_are_forgotten(self, crowded: Api) -> None:
        """Connections that end leave their place."""
        for _ in range(MOST * 4):
            assert status(crowded) == 200
            with connect(crowded, "GET"):
                pass


class TestEnd:
    async def test_connection_that_arrives_just_then_is_told(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is accepted as the server ends, which neither serves nor awaits it."""
        policy = Policy(admin_token=AdminToken(TOKEN), login_limiter=LoginLimiter(), any_host=False)
        context = build_context(
            LiveRouter(database_url=database), policy, lambda path, error: pytest.fail(f"{path}: {error}")
        )
        server = Server(context, started=lambda: None)
        late: list[socket.socket] = []

        async def serve() -> None:
            late.append(socket.create_connection(listener.getsockname(), timeout=LONG_S))
            await asyncio.sleep(1e-9)  # wakes it by a timer, as uvicorn does: in the round after the one that accepts

        monkeypatch.setattr(server, "main_loop", serve)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await server.serve(sockets=[listener])
        with late[0] as connection:
            assert read_to_the_end(connection).startswith(b"HTTP/1.1 503 ")


class Log:
    """Takes log lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **facts: Any) -> None:
        """Take one."""
        self.lines.append({"event": event, **facts})


class TestComplaints:
    def test_each_is_one_line_a_minute(self) -> None:
        """The same complaint, but for numbers, is written once a minute, with how often it came meanwhile."""
        log, now = Log(), [0.0]
        complaints = Complaints(log, clock=lambda: now[0])
        for number in range(1000):
            complaints.say("http.complained", f"socket {number} at 0x7f{number:04x} is gone")
        now[0] = 61.0
        complaints.say("http.complained", "socket 7 at 0x7f is gone")
        complaints.say("http.complained", "another")
        assert [line.get("times") for line in log.lines] == [None, 1000, None]

    def test_ever_new_ones_are_bounded(self) -> None:
        """Ever new complaints fill neither log nor memory."""
        log = Log()
        complaints = Complaints(log, clock=lambda: 0.0)
        for number in range(10_000):
            complaints.say("http.complained", "x" * 20 + "".join(chr(97 + int(c)) for c in str(number)))
        assert len(log.lines) <= 101

    def test_kinds_of_former_times_make_room(self) -> None:
        """What nobody complained of for an hour leaves its place: a new complaint is told by its own words again."""
        log, now = Log(), [0.0]
        complaints = Complaints(log, clock=lambda: now[0])
        for letter in range(200):
            complaints.say("http.complained", f"complaint {chr(0x4E00 + letter)}")
        now[0] = 3601.0
        for text in ("one", "other"):
            complaints.say("http.complained", text)
        assert [line["message"] for line in log.lines[-2:]] == ["one", "other"]

    def test_error_without_words_is_told_by_its_name(self) -> None:
        """A timeout says nothing but its name, and no colon before nothing."""
        log = Log()
        Complaints(log).say("http.complained", "it took too long", TimeoutError())
        assert log.lines[0]["message"] == "it took too long: TimeoutError"

    async def test_former_handler_is_back_afterwards(self) -> None:
        """Who listened to the loop before does so again."""
        loop, heard = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: heard.append(context["message"]))
        with Complaints(Log()).listening():
            loop.call_exception_handler({"message": "for us"})
        loop.call_exception_handler({"message": "for them"})
        assert heard == ["for them"]

    async def test_loop_and_loggers_are_heard(self, caplog: pytest.LogCaptureFixture) -> None:
        """What asyncio says goes to our log alone: masked, on one line, without a traceback or an object's repr."""
        log, loop = Log(), asyncio.get_running_loop()
        with Complaints(log).listening():
            secret = "sk-0123456789abcdefghij"
            error = OSError(24, f"Too many open files {secret}\n\x1b[31m")
            loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})
            task = asyncio.ensure_future(failing(secret))
            await asyncio.wait([task])
            del task
            gc.collect()
        said = " ".join(line["message"] for line in log.lines)
        assert "socket.accept() out of system resource: OSError" in said
        assert "Task exception was never retrieved: RuntimeError" in said
        assert secret not in said
        assert said.isprintable()
        assert [record for record in caplog.records if record.name == "asyncio"] == []

    def test_broken_requests_are_one_line(self, hasty: Api) -> None:
        """However many broken requests come, the log says so once."""
        hasty.complaints.clear()
        for _ in range(5):
            with connect(hasty, "no HTTP at all \x1b[31m\r\n\r\n") as connection:
                assert read_to_the_end(connection).startswith(b"HTTP/1.1 400 ")
        assert len(hasty.complaints) <= 1


async def failing(secret: str) -> None:
    """Fail."""
    raise RuntimeError(secret)

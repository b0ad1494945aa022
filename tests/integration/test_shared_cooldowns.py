"""Cooldowns shared by Redis: one process learns, the others know; and whatever Redis does, no call feels it.

Run against a TCP fake everywhere, and against a real server where there is one.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
import pytest
import redis
from psycopg.types.json import Jsonb

from liverouter import LiveRouter
from liverouter.bus import Bus
from liverouter.errors import OptionsError
from liverouter.events import SharedCooldownsChanged
from liverouter.options import load
from liverouter.redis import link
from liverouter.routing import shared_cooldowns
from liverouter.routing.causes import Cause
from liverouter.routing.cooldowns import Cooldown, Cooldowns, Limits
from liverouter.routing.shared_cooldowns import NAME, SharedCooldowns
from liverouter.testing import EventLog, Failure, MemoryRouter, StandIn
from tests.kit.dialects import DIALECTS
from tests.kit.ports import ClosedPort
from tests.kit.redis_servers import FakeServer, RealServer
from tests.kit.world import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MODEL: Final = "openai/gpt-4o#00000000"
DOWN: Final = Cause("AuthenticationError", 401)
LIMITS: Final = Limits(allowed_fails=3, cooldown_time_s=60.0)
TOLD_S: Final = 2.0  # by which two clocks may differ: a process stood still as it asked Redis for the time
BY_REDIS_S: Final = 0.25  # no call may get slower than this by anything Redis does, a busy machine aside
LONGEST_S: Final = 4.0  # what a library waits for a Redis that stands still: five seconds, each call anew
BUSY: Final = 4  # times the slowest call without Redis: what else runs on this machine may cost
SILENCE_S: Final = 0.2  # after which a peer asks a Redis that may be frozen, and gives it up after as much again


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that is there may take as long as a busy machine needs, and is soon tried again."""
    monkeypatch.setattr(link, "COMMAND_S", 60.0)
    monkeypatch.setattr(link, "_LAST_RETRY_S", 0.5)
    monkeypatch.setattr(shared_cooldowns, "_APART_S", 60.0)


@pytest.fixture(scope="module")
def needs_redis(needs_program: Callable[..., Path]) -> Callable[[], Path]:
    """A function that returns redis-server, or skips the test."""
    return lambda: needs_program("redis-server", package="redis-server")


@pytest.fixture(params=["fake", "real"])
def cache(request: pytest.FixtureRequest) -> Iterator[FakeServer | RealServer]:
    """A Redis: a fake everywhere, a real one where it is installed."""
    running: FakeServer | RealServer
    running = FakeServer() if request.param == "fake" else RealServer(request.getfixturevalue("needs_redis")())
    yield running
    running.stop()


@pytest.fixture
def best_cache() -> Iterator[FakeServer | RealServer]:
    """The best Redis there is here."""
    running: FakeServer | RealServer = RealServer(Path(found)) if (found := which("redis-server")) else FakeServer()
    yield running
    running.stop()


@pytest.fixture
def real(needs_redis: Callable[[], Path]) -> Iterator[RealServer]:
    """A real Redis."""
    running = RealServer(needs_redis())
    yield running
    running.stop()


class Peer:
    """What one process holds: cooldowns, events, and the loop that shares them."""

    def __init__(
        self,
        port: int,
        *,
        url: str = "",
        offset_s: float = 0.0,
        cooldowns: Cooldowns | None = None,
        probe_s: float = 60.0,
    ) -> None:
        self.events = EventLog()
        self.cooldowns = cooldowns or Cooldowns(clock=lambda: time.time() + offset_s)
        self._loop = asyncio.new_event_loop()
        shared = SharedCooldowns(
            url=url or f"redis://127.0.0.1:{port}/0",
            cooldowns=self.cooldowns,
            bus=Bus(self.events),
            wall=lambda: time.time() + offset_s,
            probe_s=probe_s,
            first_retry_s=0.05,
        )
        self._task = self._loop.create_task(shared.run())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    def fails(self, identifier: str = MODEL) -> None:
        """See *identifier* answer 401."""
        self.cooldowns.add_failure(identifier, DOWN, LIMITS)

    def knows(self, identifier: str = MODEL) -> bool:
        """Tell whether *identifier* cools here."""
        return identifier in self.cooldowns.active()

    def attached(self, count: int = 1) -> None:
        """Wait until Redis was taken up for the *count*-th time."""
        self.events.wait_for(SharedCooldownsChanged, attached=True, count=count)

    def lost(self, count: int = 1) -> SharedCooldownsChanged:
        """Wait until Redis was given up for the *count*-th time."""
        return self.events.wait_for(SharedCooldownsChanged, attached=False, count=count)

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """A function that starts a peer; ended with the test."""
    made: list[Peer] = []

    def start(port: int, **options: Any) -> Peer:
        made.append(Peer(port, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


class _Watched:
    """Cooldowns whose `active` is another function."""

    def __init__(self, cooldowns: Cooldowns, active: Callable[[], Mapping[str, Cooldown]]) -> None:
        self._cooldowns, self.active = cooldowns, active

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cooldowns, name)


class HangUp:
    """A server that hangs up on every caller, and counts them."""

    def __init__(self) -> None:
        self.callers = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                caller.close()
                self.callers += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)


class TestSharing:
    def test_what_one_learns_the_other_knows(
        self, cache: FakeServer | RealServer, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """A cooldown begun here is known there, with its cause and its end."""
        one, other = peer(cache.port), peer(cache.port)
        one.attached()
        other.attached()
        one.fails()
        wait_until(other.knows)
        there, here = other.cooldowns.active()[MODEL], one.cooldowns.active()[MODEL]
        assert there.cause == DOWN
        assert there.ends_at == pytest.approx(here.ends_at, abs=TOLD_S)

    def test_newcomer_reads_what_was_learnt_before_it_came(
        self, cache: FakeServer | RealServer, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """A process that starts during an outage does not have to find out by itself."""
        one = peer(cache.port)
        one.attached()
        one.fails()
        with redis.Redis(port=cache.port) as client:
            wait_until(lambda: client.hexists(NAME, MODEL))
        late = peer(cache.port)
        late.attached()
        assert late.knows()

    def test_clocks_that_disagree_do_not_matter(
        self, cache: FakeServer | RealServer, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """A host whose clock is minutes off cools as long as the others."""
        one, off = peer(cache.port), peer(cache.port, offset_s=-300.0)
        one.attached()
        off.attached()
        one.fails()
        wait_until(off.knows)
        there, here = off.cooldowns.active()[MODEL], one.cooldowns.active()[MODEL]
        assert there.ends_at + 300 == pytest.approx(here.ends_at, abs=TOLD_S)

    def test_nonsense_in_redis_is_ignored(
        self, cache: FakeServer | RealServer, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """Whatever else stands in the hash or comes by the channel harms nobody, and sharing goes on."""
        now = time.time()
        for_ever = json.dumps({"began_at": now, "length_s": 1e9, "cause": "x", "status": 500})
        later = json.dumps({"began_at": now + 9_000, "length_s": 60, "cause": "x", "status": 500})
        endless = json.dumps({"began_at": now, "length_s": 60, "cause": "x", "status": math.inf})
        deep = "[" * 100_000
        with redis.Redis(port=cache.port) as client:
            for number, text in enumerate(["", "{", "[]", '{"began_at": null}', for_ever, later, endless, deep]):
                client.hset(NAME, f"nonsense/{number}", text)
            one = peer(cache.port)
            one.attached()
            for said in (b"", b"\n", b"a\nb", f"b\n{for_ever}".encode(), b"\xff\n\xff"):
                client.publish(NAME, said)
            good = json.dumps({"began_at": now, "length_s": 60, "cause": "Timeout", "status": 408})
            client.publish(NAME, f"{MODEL}\n{good}")
            wait_until(one.knows)
            assert set(one.cooldowns.active()) == {MODEL}
            assert client.hlen(NAME) == 0, "what is over, or never was, is swept out"

    def test_shorter_cooldown_of_another_does_not_end_a_longer_one(
        self, cache: FakeServer | RealServer, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """Of two cooldowns of one deployment the later end counts."""
        one, other = peer(cache.port), peer(cache.port)
        one.attached()
        other.attached()
        one.fails()
        wait_until(other.knows)
        before = one.cooldowns.active()[MODEL].ends_at
        other.cooldowns.adopt(MODEL, Cooldown(time.time(), 1.0, DOWN))
        other.fails("other/model#1")
        wait_until(lambda: one.knows("other/model#1"))
        assert one.cooldowns.active()[MODEL].ends_at == before


class TestRedisFails:
    def test_trouble_is_said_once_and_without_the_password(
        self, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """A Redis that does not serve costs one line in the log, however often it is tried; it says how calls go on."""
        with HangUp() as server:
            one = peer(server.port, url=f"redis://user:very-secret@127.0.0.1:{server.port}/0")
            event = one.lost()
            one.fails()
            assert one.knows(), "its own cooldowns are in force"
            tried = server.callers
            wait_until(lambda: server.callers >= tried + 5)
            assert len(one.events.of(SharedCooldownsChanged)) == 1
        assert event.problem is not None
        assert event.problem.code == "LR306"
        assert event.level == "warning"
        assert "very-secret" not in str(event.facts())
        assert f"127.0.0.1:{server.port}" in event.problem.message
        assert "Calls go on" in event.problem.hint

    def test_refused_is_said(self, peer: Callable[..., Peer]) -> None:
        """A port that nobody listens on is told as such."""
        with closing(ClosedPort()) as port:
            event = peer(port.number).lost()
        assert event.problem is not None
        assert "ConnectionError" in event.problem.message

    def test_killed_and_restarted_is_taken_up_again(
        self, real: RealServer, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """What was learnt while Redis was away is told when it is back, empty as it is."""
        one, other = peer(real.port), peer(real.port)
        one.attached()
        other.attached()
        real.kill()
        one.lost()
        other.lost()
        one.fails()
        assert not other.knows()
        real.start()
        one.attached(2)
        other.attached(2)
        wait_until(other.knows)
        assert [e.attached for e in one.events.of(SharedCooldownsChanged)] == [True, False, True]

    def test_what_begins_while_a_process_catches_up_is_told(
        self, cache: FakeServer | RealServer, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """A call fails as the connection is made anew, behind the look at what is active: the others hear of it."""
        one, other = Cooldowns(), peer(cache.port)
        other.attached()
        one.add_failure("early/model#1", DOWN, LIMITS)

        def active() -> Mapping[str, Cooldown]:
            found = one.active()
            one.add_failure(MODEL, DOWN, LIMITS)
            return found

        watched: Any = _Watched(one, active)
        peer(cache.port, cooldowns=watched).attached()
        wait_until(lambda: other.knows("early/model#1") and other.knows())

    def test_frozen_is_noticed_and_forgiven(
        self, real: RealServer, peer: Callable[..., Peer], wait_until: Callable[..., None]
    ) -> None:
        """A server that is stopped but not gone is given up within two probes, and taken up when it thaws."""
        one, other = peer(real.port, probe_s=SILENCE_S), peer(real.port, probe_s=SILENCE_S)
        one.attached()
        other.attached()
        real.process.send_signal(signal.SIGSTOP)
        one.lost()
        one.fails()
        real.process.send_signal(signal.SIGCONT)
        one.attached(2)
        wait_until(other.knows)

    def test_missing_package_is_said(self, peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the extra the event names the pip command, and calls go on."""
        monkeypatch.setitem(sys.modules, "redis.asyncio", None)
        event = peer(1).lost()
        assert event.problem is not None
        assert "pip install 'liverouter[redis]'" in event.problem.hint


@pytest.fixture(scope="module")
def standins() -> Iterator[tuple[StandIn, StandIn]]:
    """A primary and a fallback."""
    with StandIn("openai") as primary, StandIn("anthropic") as fallback:
        yield primary, fallback


class Awake:
    """A clock of the seconds in which this process ran: a stall of it, however long, counts as one tick."""

    _TICK_S: Final = 0.01
    _LONGEST_TICK_S: Final = 0.1

    def __init__(self) -> None:
        self.now = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(self._TICK_S):
            at = time.monotonic()
            self.now += min(at - last, self._LONGEST_TICK_S)
            last = at

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join(60)


class Calls:
    """A client whose cooldowns are shared, as an engine wires it, one whose are not, and what calls of both cost."""

    def __init__(self, standins: tuple[StandIn, StandIn], port: int) -> None:
        self.primary, fallback = standins
        for standin in standins:
            standin.heal()
        rows = {
            **DIALECTS["openai"].rows(self.primary),
            "llm_fallback_config": DIALECTS["anthropic"].entry(fallback),
            "litellm_allowed_fails": 1000,
            "litellm_enable": False,  # both engines share by the same code
        }
        secrets = {"openai_api_key": "sk-key", "spare": "sk-ant-key"}
        with ExitStack() as stack:
            stack.callback(self.primary.heal)
            self._alone, self._live = (stack.enter_context(MemoryRouter(rows, secrets=secrets)) for _ in range(2))
            for live in (self._alone, self._live):
                for _ in range(2):  # the first calls of both deployments load what their libraries load late
                    ask(live.chat_model())
                    self.primary.fail(Failure.BAD_REQUEST, times=1)
                self.primary.heal()
            self._clock = stack.enter_context(closing(Awake()))
            self.peer = stack.enter_context(closing(Peer(port, cooldowns=self._live.cooldowns, probe_s=SILENCE_S)))
            self._stack = stack.pop_all()

    def _timed(self, live: MemoryRouter) -> float:
        started = self._clock.now
        ask(live.chat_model())
        return self._clock.now - started

    def check(self, calls: int = 20) -> None:
        """Have *calls* succeed, half of them with the primary failing, none slower by Redis than allowed."""
        alone_s, took_s = [], []
        for number in range(calls):
            if number == calls // 2:
                self.primary.fail(Failure.UNAUTHORIZED)
            alone_s.append(self._timed(self._alone))  # in turn, so that both meet the same machine
            took_s.append(self._timed(self._live))
        assert max(took_s) < LONGEST_S
        assert statistics.median(took_s) < BUSY * max(alone_s) + BY_REDIS_S

    def close(self) -> None:
        """End it."""
        self._stack.close()


class TestCalls:
    def test_no_call_feels_that_redis_is_refused(self, standins: tuple[StandIn, StandIn]) -> None:
        """With nothing listening, calls go on as before."""
        with closing(ClosedPort()) as port, closing(Calls(standins, port.number)) as calls:
            calls.peer.lost()
            calls.check()

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
    def test_no_call_feels_that_redis_dies(
        self, standins: tuple[StandIn, StandIn], real: RealServer, how: signal.Signals
    ) -> None:
        """Killed or frozen under calls: none fails, none waits, the first one after it included."""
        with closing(Calls(standins, real.port)) as calls:
            calls.peer.attached()
            real.process.send_signal(how)
            calls.check()
            calls.peer.lost()
            calls.check()


OTHER_PROCESS: Final = """
import sys
from liverouter import LiveRouter
from liverouter.events import SharedCooldownsChanged
from liverouter.redis import link
from liverouter.routing import shared_cooldowns
from liverouter.testing import EventLog
link.COMMAND_S = shared_cooldowns._APART_S = 60.0  # on a busy machine
events = EventLog()
with LiveRouter(observers=(events,)) as live:
    model = live.chat_model()
    events.wait_for(SharedCooldownsChanged, attached=True, timeout_s=150)
    print("ready", flush=True)
    for line in sys.stdin:
        if line == "cooling\\n":
            print(len(live.generation().cooling), flush=True)
        else:
            print(model.invoke("hi").response_metadata["liverouter"]["role"], flush=True)
"""


class TestTwoProcesses:
    def test_second_process_does_not_try_what_the_first_saw_fail(
        self,
        dsn: str,
        best_cache: FakeServer | RealServer,
        standins: tuple[StandIn, StandIn],
        wait_until: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Two real processes on one database and one Redis: the 401 that one met, the other never sends for."""
        primary, fallback = standins
        _configure(dsn, primary, fallback)
        monkeypatch.setenv("LIVEROUTER_READY_TIMEOUT_S", "120")  # on a busy machine
        monkeypatch.setenv("LITELLM_ENABLE", "false")  # its import would cost seconds of CPU, and both engines share
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", dsn)
        monkeypatch.setenv("LIVEROUTER_REDIS_URL", f"redis://127.0.0.1:{best_cache.port}/0")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-key")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-key")
        command = [sys.executable, "-c", OTHER_PROCESS]
        events = EventLog()
        with (
            subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as other,
            LiveRouter(observers=(events,)) as live,
        ):
            events.wait_for(SharedCooldownsChanged, attached=True)
            assert _line(other) == "ready"
            assert _ask(other) == ask(live.chat_model()).response_metadata["liverouter"]["role"] == "primary"
            primary.fail(Failure.UNAUTHORIZED)
            hits = primary.hits
            assert ask(live.chat_model()).response_metadata["liverouter"]["role"] == "fallback"
            assert primary.hits == hits + 1
            wait_until(lambda: _ask(other, "cooling") == "1")
            assert _ask(other) == "fallback"
            assert primary.hits == hits + 1, "the second process did not try it"
            other.communicate(timeout=150)
        primary.heal()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _ask(process: subprocess.Popen[str], what: str = "call") -> str:
    assert process.stdin is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    return _line(process)


def _configure(dsn: str, primary: StandIn, fallback: StandIn) -> None:
    rows = {
        "llm_provider": "openai",
        "llm_model": "gpt-4o",
        "openai_api_base": primary.api_base,
        "anthropic_api_base": fallback.api_base,
        "llm_fallback_config": {"provider": "anthropic", "model": "claude-sonnet-4-6"},
        "litellm_cooldown_time": 3600,  # a busy machine may take minutes
    }
    with psycopg.connect(dsn) as db:
        for key, value in rows.items():
            db.execute("INSERT INTO liverouter.settings (key, value) VALUES (%s, %s)", [key, Jsonb(value)])


def test_url_that_is_no_redis_url_is_refused() -> None:
    """A wrong LIVEROUTER_REDIS_URL is an option that cannot be used, said at the start."""
    with pytest.raises(OptionsError, match="LIVEROUTER_REDIS_URL"):
        load({"LIVEROUTER_DATABASE_URL": "postgresql://a@b/c", "LIVEROUTER_REDIS_URL": "http://cache"})


@pytest.mark.parametrize("prefix", ["redis://default:", "rediss://:", "unix://default:", "redis://"])
@pytest.mark.parametrize(
    "password", ["Ab3kQ/x9zzz", "Ab3kQ?x9zzz", "Ab3kQ#x9zzz", "Ab3kQ[x9zzz", "4242/x9zzz", "4242?x9=zzz"]
)
def test_password_with_unescaped_characters_is_refused_and_not_repeated(prefix: str, password: str) -> None:
    """No piece of the password gets past the options, so none is taken for a host or a port and logged."""
    environ = {
        "LIVEROUTER_DATABASE_URL": "postgresql://a@b/c",
        "LIVEROUTER_REDIS_URL": f"{prefix}{password}@cache:6379/0",
    }
    with pytest.raises(OptionsError, match="%2F for /") as caught:
        load(environ)
    assert caught.value.where == "LIVEROUTER_REDIS_URL"
    for piece in ("Ab3kQ", "x9", "zzz", "4242"):
        assert piece not in repr(caught.value)


@pytest.mark.parametrize("host", ["cache:port", "cache:65536", "cache:0", "one:6379,two:6379"])
def test_redis_that_no_server_can_be_is_refused(host: str) -> None:
    """A port out of range, or several hosts, which Redis's client cannot ask."""
    with pytest.raises(OptionsError, match="the port from 1 to 65535"):
        load({"LIVEROUTER_DATABASE_URL": "postgresql://a@b/c", "LIVEROUTER_REDIS_URL": f"redis://{host}/0"})


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://default:p%40%2Fss@cache:6379/0",
        "rediss://:p@ss@[::1]:6379/0?socket_timeout=1",
        "unix:///run/redis@1/server.sock?db=2&password=a@b",
        "redis://cache?password=a%40b",
    ],
)
def test_redis_url_of_any_form_is_taken(url: str) -> None:
    """What Redis's own client reads is let through as it is."""
    found = load({"LIVEROUTER_DATABASE_URL": "postgresql://a@b/c", "LIVEROUTER_REDIS_URL": url})
    assert found.redis_url == url
    redis.Redis.from_url(url).connection_pool.make_connection()


class TestWords:
    @pytest.mark.parametrize(
        "option", ["x9zzz=1", "db=x9zzz", "ssl_cert_reqs=x9zzz", "protocol=9", "connection_class=x9zzz", "retry=x9zzz"]
    )
    def test_option_that_redis_does_not_take_is_said_without_it(self, peer: Callable[..., Peer], option: str) -> None:
        """One LR306 that says where to look, instead of a loop that fails for ever; no text of the URL is in it."""
        problem = peer(0, url=f"redis://default:Ab3kQ@127.0.0.1:1/0?{option}").lost().problem
        assert problem is not None
        assert (problem.code, problem.where) == ("LR306", "LIVEROUTER_REDIS_URL")
        assert "holds an option" in problem.message
        assert "x9zzz" not in str(problem)
        assert "Ab3kQ" not in str(problem)

    def test_server_that_repeats_the_password_is_not_repeated(self, peer: Callable[..., Peer]) -> None:
        """A Redis, or a proxy, that knows no AUTH answers with all that it was sent."""
        with Parrot() as server:
            one = peer(server.port, url=f"redis://default:Ab3kQ%2Fx9@127.0.0.1:{server.port}/0")
            problem = one.lost().problem
        assert problem is not None
        assert "unknown command" in problem.message
        assert "***" in problem.message
        assert "Ab3kQ" not in str(problem)


class Parrot(HangUp):
    """A server that knows no command, and repeats what it was asked."""

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                with caller:
                    words = caller.recv(4096).decode().split("\r\n")
                    told = " ".join(f"`{word}`" for word in words if word[:1] not in ("*", "$"))
                    caller.sendall(f"-ERR unknown command, with args beginning with: {told}\r\n".encode() * 3)

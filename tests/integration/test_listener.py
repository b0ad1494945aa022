"""The listener hears every notification while it can, and says why while it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from liverouter.bus import Bus
from liverouter.events import Event, ListenerConnected, ListenerDegraded, ListenerLost, ListenerProbed, ReloadRequested
from liverouter.loops.reload_requests import ReloadRequests
from liverouter.postgres.connection import connect
from liverouter.postgres.dsn import Dsn
from liverouter.postgres.listener import Listener
from liverouter.postgres.repository import SettingsRepository
from tests.kit.postgres.proxy import FaultProxy, error, is_config_notification
from tests.kit.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

E = TypeVar("E", bound=Event)
NAME = "liverouter-listen/test"
SESSIONS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
PATIENCE_S = 60.0  # for what a server that is there may take on a busy machine


class Ear:
    """A running listener, and what it did so far."""

    def __init__(self, dsn: str, **options: Any) -> None:
        self.events: list[Event] = []
        self.changes: list[str] = []
        self._news = asyncio.Event()
        usual = {"probe_interval_s": 0.1, "probe_timeout_s": PATIENCE_S, "connect_timeout_s": PATIENCE_S}
        self.listener = Listener(
            dsn=Dsn.parse(dsn),
            requests=ReloadRequests(Bus(self._requested)),
            bus=Bus(self._happened),
            application_name=NAME,
            **(usual | options),
        )
        self.task = asyncio.create_task(self.listener.run())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def _requested(self, event: Event) -> None:
        assert isinstance(event, ReloadRequested)
        self.changes.append(event.reason)
        self._news.set()

    def _happened(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of *kind* so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, reached: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until *reached* holds after an event or a change."""
        async with asyncio.timeout(timeout_s):
            while not reached():
                self._news.clear()
                await self._news.wait()

    async def until_event(self, kind: type[E], count: int = 1, timeout_s: float = 60.0) -> E:
        """Return the event of *kind* that is number *count* from the start."""
        await self.until(lambda: len(self.of(kind)) >= count, timeout_s)
        return self.of(kind)[count - 1]

    async def until_change(self, reason: str, count: int = 1) -> None:
        """Wait until a read was asked for *count* times for *reason*."""
        await self.until(lambda: self.changes.count(reason) >= count)

    def forget(self) -> None:
        """Start counting anew."""
        self.events.clear()
        self.changes.clear()

    def be_patient(self) -> None:
        """From now on give up nothing that a busy machine may take long for: neither a connect nor a probe."""
        listener = self.listener
        listener._connect_timeout_s = listener._probe_timeout_s = PATIENCE_S  # noqa: SLF001 - short until here, for a fault
        if listener._session is not None:  # noqa: SLF001
            listener._session._query_timeout_s = PATIENCE_S  # noqa: SLF001


class Longest(random.Random):
    """Draws the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        """Return the longest wait that the backoff allows."""
        return max(a, b)


async def _is_none(count: Awaitable[int]) -> bool:
    return await count == 0


@pytest.fixture(scope="module")
def dsn(new_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[str]:
    """The URL of one database for all tests: who listens leaves nothing in it."""
    with new_database("listener") as url:
        yield url


@pytest.fixture
async def admin(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of somebody else's to the same database."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
def proxy(dsn: str) -> Iterator[FaultProxy]:
    """A proxy before the database."""
    with FaultProxy(dsn) as running:
        yield running


@pytest.mark.servers("embedded", "debian")
class TestListen:
    async def test_connect_is_proved_and_asks_for_a_read(self, dsn: str, admin: asyncpg.Connection) -> None:
        """Once LISTEN is in force a read is asked for, so that nothing committed before it is missed."""
        async with Ear(dsn, probe_interval_s=60) as ear:  # no probe is at work when the server is asked
            connected = await ear.until_event(ListenerConnected)
            await ear.until_change("listening")
            query = f"SELECT state {SESSIONS} AND pid = $2"
            assert await admin.fetchval(query, NAME, connected.backend_pid) == "idle"
            assert ear.listener.backend_pid == connected.backend_pid
            assert (ear.listener.mode, ear.listener.cause, ear.listener.healthy) == ("listen", None, True)

    @pytest.mark.parametrize("payload", ["", "7", "-1", "\u2603 '; DROP TABLE x; --", "x" * 7999])
    async def test_any_payload_asks_for_a_read(self, dsn: str, admin: asyncpg.Connection, payload: str) -> None:
        """A payload is a hint that nobody reads: forged or garbage, it costs one read."""
        async with Ear(dsn) as ear:
            await ear.until_event(ListenerConnected)
            await admin.execute("SELECT pg_notify('liverouter', $1)", payload)
            await ear.until_change("notification")
            assert not ear.of(ListenerLost)

    async def test_a_committed_write_is_heard_and_a_rolled_back_one_is_not(
        self, dsn: str, admin: asyncpg.Connection
    ) -> None:
        """The database's own trigger notifies at commit."""
        async with Ear(dsn) as ear:
            await ear.until_event(ListenerConnected)
            with contextlib.suppress(ZeroDivisionError):
                async with admin.transaction():
                    await admin.execute("INSERT INTO liverouter.settings(key, value) VALUES ('llm_model', '\"a\"')")
                    raise ZeroDivisionError
            await admin.execute("INSERT INTO liverouter.settings(key, value) VALUES ('llm_model', '\"b\"')")
            await ear.until_change("notification")
            await ear.until_event(ListenerProbed, 2)
            assert ear.changes.count("notification") == 1

    async def test_probes_go_on_without_a_change(self, dsn: str) -> None:
        """A probe that is answered says so, and asks for nothing."""
        async with Ear(dsn) as ear:
            await ear.until_event(ListenerProbed, 3)
            assert ear.changes == ["listening"]

    async def test_the_socket_keeps_itself_alive(self, dsn: str) -> None:
        """The kernel notices a peer that vanished, without any probe of ours."""
        connection = await connect(Dsn.parse(dsn), application_name=NAME, timeout_s=PATIENCE_S)
        try:
            sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001 - asyncpg shows it nowhere else
            found = {
                name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            }
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert found == {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
        finally:
            connection.terminate()

    async def test_a_connect_that_is_given_up_leaves_no_complaint(self) -> None:
        """Whichever step of it a timeout ends, a process that stood still among them, asyncio has nothing to report."""
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
        with socket.create_server(("127.0.0.1", 0)) as mute:
            dsn = Dsn.parse(f"postgresql://u:p@127.0.0.1:{mute.getsockname()[1]}/d")
            for steps in range(30):
                task = asyncio.create_task(connect(dsn, application_name=NAME, timeout_s=PATIENCE_S))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.sleep(0)
        gc.collect()
        assert reported == []

    async def test_timeouts_set_on_the_role_do_not_end_it(self, dsn: str, admin: asyncpg.Connection) -> None:
        """Idle, statement and lock timeouts that a role carries do not apply to a session that only listens."""
        await admin.execute("""
            CREATE ROLE hasty LOGIN PASSWORD 'x';
            ALTER ROLE hasty SET idle_session_timeout = '20ms';
            ALTER ROLE hasty SET statement_timeout = '1ms';
            ALTER ROLE hasty SET lock_timeout = '1ms';
        """)
        try:
            hasty = f"postgresql://hasty:x@{dsn.partition('@')[2]}"
            async with Ear(hasty, probe_interval_s=0.3) as ear:
                await ear.until_event(ListenerProbed, 3)
                assert len(ear.of(ListenerConnected)) == 1
                assert not ear.of(ListenerLost)
        finally:
            await admin.execute("DROP ROLE hasty")


@pytest.mark.servers("embedded", "debian")
class TestLoss:
    async def test_terminated_backend_is_replaced_and_asks_for_a_read(
        self, dsn: str, admin: asyncpg.Connection
    ) -> None:
        """The end of the connection is noticed at once, told once, and followed by a new one and a read."""
        async with Ear(dsn, probe_interval_s=30) as ear:
            first = await ear.until_event(ListenerConnected)
            ear.forget()
            await admin.execute("SELECT pg_terminate_backend($1)", first.backend_pid)
            lost = await ear.until_event(ListenerLost)
            second = await ear.until_event(ListenerConnected)
            assert (lost.cause, lost.attempt) == ("unreachable", 1)
            assert lost.retry_in_s <= 0.2
            assert second.backend_pid != first.backend_pid
            assert second.reconnects == ear.listener.reconnects == 1
            assert ear.changes == ["notifications do not arrive: unreachable", "listening"]

    async def test_black_hole_is_named_half_open_and_made_again(self, proxy: FaultProxy) -> None:
        """Two unanswered probes end a connection that looks open; from the first on, polling is asked for."""
        async with Ear(proxy.dsn, probe_timeout_s=0.5) as ear:
            await ear.until_event(ListenerProbed)
            ear.forget()  # a probe that took longer, on a busy machine
            proxy.black_hole()
            degraded = await ear.until_event(ListenerDegraded)
            assert degraded.cause == "half_open"
            assert degraded.problem is not None
            assert degraded.problem.code == "LR210"
            assert not ear.listener.healthy
            assert "notifications do not arrive: half_open" in ear.changes
            await ear.until_event(ListenerLost)
            ear.be_patient()
            proxy.heal()
            await ear.until_event(ListenerConnected)

    async def test_answer_after_one_missed_probe_keeps_the_connection(self, proxy: FaultProxy) -> None:
        """A pause shorter than two probes costs no reconnect, but a read."""
        async with Ear(proxy.dsn, probe_timeout_s=1.0) as ear:
            await ear.until_event(ListenerProbed)
            pid, reconnects = ear.listener.backend_pid, ear.listener.reconnects
            ear.forget()
            proxy.black_hole()
            await ear.until_event(ListenerDegraded)
            ear.be_patient()
            proxy.heal()
            again = await ear.until_event(ListenerConnected)
            assert (again.backend_pid, again.reconnects) == (pid, reconnects)
            await ear.until_change("the listening connection answers again")

    @pytest.mark.parametrize("fault", ["reset", "half_close"])
    async def test_broken_connection_is_replaced(self, proxy: FaultProxy, fault: str) -> None:
        """RST and FIN are noticed at once, not by the next probe."""
        async with Ear(proxy.dsn, probe_interval_s=30) as ear:
            await ear.until_event(ListenerConnected)
            getattr(proxy, fault)()
            await ear.until_event(ListenerLost)
            await ear.until_event(ListenerConnected, 2)

    async def test_slow_and_split_frames_are_understood(self, proxy: FaultProxy, admin: asyncpg.Connection) -> None:
        """A notification that arrives byte by byte is a notification."""
        proxy.split(7, 0.001)
        async with Ear(proxy.dsn) as ear:
            await ear.until_event(ListenerProbed)
            await admin.execute("SELECT pg_notify('liverouter', '1')")
            await ear.until_change("notification")
            assert not ear.of(ListenerLost)


class TestBackoff:
    async def test_refused_connections_are_retried_ever_more_seldom(self, proxy: FaultProxy) -> None:
        """A server that is down costs a few attempts and one line, not thirty thousand."""
        async with Ear(proxy.dsn) as ear:
            await ear.until_event(ListenerConnected)
            proxy.refuse_new()
            proxy.reset()
            await ear.until_event(ListenerLost)
            with pytest.raises(TimeoutError):
                await ear.until_event(ListenerConnected, 2, timeout_s=2)
            assert len(ear.of(ListenerLost)) == 1
            proxy.heal()
            await ear.until_event(ListenerConnected, 2, timeout_s=60)

    async def test_connection_that_breaks_at_once_backs_off_too(self, proxy: FaultProxy) -> None:
        """A connection that dies right after LISTEN is no success that resets the backoff."""
        async with Ear(proxy.dsn, probe_interval_s=3600, rng=Longest()) as ear:  # no probe begins the count anew
            for count in range(1, 4):
                await ear.until_event(ListenerConnected, count)
                proxy.reset()
                await ear.until_event(ListenerLost, count)
            assert [event.retry_in_s for event in ear.of(ListenerLost)] == [0.2, 0.4, 0.8]

    async def test_connection_that_is_gone_is_not_lent(self, dsn: str) -> None:
        """Whoever asks for it before the listener has noticed gets none, and no error."""
        async with Ear(dsn, probe_interval_s=30) as ear:
            await ear.until_event(ListenerConnected)
            async with ear.listener.lend() as connection:
                assert connection is not None
            connection.terminate()
            async with ear.listener.lend() as connection:
                assert connection is None

    async def test_lent_connection_keeps_its_plans(self, dsn: str) -> None:
        """A read is planned once; a migration that changes what it returns, or a DEALLOCATE, has it planned anew."""
        kept = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'liverouter_%' AND statement LIKE $1"
        async with Ear(dsn, probe_interval_s=30) as ear:
            await ear.until_event(ListenerConnected)
            reader = SettingsRepository(url=dsn, lender=ear.listener)
            for _ in range(3):
                await reader.read()
            async with ear.listener.lend() as connection:
                assert connection is not None
                assert await connection.fetchval(kept, "%guarded%") == 1
                await connection.execute("CREATE TEMPORARY TABLE changing AS SELECT 1 AS a")
                assert [dict(row) for row in await connection.rows("TABLE changing")] == [{"a": 1}]
                await connection.execute("ALTER TABLE changing ADD COLUMN b text DEFAULT 'x'")
                assert [dict(row) for row in await connection.rows("TABLE changing")] == [{"a": 1, "b": "x"}]
                await connection.execute("DEALLOCATE ALL")
                assert len(await connection.rows("TABLE changing")) == 1
            await reader.read()

    async def test_server_that_is_away_is_tried_often(self, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        """However long it has been away, so that a whole fleet listens again soon after a restart."""
        monkeypatch.setattr("liverouter.postgres.listener._UNREACHED_RETRY_S", 0.02)
        monkeypatch.setattr("liverouter.postgres.listener._SAY_AGAIN_S", 0.0)
        async with Ear(proxy.dsn, probe_interval_s=30, rng=Longest()) as ear:
            await ear.until_event(ListenerConnected)
            proxy.refuse_new()
            proxy.reset()
            await ear.until_event(ListenerLost, 5)
            assert max(event.retry_in_s for event in ear.of(ListenerLost)) < 0.03

    async def test_server_without_a_connection_left_is_tried_often(
        self, login: Callable[..., str], admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fleet that comes back at one moment takes them all: who got none has one soon after others end theirs."""
        monkeypatch.setattr("liverouter.postgres.listener._FIRST_RETRY_S", 2 * PATIENCE_S)
        monkeypatch.setattr("liverouter.postgres.listener._LAST_RETRY_S", 2 * PATIENCE_S)
        monkeypatch.setattr("liverouter.postgres.listener._UNREACHED_RETRY_S", 0.02)
        url = login("liverouter_client", rights="CONNECTION LIMIT 0")
        async with Ear(url, rng=Longest()) as ear:
            degraded = await ear.until_event(ListenerDegraded)
            assert (degraded.cause, degraded.problem and degraded.problem.code) == ("refused", "LR201")
            await admin.execute(f"ALTER ROLE {urlsplit(url).username} CONNECTION LIMIT 5")
            await ear.until_event(ListenerConnected)

    async def test_hanging_connect_ends_by_its_timeout(self, proxy: FaultProxy) -> None:
        """A server that accepts and says nothing is given up after the timeout, and named."""
        proxy.hang_new()
        async with Ear(proxy.dsn, connect_timeout_s=0.3) as ear:
            lost = await ear.until_event(ListenerLost)
            assert lost.cause == "unreachable"
            assert lost.problem is not None
            assert lost.problem.code == "LR201"
            ear.be_patient()
            proxy.heal()
            await ear.until_event(ListenerConnected)

    async def test_refused_login_is_named(self, dsn: str) -> None:
        """A wrong password is 'refused', with what to check, and no password in it."""
        wrong = f"postgresql://postgres:not-the-one@{dsn.partition('@')[2]}"
        async with Ear(wrong) as ear:
            degraded = await ear.until_event(ListenerDegraded)
            assert degraded.cause == ear.listener.cause == "refused"
            assert degraded.problem is not None
            assert degraded.problem.code == "LR202"
            assert "not-the-one" not in str(degraded)


@pytest.mark.servers("embedded", "debian")
class TestServerFaults:
    async def test_listen_that_fails_on_a_frozen_transaction_is_tried_again_behind_a_moved_tail(
        self, proxy: FaultProxy
    ) -> None:
        """LISTEN can fail on a queue tail that names a frozen transaction: asking for the usage mends it."""
        asked: list[bytes] = []

        def fail_until_asked_twice(frame: bytes) -> bytes | None:
            if b"pg_notification_queue_usage" in frame and frame[:1] == b"P":
                asked.append(frame)
            if b'LISTEN "liverouter"' in frame and not ear.of(ListenerDegraded):
                return error("58P01", "could not access status of transaction 1234")
            return None

        proxy.answer(fail_until_asked_twice)
        async with Ear(proxy.dsn, probe_interval_s=30) as ear:
            degraded = await ear.until_event(ListenerDegraded)
            assert degraded.cause == "refused"
            await ear.until_event(ListenerConnected)
            assert len(asked) >= 2

    async def test_lost_notification_on_its_own_channel_is_not_taken_for_listening(self, proxy: FaultProxy) -> None:
        """Where the self-notification does not come back, the listener does not claim to listen."""
        proxy.rewrite(lambda frame: [] if frame[:1] == b"A" else [frame])
        async with Ear(proxy.dsn, probe_timeout_s=0.3) as ear:
            lost = await ear.until_event(ListenerLost)
            assert lost.cause == "unreachable"
            assert not ear.listener.healthy
            ear.be_patient()
            proxy.heal()
            await ear.until_event(ListenerConnected)

    async def test_doubled_notification_asks_twice(self, proxy: FaultProxy, admin: asyncpg.Connection) -> None:
        """Doubling costs a request, which the reloader folds into one read."""
        proxy.rewrite(lambda frame: [frame, frame] if is_config_notification(frame) else [frame])
        async with Ear(proxy.dsn) as ear:
            await ear.until_event(ListenerConnected)
            await admin.execute("SELECT pg_notify('liverouter', '1')")
            await ear.until_change("notification", 2)


class TestEnd:
    async def test_cancel_while_listening_leaves_nothing(self, proxy: FaultProxy, admin: asyncpg.Connection) -> None:
        """No task and no connection outlives `run`."""
        before = asyncio.all_tasks()
        async with Ear(proxy.dsn) as ear:
            await ear.until_event(ListenerProbed)
        assert asyncio.all_tasks() == before
        assert ear.listener.backend_pid is None
        count = f"SELECT count(*) {SESSIONS}"
        await until_async(lambda: _is_none(admin.fetchval(count, NAME)))

    @pytest.mark.parametrize("stage", ["connect", "LISTEN", "NOTIFY", "pg_listening_channels"])
    async def test_cancel_at_any_stage_leaves_nothing(self, proxy: FaultProxy, stage: str) -> None:
        """Cancelling in the middle of the dial, of LISTEN, of the proof or of a probe ends just as clean."""
        before = asyncio.all_tasks()
        if stage == "connect":
            proxy.hang_new()
        else:
            proxy.hold(stage.encode())
        async with Ear(proxy.dsn):
            await until_async(lambda: proxy.is_holding or (stage == "connect" and proxy.open_connections))
        assert asyncio.all_tasks() == before
        proxy.release()
        await until_async(lambda: not proxy.open_connections)


class TestHosts:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("postgresql://u:p@h/d", ["postgresql://u:p@h/d"]),
            (
                "postgresql://u:p@h1:1,h2/d?sslmode=disable",
                [
                    "postgresql://u:p@h1:1/d?sslmode=disable",
                    "postgresql://u:p@h2/d?sslmode=disable",
                ],
            ),
            ("postgresql://u:p%40@[::1]:1,h2:2/d", ["postgresql://u:p%40@[::1]:1/d", "postgresql://u:p%40@h2:2/d"]),
            (
                "postgresql:///d?host=h1,h2&port=1,2",
                [
                    "postgresql:///d?host=h1&port=1",
                    "postgresql:///d?host=h2&port=2",
                ],
            ),
            (
                "postgresql:///d?host=h1,h2&port=7",
                [
                    "postgresql:///d?host=h1&port=7",
                    "postgresql:///d?host=h2&port=7",
                ],
            ),
            ("postgresql:///d?host=/run/pg", ["postgresql:///d?host=/run/pg"]),
            ("postgresql:///d", ["postgresql:///d"]),
        ],
    )
    def test_dsn_is_split_by_host(self, given: str, expected: list[str]) -> None:
        """Every host of a DSN becomes a DSN of its own, with everything else kept."""
        assert list(Dsn.parse(given).per_host()) == expected

    async def test_hanging_host_costs_its_timeout_and_the_next_serves(self, dsn: str, proxy: FaultProxy) -> None:
        """A first host that swallows packets does not keep the listener from the second."""
        proxy.hang_new()
        login, _, rest = dsn.partition("@")
        hosts, _, name = rest.partition("/")
        # The second host has no more time than the first: as long as a busy machine may take.
        async with Ear(f"{login}@127.0.0.1:{proxy.port},{hosts}/{name}", connect_timeout_s=5.0) as ear:
            await ear.until_event(ListenerConnected)
            assert not ear.of(ListenerLost)

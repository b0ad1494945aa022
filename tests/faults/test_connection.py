"""Between the client and PostgreSQL: connections that end, hang, lie and go through a pooler."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from liverouter import State
from liverouter.events import (
    ConfigApplied,
    ListenerConnected,
    ListenerDegraded,
    ListenerLost,
    ListenerProbed,
    ReloadRequested,
)
from tests.faults.bounds import (
    AT_ONCE,
    CONNECT_HANGS,
    MISSED_PROBE,
    POLLED,
    POLLED_KNOWINGLY,
    READ_HANGS,
    RECONNECTED,
    ROOM_S,
    SLOW_LINE,
)
from tests.kit.follower import UNPOLLED, Follower
from tests.kit.postgres.pgbouncer import PgBouncer
from tests.kit.postgres.proxy import is_config_notification, notification
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kit.admin import Admin
    from tests.kit.postgres.proxy import FaultProxy

pytestmark = pytest.mark.usefixtures("native")  # nothing here depends on the engine

PROBED = {"probe_interval_s": 0.5}
HALF_OPEN_S = 2 * (0.6 + 2.0) + ROOM_S  # two probes and their timeouts


@pytest.mark.servers("embedded", "debian")
class TestEnded:
    def test_listener_backend_terminated(self, admin: Admin) -> None:
        """An admin ends the listening session: it is won back at once, and a write meanwhile is not missed."""
        with Follower(admin, **UNPOLLED) as follower:
            pid = follower.events.wait_for(ListenerConnected).backend_pid
            admin.execute("SELECT pg_terminate_backend(%s)", pid)
            revision = admin.set(llm_model="while-away")
            follower.events.wait_for(ListenerLost)
            follower.applies(revision, within_s=RECONNECTED.limit)
            assert follower.events.wait_for(ListenerConnected, count=2).reconnects == 1
            follower.applies(admin.set(llm_model="after"), within_s=AT_ONCE.limit)
            follower.load.serve("after")

    def test_every_backend_terminated(self, admin: Admin) -> None:
        """All sessions of the client end, the pooled ones too: nobody notices but the log."""
        with Follower(admin, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'liverouter%%' AND datname = current_database()"
            )
            follower.applies(admin.set(llm_model="after"), within_s=RECONNECTED.limit)
            follower.events.wait_for(ListenerConnected, count=2)
            follower.until_status(state=State.LIVE)

    @pytest.mark.parametrize("fault", ["reset", "half_close"])
    def test_connection_broken(self, admin: Admin, proxy: FaultProxy, fault: str) -> None:
        """RST and half-closed connections are replaced, and what was written meanwhile is applied."""
        with Follower(admin, proxy.dsn, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            getattr(proxy, fault)()
            revision = admin.set(llm_model="while-away")
            follower.applies(revision, within_s=RECONNECTED.limit)
            follower.events.wait_for(ListenerConnected, count=2)
            follower.until_status(state=State.LIVE, mode="listen")

    def test_write_in_the_reconnect_gap(self, admin: Admin, proxy: FaultProxy) -> None:
        """What is committed while no LISTEN is in force is read once it is."""
        with Follower(admin, proxy.dsn, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.hold(b"LISTEN")
            admin.execute("SELECT pg_terminate_backend(%s)", follower.status.backend_pid)
            until(lambda: proxy.is_holding)
            revision = admin.set(llm_model="in-the-gap")
            proxy.release()
            follower.events.wait_for(ReloadRequested, reason="listening", count=2)  # not left to the next poll
            follower.applies(revision, within_s=AT_ONCE.limit)

    @pytest.mark.parametrize("reads_on", ["the listening connection", "another"])
    def test_write_during_a_read(self, admin: Admin, proxy: FaultProxy, reads_on: str) -> None:
        """A commit that a read in progress cannot see any more is announced to a later one: no wake-up is lost."""
        direct: dict[str, Any] = {"listen_url": admin.dsn} if reads_on == "another" else {}
        with Follower(admin, proxy.dsn, **UNPOLLED, **direct) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.hold(b"llm_model")  # the rows on their way to the client
            follower.live.reload()
            until(lambda: proxy.is_holding)
            revision = admin.set(llm_model="just-too-late")
            if direct:
                follower.events.wait_for(ReloadRequested, reason="notification")
            proxy.release()
            follower.events.wait_for(ReloadRequested, reason="notification")
            follower.applies(revision, within_s=AT_ONCE.limit)

    def test_write_between_listen_and_read(self, admin: Admin, proxy: FaultProxy) -> None:
        """A commit after LISTEN is in force, too late for the read that follows it, is heard and read as well."""
        with Follower(admin, proxy.dsn, listen_url=admin.dsn, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.hold(b"llm_model")
            admin.execute("SELECT pg_terminate_backend(%s)", follower.status.backend_pid)
            follower.events.wait_for(ListenerConnected, count=2)
            until(lambda: proxy.is_holding)
            revision = admin.set(llm_model="just-too-late")
            follower.events.wait_for(ReloadRequested, reason="notification")
            proxy.release()
            follower.applies(revision, within_s=AT_ONCE.limit)


class TestSilent:
    @pytest.mark.usefixtures("prompt_probes")
    def test_black_hole(self, admin: Admin, proxy: FaultProxy) -> None:
        """Packets vanish: calls go on, the state says so, and the newest revision is live soon after it ends."""
        # unpolled, so that no read hangs before the first probe does, and its failure hides what the probe says
        with Follower(admin, proxy.dsn, **UNPOLLED | PROBED) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.black_hole()
            revision = admin.set(llm_model="unheard")
            follower.events.wait_for(ListenerDegraded, cause="half_open", timeout_s=HALF_OPEN_S)
            follower.until_status(mode="poll_only")
            follower.load.go_on()
            follower.until_stale("LR201")
            assert not follower.events.of(ConfigApplied, revision=revision)
            proxy.heal()
            follower.applies(revision, within_s=READ_HANGS.limit)
            follower.until_status(state=State.LIVE, timeout_s=60)

    @pytest.mark.usefixtures("prompt_probes")
    def test_listening_connection_alone_goes_dead(self, admin: Admin, proxy: FaultProxy) -> None:
        """Only the listening connection is dead: at the first missed probe polling takes over, then it is replaced."""
        with Follower(admin, listen_url=proxy.dsn, **UNPOLLED | PROBED) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.black_hole()
            follower.applies(admin.set(llm_model="polled"), within_s=MISSED_PROBE.limit)
            follower.events.wait_for(ListenerDegraded, cause="half_open", timeout_s=HALF_OPEN_S)
            follower.until_status(mode="poll_only", state=State.POLL_ONLY)
            proxy.heal()
            follower.events.wait_for(ListenerConnected, count=2, timeout_s=60)
            follower.until_status(state=State.LIVE)

    def test_new_connections_hang(self, admin: Admin, proxy: FaultProxy) -> None:
        """The connection is lost, and the server accepts new ones and says nothing: calls go on, and it heals."""
        with Follower(admin, proxy.dsn) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.hang_new()
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'liverouter%%' AND datname = current_database()"
            )
            follower.events.wait_for(ListenerLost)
            revision = admin.set(llm_model="unread")
            follower.until_stale("LR201")
            follower.load.go_on()
            assert not follower.events.of(ConfigApplied, revision=revision)
            proxy.heal()
            follower.applies(revision, within_s=CONNECT_HANGS.limit)
            follower.until_status(state=State.LIVE, timeout_s=60)

    def test_slow_and_split_frames(self, admin: Admin, proxy: FaultProxy) -> None:
        """A line that passes a few bytes at a time is slow, and nothing else."""
        with Follower(admin, proxy.dsn) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.split(20, 0.005)
            follower.applies(admin.set(llm_model="dribbled"), within_s=SLOW_LINE.limit)
            follower.events.wait_for(ListenerProbed, count=len(follower.events.of(ListenerProbed)) + 3)
            assert not follower.events.of(ListenerLost)
            assert not follower.events.of(ListenerDegraded)


@pytest.mark.servers("embedded", "debian")
class TestNotifications:
    @pytest.mark.parametrize("net", ["poll", "heartbeat"])
    def test_lost(self, admin: Admin, proxy: FaultProxy, net: str) -> None:
        """A notification that never comes costs one poll interval; the answer to a heartbeat tells of it, too."""
        interval = {"poll": "poll_interval_s", "heartbeat": "heartbeat_interval_s"}[net]
        with Follower(admin, proxy.dsn, **UNPOLLED | {interval: 1.0}) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.rewrite(lambda frame: [] if is_config_notification(frame) else [frame])
            follower.applies(admin.set(llm_model="unannounced"), within_s=POLLED.limit)
            assert not follower.events.of(ReloadRequested, reason="notification")

    def test_doubled_forged_and_garbage(self, admin: Admin, proxy: FaultProxy) -> None:
        """Notifications that say nothing true cost reads, never a rebuild, and never a wrong revision."""
        forged = [notification("liverouter", p) for p in ("999999", "-1", "", "x" * 7999, "\u2603", "{}")]
        with Follower(admin, proxy.dsn, **UNPOLLED) as follower:
            follower.events.wait_for(ListenerConnected)
            proxy.rewrite(lambda frame: [frame, frame, *forged] if is_config_notification(frame) else [frame])
            revision = admin.set(llm_model="true")
            follower.applies(revision, within_s=AT_ONCE.limit)
            for payload in ("31337", "garbage", ""):
                admin.execute("SELECT pg_notify('liverouter', %s)", payload)
            follower.events.wait_for(ReloadRequested, reason="notification", count=4 * 8)
            follower.applies(admin.set(llm_model="last"), within_s=AT_ONCE.limit)
            assert [e.revision for e in follower.events.of(ConfigApplied)] == [revision - 1, revision, revision + 1]

    def test_stranger_may_forge_but_not_harm(self, admin: Admin) -> None:
        """Any role of the database may NOTIFY: it costs a read."""
        stranger = f"stranger_{os.getpid()}"
        admin.execute(f"CREATE ROLE {stranger} LOGIN PASSWORD 'x'")
        try:
            with Follower(admin, **UNPOLLED) as follower:
                follower.events.wait_for(ListenerConnected)
                with psycopg.connect(
                    f"postgresql://{stranger}:x@{admin.dsn.partition('@')[2]}", autocommit=True
                ) as forger:
                    for revision in range(100):
                        forger.execute("SELECT pg_notify('liverouter', %s)", (str(revision),))
                follower.events.wait_for(ReloadRequested, reason="notification", count=100)
                follower.load.go_on()
                assert len(follower.events.of(ConfigApplied)) == 1
                follower.applies(admin.set(llm_model="true"), within_s=AT_ONCE.limit)
        finally:
            admin.execute(f"DROP ROLE {stranger}")


class TestPooler:
    @pytest.mark.usefixtures("prompt_probes")
    def test_transaction_pooler(self, admin: Admin, needs_program: Callable[..., Path]) -> None:
        """Behind a transaction pooler notifications do not arrive: that is named, and polling follows every change."""
        with (
            PgBouncer(needs_program("pgbouncer", package="pgbouncer"), admin.dsn, "transaction") as pooler,
            Follower(admin, pooler.dsn) as follower,
        ):
            degraded = follower.events.wait_for(ListenerDegraded, cause="pooler", timeout_s=60)
            assert degraded.problem is not None
            assert degraded.problem.where == "LIVEROUTER_LISTEN_URL"
            follower.until_status(state=State.POLL_ONLY, mode_cause="pooler")
            for model in ("one", "two", "three"):
                follower.applies(admin.set(llm_model=model), within_s=POLLED_KNOWINGLY.limit)
            assert not follower.events.of(ListenerConnected)

    def test_direct_listen_url_beside_a_pooler(self, admin: Admin, needs_program: Callable[..., Path]) -> None:
        """With LIVEROUTER_LISTEN_URL naming a direct connection, a pooler in front of the rest does not matter."""
        with (
            PgBouncer(needs_program("pgbouncer", package="pgbouncer"), admin.dsn, "transaction") as pooler,
            Follower(admin, pooler.dsn, listen_url=admin.dsn, **UNPOLLED) as follower,
        ):
            follower.events.wait_for(ListenerConnected)
            follower.until_status(state=State.LIVE)
            follower.applies(admin.set(llm_model="announced"), within_s=AT_ONCE.limit)

    def test_session_pooler(self, admin: Admin, needs_program: Callable[..., Path]) -> None:
        """A pooler in session mode passes notifications on, so it counts as listening."""
        with (
            PgBouncer(needs_program("pgbouncer", package="pgbouncer"), admin.dsn, "session") as pooler,
            Follower(admin, pooler.dsn, **UNPOLLED) as follower,
        ):
            follower.events.wait_for(ListenerConnected)
            follower.applies(admin.set(llm_model="announced"), within_s=AT_ONCE.limit)
            assert not follower.events.of(ListenerDegraded)

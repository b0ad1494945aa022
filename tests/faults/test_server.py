"""The server itself: killed, stopped, frozen, full, replaced by its standby, restored from a backup."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from liverouter import LiveRouter, State
from liverouter.events import ListenerConnected, ListenerDegraded, ListenerLost
from liverouter.postgres.listener import Listener
from tests.faults.bounds import AT_ONCE, LISTEN_S, MOVED, POLLED_KNOWINGLY, PROMOTED, READ_HANGS, RETRIED
from tests.kit.follower import QUICK, UNPOLLED, Follower
from tests.kit.postgres.cluster import Cluster, follows
from tests.kit.postgres.proxy import FaultProxy
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kit.admin import Admin
    from tests.kit.postgres.cluster import Seed

    MakeAdmin = Callable[[str], Admin]

pytestmark = pytest.mark.usefixtures("native")  # nothing here depends on the engine


class TestDown:
    def test_backend_killed(self, cluster: Cluster, make_admin: MakeAdmin) -> None:
        """Kill -9 of any backend resets every connection: it is back within the server's own recovery."""
        admin = make_admin(cluster.dsn)
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            os.kill(admin.connection.info.backend_pid, signal.SIGKILL)
            follower.events.wait_for(ListenerLost)
            follower.load.go_on()
            until(lambda: _answers(cluster))
            admin.reconnect()
            follower.applies(admin.set(llm_model="after"), within_s=RETRIED.limit)
            follower.until_status(state=State.LIVE, timeout_s=LISTEN_S)

    def test_server_stopped_and_started(self, cluster: Cluster, make_admin: MakeAdmin) -> None:
        """While it is down calls go on and the state says what is wrong; back up, everything is as before."""
        admin = make_admin(cluster.dsn)
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            revision = admin.set(llm_model="before")
            follower.applies(revision, within_s=AT_ONCE.limit)
            cluster.stop()
            follower.until_stale("LR201")
            assert follower.status.revision == revision
            follower.load.go_on()
            cluster.start()
            admin.reconnect()
            follower.applies(admin.set(llm_model="after"), within_s=RETRIED.limit)
            status = follower.until_status(state=State.LIVE, timeout_s=LISTEN_S)
            assert status.last_error is None
            follower.reports(state="live", mode="listen", error_code=None)

    def test_server_crashed(self, cluster: Cluster, make_admin: MakeAdmin) -> None:
        """The same after a power cut."""
        admin = make_admin(cluster.dsn)
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            cluster.crash()
            follower.until_status(state=State.STALE)
            follower.load.go_on()
            cluster.start()
            admin.reconnect()
            follower.applies(admin.set(llm_model="after"), within_s=RETRIED.limit)

    @pytest.mark.usefixtures("prompt_probes")
    def test_server_frozen(self, cluster: Cluster, make_admin: MakeAdmin) -> None:
        """Every process of the server is stopped: connections stay open and silent, new ones hang."""
        admin = make_admin(cluster.dsn)
        with Follower(admin) as follower:
            follower.events.wait_for(ListenerConnected)
            cluster.freeze()
            follower.events.wait_for(ListenerDegraded, cause="half_open", timeout_s=60)
            follower.until_status(mode="poll_only")
            follower.load.go_on()
            cluster.thaw()
            follower.applies(admin.set(llm_model="thawed"), within_s=READ_HANGS.limit)
            follower.until_status(state=State.LIVE, timeout_s=LISTEN_S)

    def test_started_before_the_server(self, cluster: Cluster, make_admin: MakeAdmin) -> None:
        """A client that finds no server keeps trying, and is ready once there is one."""
        make_admin(cluster.dsn).close()
        cluster.stop()
        with LiveRouter(database_url=cluster.dsn, **QUICK) as live:
            assert live.status().state is State.INITIALIZING
            assert live.status().last_error is not None
            cluster.start()
            assert live.wait_ready(RETRIED.limit).snapshot.primary.model == "first"
            assert live.chat_model().invoke("hi").content == "first says: hi"


class TestFull:
    def test_no_connection_left(self, seed: Seed, make_admin: MakeAdmin) -> None:
        """max_connections is exhausted: who lost its connection says so, serves on, and is back once there is room."""
        slots = 8
        with seed.grow(
            {"max_connections": str(slots), "superuser_reserved_connections": "0", "max_wal_senders": "0"}
        ) as cluster:
            admin = make_admin(cluster.dsn)
            greedy: list[Any] = []
            with Follower(admin) as follower:
                follower.events.wait_for(ListenerConnected)

                def crowd_out() -> bool:
                    """Take every slot but the admin's; the client may win the race for one, and is ended again."""
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name LIKE 'liverouter%%'"
                    )
                    greedy.extend(_until_refused(cluster.dsn))
                    return len(greedy) == slots - 1

                until(crowd_out)
                degraded = follower.events.wait_for(ListenerDegraded, cause="refused")
                assert degraded.problem is not None
                assert "no connection left" in degraded.problem.message
                revision = admin.set(llm_model="unread")
                follower.until_stale("LR201")
                follower.load.go_on()
                for connection in greedy:
                    connection.close()
                follower.applies(revision, within_s=RETRIED.limit)
                follower.until_status(state=State.LIVE, timeout_s=LISTEN_S)

    def test_notification_queue_full(self, seed: Seed, make_admin: MakeAdmin) -> None:
        """A stranger who listens in an open transaction fills the queue: writes abort, the config in force serves."""
        with seed.grow({"max_notify_queue_pages": "64"}) as cluster:
            admin = make_admin(cluster.dsn)
            with Follower(admin, **UNPOLLED) as follower, psycopg.connect(cluster.dsn, autocommit=True) as stranger:
                follower.events.wait_for(ListenerConnected)
                stranger.execute("LISTEN other")
                stranger.execute("BEGIN")
                stranger.execute("SELECT 1")
                until(lambda: _is_full_after_a_try(admin))
                with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                    admin.set(llm_model="refused by the queue")
                admin.execute("SELECT pg_terminate_backend(%s)", follower.status.backend_pid)
                degraded = follower.events.wait_for(ListenerDegraded, cause="refused")
                assert degraded.problem is not None
                assert "notification queue is full" in degraded.problem.message
                follower.load.go_on()
                follower.reports(state="poll_only", mode_cause="refused")
                stranger.execute("ROLLBACK")
                follower.until_status(state=State.LIVE, timeout_s=LISTEN_S)
                follower.applies(admin.set(llm_model="drained"), within_s=AT_ONCE.limit)


class TestStandby:
    def test_only_a_standby(self, seed: Seed, make_admin: MakeAdmin) -> None:
        """A standby cannot LISTEN: that is named, and its stream is followed by polling."""
        with _pair(seed) as (primary, standby):
            admin = make_admin(primary.dsn)
            _caught_up(admin, standby)
            with Follower(admin, standby.dsn) as follower:
                follower.events.wait_for(ListenerDegraded, cause="standby")
                follower.until_status(state=State.POLL_ONLY, mode_cause="standby")
                follower.applies(admin.set(llm_model="streamed"), within_s=POLLED_KNOWINGLY.limit)
                follower.load.go_on()

    def test_promotion(self, seed: Seed, make_admin: MakeAdmin) -> None:
        """The primary dies and its standby is promoted: a DSN that names both follows the new primary."""
        with _pair(seed) as (primary, standby):
            admin = make_admin(primary.dsn)
            with Follower(admin, _both(primary, standby)) as follower:
                follower.events.wait_for(ListenerConnected)
                revision = admin.set(llm_model="last-of-the-old")
                follower.applies(revision, within_s=AT_ONCE.limit)
                _caught_up(admin, standby)
                primary.crash()
                follower.until_status(mode="poll_only")
                follower.load.go_on()
                standby.execute("SELECT pg_promote()")
                admin.reconnect(standby.dsn)
                revision = admin.set(llm_model="first-of-the-new")
                follower.applies(revision, within_s=PROMOTED.limit)
                follower.until_status(state=State.LIVE, timeout_s=LISTEN_S)
                assert admin.ask("SELECT pg_is_in_recovery()") == (False,)

    def test_old_primary_still_up(self, seed: Seed, make_admin: MakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
        """The address moves to a promoted standby while the old primary lives on, mute: the client moves as well."""
        monkeypatch.setattr(
            "liverouter.engine.engine.Listener", partial(Listener, server_check_interval_s=0.5, probe_timeout_s=30.0)
        )
        with _pair(seed) as (primary, standby), FaultProxy(primary.dsn) as address:
            admin = make_admin(primary.dsn)
            with Follower(admin, address.dsn) as follower:
                first = follower.events.wait_for(ListenerConnected)
                _caught_up(admin, standby)
                standby.execute("SELECT pg_promote()")
                address.retarget(standby.dsn)
                admin.reconnect(standby.dsn)
                revision = admin.set(llm_model="of-the-new")
                follower.applies(revision, within_s=MOVED.limit)
                second = follower.events.wait_for(ListenerConnected, count=2)
                assert second.backend_pid != first.backend_pid
                follower.applies(admin.set(llm_model="heard"), within_s=AT_ONCE.limit)
                left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'liverouter-listen%'"
                until(lambda: primary.execute(left) == 0)


class TestBackInTime:
    def test_restored_backup(self, seed: Seed, make_admin: MakeAdmin) -> None:
        """The server comes back from an older backup: its lower revision is the truth, and is followed."""
        with seed.grow() as cluster:
            admin = make_admin(cluster.dsn)
            admin.set(llm_model="old")
            cluster.stop()
            backup = seed.copy(cluster.data_dir)
            cluster.start()
            admin.reconnect()
            revision = [admin.set(llm_model=f"newer-{n}") for n in range(3)][-1]
            address = FaultProxy(cluster.dsn)
            with address, LiveRouter(database_url=address.dsn, **QUICK) as live:
                assert live.wait_ready().snapshot.revision == revision
                cluster.stop()
                with backup:
                    address.retarget(backup.dsn)
                    until(lambda: live.status().revision == revision - 3, RETRIED.limit)
                    assert live.chat_model().invoke("hi").content == "old says: hi"
                    admin.reconnect(backup.dsn)
                    admin.set(llm_model="new-history")
                    until(lambda: live.chat_model().invoke("hi").content == "new-history says: hi", RETRIED.limit)


class _pair:  # noqa: N801 - reads as a function in `with`
    """A primary and a standby that streams from it."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed

    def __enter__(self) -> tuple[Cluster, Cluster]:
        self._primary = self._seed.grow({"wal_level": "replica"})
        self._standby = self._seed.copy(self._primary.data_dir, standby=True)
        self._primary.start()
        self._standby.add(follows(self._primary))
        try:
            self._standby.start()
        except BaseException:
            self._primary.stop()
            raise
        return self._primary, self._standby

    def __exit__(self, *_: object) -> None:
        self._standby.stop()
        self._primary.stop()


def _both(primary: Cluster, standby: Cluster) -> str:
    login, _, rest = primary.dsn.partition("@")
    host, _, name = rest.partition("/")
    return f"{login}@{host},{standby.dsn.partition('@')[2].partition('/')[0]}/{name}"


def _caught_up(admin: Admin, standby: Cluster) -> None:
    lsn = admin.ask("SELECT pg_current_wal_flush_lsn()::text")[0]
    until(lambda: standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", lsn))


def _answers(cluster: Cluster) -> bool:
    try:
        return bool(cluster.execute("SELECT true"))
    except psycopg.OperationalError:
        return False


def _is_full_after_a_try(admin: Admin) -> bool:
    try:
        admin.execute("SELECT pg_notify('other', repeat('x', 7000) || i) FROM generate_series(1, 50) i")
    except psycopg.errors.ProgramLimitExceeded:
        return True
    return False


def _until_refused(dsn: str) -> Iterator[Any]:
    while True:
        try:
            yield psycopg.connect(dsn)
        except psycopg.OperationalError:
            return

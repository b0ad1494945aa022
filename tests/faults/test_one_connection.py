"""A process holds one connection, the listener's: what reads and reports borrows it, and a restart ends in no herd."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest

from liverouter.bus import Bus
from liverouter.events import Event, ListenerConnected, ListenerLost, LoopFailed, ReloadRequested
from liverouter.loops.reload_requests import ReloadRequests
from liverouter.postgres.dsn import Dsn
from liverouter.postgres.listener import Listener
from liverouter.postgres.repository import SettingsRepository
from tests.faults.bounds import AT_ONCE, RESTARTED
from tests.kit.follower import UNPOLLED, Follower
from tests.kit.waiting import until, until_async

if TYPE_CHECKING:
    from tests.kit.admin import Admin
    from tests.kit.postgres.cluster import Cluster
    from tests.kit.postgres.proxy import FaultProxy

pytestmark = pytest.mark.usefixtures("native")  # nothing here depends on the engine

OURS = "FROM pg_stat_activity WHERE application_name LIKE 'liverouter%' AND datname = current_database()"
CLIENTS = 12


@pytest.fixture
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client opened beside the listening connection is closed after its use."""
    monkeypatch.setattr(
        "liverouter.engine.engine.SettingsRepository", partial(SettingsRepository, idle_s=0.0, statement_timeout_s=60.0)
    )


@pytest.mark.servers("embedded", "debian")
@pytest.mark.usefixtures("_brief")
class TestBorrowing:
    def test_reads_and_reports_open_nothing(self, admin: Admin, proxy: FaultProxy) -> None:
        """Once it listens, a process follows and reports though no new connection is to be had."""
        with Follower(admin, proxy.dsn) as follower:
            follower.events.wait_for(ListenerConnected)
            follower.reports(state="live", mode="listen")
            until(lambda: admin.ask(f"SELECT count(*) {OURS}") == (1,))
            proxy.hang_new()
            revision = admin.set(llm_model="borrowed")
            follower.applies(revision, within_s=AT_ONCE.limit)
            follower.reports(applied_revision=revision)
            assert admin.ask(f"SELECT array_agg(pid) {OURS}") == ([follower.status.backend_pid],)

    def test_nothing_holds_up_the_listener(self, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
        """A read that waits for a lock goes on by a connection of its own, and notifications arrive meanwhile."""
        monkeypatch.setattr("liverouter.postgres.listen_session._STATEMENT_S", 0.5)
        with Follower(admin, **UNPOLLED) as follower, psycopg.connect(admin.dsn) as holder:
            pid = follower.events.wait_for(ListenerConnected).backend_pid
            holder.execute("LOCK TABLE liverouter.settings IN ACCESS EXCLUSIVE MODE")
            follower.live.reload()
            until(lambda: admin.ask(f"SELECT count(*) {OURS} AND wait_event_type = 'Lock' AND pid <> {pid}") == (1,))
            heard = len(follower.events.of(ReloadRequested, reason="notification"))
            admin.execute("NOTIFY liverouter")
            follower.events.wait_for(ReloadRequested, reason="notification", count=heard + 1)
            holder.rollback()
            follower.applies(admin.set(llm_model="free"), within_s=AT_ONCE.limit)
            assert follower.status.backend_pid == pid


def test_own_connection_ends_as_soon_as_one_is_lent(cluster: Cluster) -> None:
    """While nobody listens yet a read opens one; kept on, those of a fleet would leave no room for its listeners."""

    async def run() -> None:
        bus, counts = Bus(lambda _: None), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'liverouter'"
        client = Listener(
            dsn=Dsn.parse(cluster.dsn), requests=ReloadRequests(bus), bus=bus, application_name="liverouter-listen/one"
        )
        reader = SettingsRepository(url=cluster.dsn, lender=client, idle_s=600.0)
        await reader.read()
        assert cluster.execute(counts) == 1
        task = asyncio.create_task(client.run())
        try:
            await until_async(lambda: _all([client]), 120)
            await reader.read()
            await asyncio.to_thread(until, lambda: cluster.execute(counts) == 0, AT_ONCE.limit)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await reader.close()

    asyncio.run(run())


def test_restart_of_the_server_ends_in_no_herd(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """All listen and read again, each at a moment of its own, soon; nobody logs an error, or asks for a connection."""
    events: list[Event] = []

    async def run() -> None:
        bus, dsn = Bus(events.append), Dsn.parse(cluster.dsn)
        clients = [
            Listener(dsn=dsn, requests=ReloadRequests(bus), bus=bus, application_name="liverouter-listen/herd")
            for _ in range(CLIENTS)
        ]
        readers = [SettingsRepository(url=cluster.dsn, lender=client) for client in clients]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        try:
            await until_async(lambda: _all(clients), 120)
            await asyncio.to_thread(cluster.stop)
            await until_async(lambda: _none(clients), 120)
            await asyncio.to_thread(cluster.start)
            await until_async(lambda: _all(clients), RESTARTED.limit)
            read = await asyncio.gather(*(reader.read() for reader in readers))
            assert {one.revision for one in read} == {0}
            assert cluster.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'liverouter'") == 0
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    assert len({event.retry_in_s for event in events if isinstance(event, ListenerLost)}) > CLIENTS / 2
    assert not [event for event in events if isinstance(event, LoopFailed)]
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


async def _all(clients: list[Listener]) -> bool:
    return all(client.healthy for client in clients)


async def _none(clients: list[Listener]) -> bool:
    return not any(client.healthy for client in clients)

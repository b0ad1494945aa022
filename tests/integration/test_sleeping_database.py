"""A database that sleeps: without a heartbeat nobody asks it unless something happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liverouter import LiveRouter
from liverouter.events import ConfigRejected, ListenerConnected, ListenerLost
from liverouter.testing import EventLog
from tests.kit import patience
from tests.kit.sql import put, value
from tests.kit.waiting import until

if TYPE_CHECKING:
    import psycopg
    import pytest

    Session = psycopg.Connection[Any]

patient = patience.patient

TOLD = "SELECT max(heartbeat_at) FROM liverouter.processes"  # the views show whole seconds


def test_nothing_is_reported_but_what_changed(dsn: str, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often there would be a heartbeat; a rejection is told at once."""
    monkeypatch.setattr("liverouter.engine.reporter._UNASKED_S", 0.01)
    events, looks = EventLog(), [0]
    silent = {"heartbeat_interval_s": 0, "poll_interval_s": 3600, "probe_interval_s": 3600}
    with LiveRouter(database_url=dsn, observers=(events,), **silent) as live:
        drain = live.usage.drain

        def counted() -> Any:
            looks[0] += 1
            return drain()

        events.wait_for(ConfigRejected)
        events.wait_for(ListenerConnected)
        until(lambda: value(db, "SELECT max(error_code) FROM liverouter.instances"))
        monkeypatch.setattr(live.usage, "drain", counted)
        until(lambda: looks[0] > 5)
        before, looked = value(db, TOLD), looks[0]
        until(lambda: looks[0] > looked + 5)
        assert value(db, TOLD) == before
        put(db, llm_provider="nobody")
        until(lambda: value(db, TOLD) > before)


def test_lost_connection_wakes_nobody(dsn: str, db: Session) -> None:
    """A database that falls asleep ends its connections: the next try comes with the next poll."""
    events = EventLog()
    with LiveRouter(
        database_url=dsn, heartbeat_interval_s=0, poll_interval_s=3600, probe_interval_s=3600, observers=(events,)
    ):
        pid = events.wait_for(ListenerConnected).backend_pid
        db.execute("SELECT pg_terminate_backend(%s)", [pid])
        assert events.wait_for(ListenerLost).retry_in_s >= 3600

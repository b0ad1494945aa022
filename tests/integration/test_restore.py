"""A database that went back to an older backup, as its processes report it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liverouter import LiveRouter
from tests.kit import patience
from tests.kit.sql import put, refused, revision, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    import pytest

    Session = psycopg.Connection[Any]

patient = patience.patient

_RESTORE = """
ALTER TABLE liverouter.settings DISABLE TRIGGER USER;
UPDATE liverouter.settings SET value = '"opnai"' WHERE key = 'llm_provider';
ALTER TABLE liverouter.settings ENABLE TRIGGER USER;
UPDATE liverouter.head SET revision = 2, change_id = gen_random_uuid();
DELETE FROM liverouter.revision_log WHERE revision > 2;
CREATE OR REPLACE FUNCTION liverouter.epoch() RETURNS text LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp AS $$ SELECT 'restored' $$;
NOTIFY liverouter
"""


class TestRestore:
    def test_process_that_refuses_the_restored_revision_ends_the_wait(
        self, dsn: str, db: Session, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
    ) -> None:
        """It goes on with a higher number of the old line, which must not be taken for the revision waited for."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-key-of-openai")
        monkeypatch.setenv("LITELLM_ENABLE", "false")
        put(db, llm_provider="openai", llm_model="gpt-4o")
        for tries in range(1, 5):
            put(db, litellm_num_retries=tries)
        line = value(db, "SELECT liverouter.epoch()")
        instance = "SELECT epoch, applied_revision, rejected_revision FROM liverouter.instances_detail"
        pending = "SELECT applied, rejected, pending FROM liverouter.rollout ORDER BY revision DESC LIMIT 1"
        with LiveRouter(database_url=dsn) as live:
            live.wait_ready()
            wait_until(lambda: rows(db, instance))  # a process that has not reported yet is waited for by nobody
            assert value(db, "SELECT liverouter.wait_applied(5)") is True
            with db.transaction():
                db.execute(_RESTORE.encode())
            wait_until(lambda: rows(db, instance)[0]["rejected_revision"] == 2)
            assert rows(db, instance) == [{"epoch": line, "applied_revision": 5, "rejected_revision": 2}]
            with refused("LR403") as refusal:
                db.execute(b"SELECT liverouter.wait_applied(2)")
            assert "'opnai'" in refusal.message
            assert rows(db, pending)[0]["pending"] == 0
            put(db, llm_provider="openai")
            assert revision(db) == 3
            assert value(db, "SELECT liverouter.wait_applied(3)") is True
            assert rows(db, instance) == [{"epoch": "restored", "applied_revision": 3, "rejected_revision": None}]
            assert rows(db, pending) == [{"applied": 1, "rejected": 0, "pending": 0}]

"""`liverouter repair`: rows that were written past the triggers become a revision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.kit import patience
from tests.kit.sql import put, value

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Session = psycopg.Connection[Any]

patient = patience.patient


def test_rows_past_the_triggers_become_a_revision(
    cli: Callable[..., Any], db: Session, login: Callable[..., str]
) -> None:
    """With who did it and why; a second time there is nothing to do. A writer may."""
    put(db, llm_model="before")
    db.execute(b"SET session_replication_role = replica")
    db.execute(b"UPDATE liverouter.settings SET value = '\"after\"'")
    db.execute(b"RESET session_replication_role")
    found = cli("repair", "--comment", "restored", "--json", "--database-url", login("liverouter_writer"))
    assert (found.code, found.json["revision"]) == (0, 2)
    assert value(db, "SELECT content ->> 'llm_model' FROM liverouter.revision_log WHERE revision = 2") == "after"
    assert value(db, "SELECT comment FROM liverouter.revision_log WHERE revision = 2") == "restored"
    assert cli("repair").code == 0
    assert value(db, "SELECT revision FROM liverouter.head") == 2


def test_trigger_that_is_switched_off_is_named(cli: Callable[..., Any], db: Session) -> None:
    """While one is, every write goes past it; the hint switches it on."""
    db.execute(b"ALTER TABLE liverouter.settings DISABLE TRIGGER USER")
    found = cli("repair")
    assert (found.code, "triggers are switched off [LR214" in found.err) == (1, True)
    db.execute(found.err.partition("As the owner: ")[2].strip().encode())
    assert cli("repair").code == 0

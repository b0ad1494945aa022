"""Rows of other software in settings: part of revisions while they are few, no burden where they are many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from liverouter.postgres.repository import SettingsRepository
from tests.kit import patience
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, rows, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()
patient = patience.patient

FEW, MANY = 150, 400
OURS = {
    "llm_provider": "openai",
    "llm_modle": "m",
    "openai_api_base": "https://x",
    "azure_openai_endpoint": "https://y",
}


@pytest.fixture
async def repository(dsn: str) -> AsyncIterator[SettingsRepository]:
    """A repository on this test's database."""
    opened = SettingsRepository(url=dsn)
    yield opened
    await opened.close()


def strangers(db: Session, count: int) -> None:
    """Have *count* rows of other software in settings, and no more."""
    db.execute(b"DELETE FROM liverouter.settings WHERE key LIKE 'theme.%'")
    db.execute(
        b"INSERT INTO liverouter.settings (key, value) SELECT 'theme.' || n, to_jsonb(n) FROM generate_series(1, %s) n",
        [count],
    )


class TestMany:
    async def test_client_reads_its_own_rows_alone(self, db: Session, repository: SettingsRepository) -> None:
        """Misspelt ones of ours included, so that they are reported."""
        strangers(db, MANY)
        put(db, **OURS)
        assert (await repository.read()).settings == OURS

    def test_history_holds_our_rows_alone(self, db: Session) -> None:
        """A revision is no larger and says no more for them."""
        strangers(db, MANY)
        head = put(db, llm_model="m")
        assert value(db, "SELECT content FROM liverouter.revision_log WHERE revision = %s", head) == {"llm_model": "m"}
        assert value(db, "SELECT changed FROM liverouter.revisions WHERE revision = %s", head) == "llm_model"

    def test_their_changes_make_no_revision(self, db: Session) -> None:
        """Nothing of ours has changed, and no process is woken."""
        strangers(db, MANY)
        head = put(db, llm_model="m")
        db.execute(b"UPDATE liverouter.settings SET value = '0' WHERE key LIKE 'theme.%'")
        assert put(db, llm_model="m") == head

    def test_rollback_leaves_them(self, db: Session) -> None:
        """Neither removed nor set back, from many to few and back."""
        first = put(db, llm_model="first")
        strangers(db, FEW)
        few = put(db, llm_model="few")
        strangers(db, MANY)
        many = put(db, llm_model="many")
        count = "SELECT count(*) FROM liverouter.settings WHERE key LIKE 'theme.%%' AND value <> '0'"
        for goal, model in ((first, "first"), (few, "few"), (many, "many")):
            db.execute(b"SELECT liverouter.rollback(%s)", [goal])
            assert value(db, "SELECT value FROM liverouter.settings WHERE key = 'llm_model'") == model
            assert value(db, count) == MANY
        strangers(db, FEW)
        db.execute(b"SELECT liverouter.rollback(%s)", [many])
        assert value(db, count) == FEW

    def test_leaving_and_entering_the_history_is_no_change_of_theirs(self, db: Session) -> None:
        """The revision that sees them become too many names only what changed of ours."""
        strangers(db, FEW)
        strangers(db, MANY)
        head = put(db, llm_model="m")
        changed = rows(db, "SELECT changed FROM liverouter.revisions WHERE revision = %s", head)
        assert changed == [{"changed": "llm_model"}]


class TestFew:
    def test_rollback_takes_a_few_along(self, db: Session) -> None:
        """As ever: a small table of settings goes back whole."""
        strangers(db, FEW)
        head = put(db, llm_model="m")
        strangers(db, FEW - 1)
        db.execute(b"SELECT liverouter.rollback(%s)", [head])
        assert value(db, "SELECT count(*) FROM liverouter.settings") == FEW + 1

"""Rows that are there and cannot be seen, rights that are missing, a head without a row: named, with what mends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from liverouter.errors import DatabaseError
from liverouter.postgres.repository import UNSET, SettingsRepository
from liverouter.postgres.visibility import RESTORE_HEAD
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import Process, put, rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import psycopg

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()

TABLES = ("settings", "secrets", "head")


@pytest.fixture
async def client(login: Callable[..., str]) -> AsyncIterator[SettingsRepository]:
    """The repository of a login that may read and write."""
    repository = SettingsRepository(url=login("liverouter_client", "liverouter_writer"))
    yield repository
    await repository.close()


async def failure(call: Any) -> DatabaseError:
    """Return how *call* fails."""
    with pytest.raises(DatabaseError) as caught:
        await call
    return caught.value


def mend(db: Session, error: DatabaseError) -> None:
    """Run the statement that the hint of *error* gives."""
    db.execute(error.hint.partition(": ")[2].encode())


class TestPolicies:
    @pytest.mark.parametrize("table", [*TABLES, "alembic_version"])
    async def test_hidden_rows_are_an_error_with_the_statement_that_shows_them(
        self, client: SettingsRepository, db: Session, table: str
    ) -> None:
        """Whether the connection is new or kept; the hint mends it."""
        put(db, llm_model="m")
        if table != "alembic_version":  # which is read once for each connection
            await client.read()
        db.execute(f"ALTER TABLE liverouter.{table} ENABLE ROW LEVEL SECURITY".encode())
        found = await failure(client.read())
        assert found.code == "LR207"
        assert f"row-level security hides rows of liverouter.{table} from this login" in found.message
        mend(db, found)
        assert (await client.read()).settings == {"llm_model": "m"}

    async def test_policy_that_shows_all_is_no_fault(self, client: SettingsRepository, db: Session) -> None:
        """Some vendors want row-level security on every table; one that shows some rows hides others."""
        put(db, llm_model="m")
        for table in TABLES:
            db.execute(f"ALTER TABLE liverouter.{table} ENABLE ROW LEVEL SECURITY".encode())
            db.execute(f"CREATE POLICY all_of_it ON liverouter.{table} TO liverouter_client USING (true)".encode())
        assert (await client.read()).settings == {"llm_model": "m"}
        db.execute(b"CREATE POLICY few ON liverouter.settings AS RESTRICTIVE FOR SELECT USING (key <> 'llm_model')")
        assert "hides rows of liverouter.settings" in (await failure(client.read())).message
        db.execute(b"DROP POLICY few ON liverouter.settings; DROP POLICY all_of_it ON liverouter.settings")
        db.execute(b"CREATE POLICY few ON liverouter.settings USING (key <> 'llm_model')")
        assert "hides rows of liverouter.settings" in (await failure(client.read())).message

    async def test_write_past_hidden_rows_is_refused(self, client: SettingsRepository, db: Session) -> None:
        """A row that cannot be seen cannot be removed, which is said; nor can one be added."""
        put(db, llm_model="m")
        db.execute(b"ALTER TABLE liverouter.settings ENABLE ROW LEVEL SECURITY")
        for changes in ({"llm_model": UNSET}, {"llm_model": "n"}):
            found = await failure(client.write(changes))
            assert found.code == "LR207"
            assert "ALTER TABLE liverouter.settings DISABLE ROW LEVEL SECURITY" in found.hint
        assert rows(db, "SELECT value FROM liverouter.settings") == [{"value": "m"}]


class TestHead:
    async def test_head_without_its_row_is_named_and_restored(self, client: SettingsRepository, db: Session) -> None:
        """It is no row of settings that is at fault; the history has what was in it."""
        put(db, llm_model="m")
        before = await client.read()
        db.execute(b"ALTER TABLE liverouter.head DISABLE TRIGGER USER; DELETE FROM liverouter.head")
        report = {"instance": Process(db).instance, "key": "a" * 32, "app": "x"}
        for call in (client.read(), client.head(), client.report(report)):
            found = await failure(call)
            assert found.code == "LR208"
            assert "liverouter.head has lost its row" in found.message
            assert RESTORE_HEAD in found.hint
        db.execute(RESTORE_HEAD.encode())
        assert (await client.read()).head == before.head
        assert put(db, llm_model="n") == before.revision + 1


class TestRights:
    @pytest.mark.parametrize(
        "taken",
        [
            "USAGE ON SCHEMA liverouter",
            "SELECT ON liverouter.alembic_version",
            "SELECT ON liverouter.settings",
            "SELECT ON liverouter.secrets",
            "SELECT ON liverouter.head",
            "EXECUTE ON FUNCTION liverouter.epoch()",
        ],
    )
    async def test_right_that_is_missing_is_named_and_given_back(
        self, login: Callable[..., str], db: Session, taken: str
    ) -> None:
        """The hint's statement, run by the owner, gives the roles what they had."""
        repository = SettingsRepository(url=login("liverouter_client"))
        db.execute(f"REVOKE {taken} FROM liverouter_client".encode())
        found = await failure(repository.read())
        assert found.code == "LR207"
        assert re.split(r"[ .(]", taken.removesuffix("()"))[-1] in found.message
        db.execute(found.hint.partition("restores: ")[2].encode())
        assert (await repository.read()).revision == 0
        await repository.close()

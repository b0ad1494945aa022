"""What was done to the tables past our triggers and rights stands in `problems`, whether or not a process says so."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from liverouter.postgres import migrate
from liverouter.postgres.migration_run import directory
from tests.kit import patience
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, put_secret, refused, rows, value

if TYPE_CHECKING:
    from collections.abc import Callable

    Session = psycopg.Connection[Any]

pytestmark = pytest.mark.servers("embedded", "debian")
emptied, dsn, db = one_database()
patient = patience.patient


def told(db: Session, *codes: str) -> list[dict[str, Any]]:
    """Return what view `problems` says of the database itself, by *codes*."""
    query = "SELECT * FROM liverouter.problems WHERE code = ANY (%s) ORDER BY object"
    return rows(db, query, list(codes or ("LR207", "LR208", "LR214")))


class TestPastTheTriggers:
    @pytest.mark.parametrize(
        "write",
        [
            "UPDATE liverouter.settings SET value = '\"silent\"' WHERE key = 'llm_model'",
            "DELETE FROM liverouter.settings",
            "DELETE FROM liverouter.secrets",
            "UPDATE liverouter.secrets SET fingerprint = 'other'",
        ],
    )
    def test_rows_that_no_revision_holds_are_told(self, db: Session, cli: Callable[..., Any], write: str) -> None:
        """As after a replica role wrote them; gone as soon as they are a revision."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        put_secret(db, "openai_api_key")
        assert told(db) == []
        db.execute(b"SET session_replication_role = replica")
        db.execute(write.encode())
        db.execute(b"RESET session_replication_role")
        (problem,) = told(db)
        assert (problem["severity"], problem["code"], problem["object"]) == ("warning", "LR214", "settings")
        assert problem["hint"] == "Make them one: liverouter repair"
        assert cli("repair").code == 0
        assert told(db) == []

    def test_triggers_that_are_switched_off_are_told_with_what_switches_them_on(self, db: Session) -> None:
        """While they are off, every write goes past them."""
        for table in ("settings", "secrets"):
            db.execute(f"ALTER TABLE liverouter.{table} DISABLE TRIGGER USER".encode())
        secrets, settings = told(db)
        assert (secrets["object"], settings["object"]) == ("liverouter.secrets", "liverouter.settings")
        for problem in (secrets, settings):
            db.execute(problem["hint"].partition("As the owner: ")[2].partition(";")[0].encode())
        assert told(db) == []

    def test_rows_of_other_software_are_nobodys_business(self, db: Session) -> None:
        """Where they become too many for revisions, or few again, nothing was written past anything."""
        put(db, llm_model="m", theirs=1)
        for number in (300, 100):
            db.execute(
                "DELETE FROM liverouter.settings WHERE key LIKE 'x%%';"
                f"INSERT INTO liverouter.settings (key, value) SELECT 'x' || n, '1' FROM generate_series(1, {number}) n"
            )
            assert told(db) == []


class TestHead:
    def test_head_without_its_row_is_told_with_the_statement_that_mends_it(self, db: Session) -> None:
        """Every view answers meanwhile."""
        put(db, llm_model="m")
        db.execute(b"ALTER TABLE liverouter.head DISABLE TRIGGER USER; DELETE FROM liverouter.head")
        db.execute(b"ALTER TABLE liverouter.head ENABLE TRIGGER USER")
        for view in ("active_config", "desired_config", "instances", "revisions", "rollout", "usage", "usage_daily"):
            assert rows(db, f"SELECT * FROM liverouter.{view}") is not None
        (problem,) = told(db)
        assert (problem["severity"], problem["code"], problem["object"]) == ("error", "LR208", "liverouter.head")
        db.execute(problem["hint"].partition("As the owner: ")[2].encode())
        assert told(db) == []
        assert put(db, llm_model="n") == 2


class TestHiddenRows:
    @pytest.mark.parametrize("table", ["head", "processes", "revision_log", "settings", "usage_minutes"])
    def test_rows_hidden_from_the_owner_are_told(
        self, db: Session, login: Callable[..., str], connect: Callable[..., Session], table: str
    ) -> None:
        """By a policy that is forced upon it: its functions then see nothing."""
        owner = connect(login("liverouter_inspector")).info.user
        put(db, llm_model="m")
        db.execute(
            f"ALTER TABLE liverouter.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            f"GRANT liverouter_inspector TO {owner}".encode()
        )
        before = value(db, "SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'server_problems'")
        db.execute(f"ALTER FUNCTION liverouter_internal.server_problems() OWNER TO {owner}".encode())
        db.execute(f"GRANT USAGE ON SCHEMA liverouter, liverouter_internal TO {owner}".encode())
        db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA liverouter TO {owner}".encode())
        db.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA liverouter_internal TO {owner}".encode())
        (problem,) = [p for p in told(db) if p["code"] == "LR207"]
        assert problem["object"] == f"liverouter.{table}"
        db.execute(problem["hint"].partition("As the owner: ")[2].encode())
        assert [p for p in told(db) if p["code"] == "LR207"] == []
        db.execute(f"ALTER FUNCTION liverouter_internal.server_problems() OWNER TO {before}".encode())
        db.execute(f"DROP OWNED BY {owner}".encode())


@pytest.mark.servers("debian")  # whose pg_dump there is
class TestRestore:
    def test_data_of_the_schema_before_is_taken_into_a_fresh_one(
        self, empty_dsn: str, dsn: str, db: Session, cli: Callable[..., Any]
    ) -> None:
        """Past the triggers, as pg_dump's own option has it: what no revision holds is told, and becomes one."""
        migrate.upgrade(empty_dsn, "0014_goodbye")
        with psycopg.connect(empty_dsn, autocommit=True) as former:
            put(former, llm_provider="openai", llm_model="from-the-dump")
            put_secret(former, "openai_api_key")
        pg_dump, psql = shutil.which("pg_dump") or "", shutil.which("psql") or ""
        only = ("--data-only", "--disable-triggers", "--table=liverouter.se*s")
        dump = subprocess.run([pg_dump, *only, empty_dsn], capture_output=True, check=True).stdout
        subprocess.run([psql, "--no-psqlrc", dsn], input=dump, capture_output=True, check=True)
        assert [p["code"] for p in told(db)] == ["LR214"]
        assert cli("repair").code == 0
        assert told(db) == []
        assert value(db, "SELECT content ->> 'llm_model' FROM liverouter.revision_log WHERE revision = 1") == (
            "from-the-dump"
        )


class TestLeftOver:
    def test_schema_that_was_dropped_is_made_anew(self, empty_dsn: str) -> None:
        """Also where only one of the two was dropped."""
        for dropped in ("liverouter", "liverouter, liverouter_internal"):
            migrate.upgrade(empty_dsn)
            with psycopg.connect(empty_dsn, autocommit=True) as db:
                assert put(db, llm_model="m") == 1
                db.execute(f"DROP SCHEMA {dropped} CASCADE".encode())
        migrate.upgrade(empty_dsn)

    def test_schema_of_a_stranger_is_not_used(
        self, empty_dsn: str, login: Callable[..., str], connect: Callable[..., Session]
    ) -> None:
        """He could change what the owner of our schema calls, and so becomes it."""
        stranger = connect(login()).info.user
        with psycopg.connect(empty_dsn, autocommit=True) as db:
            db.execute(f"CREATE SCHEMA liverouter_internal AUTHORIZATION {stranger}".encode())
            trap = "CREATE FUNCTION liverouter_internal.in_psql() RETURNS boolean RETURN true"
            db.execute(f"SET ROLE {stranger}; {trap}".encode())
            owner = connect(login()).info.user
            db.execute(f"RESET ROLE; CREATE SCHEMA liverouter AUTHORIZATION {owner}".encode())
            with db.transaction():
                db.execute(f"SET LOCAL ROLE {owner}".encode())
                script = (directory() / "sql" / "0015_psql" / "internal_schema.sql").read_text()
                with pytest.raises(psycopg.Error, match="is not ours: it belongs to") as caught, db.transaction():
                    db.execute(script.encode())
            assert caught.value.sqlstate == "LR207"
            db.execute(
                f"DROP SCHEMA liverouter, liverouter_internal CASCADE; DROP OWNED BY {stranger}, {owner}".encode()
            )

    def test_revision_that_a_restore_of_an_older_dump_added_is_forgotten(self, dsn: str, db: Session) -> None:
        """The schema is the newer one, whichever row comes first."""
        db.execute(b"TRUNCATE liverouter.alembic_version")
        db.execute(b"INSERT INTO liverouter.alembic_version VALUES ('0014_goodbye'), ('%s')" % migrate.HEAD.encode())
        said: list[str] = []
        assert migrate.upgrade(dsn, echo=said.append) == migrate.HEAD
        assert said == ["forgot older revisions of the schema, as of a restore: 0014_goodbye"]
        assert rows(db, "SELECT version_num FROM liverouter.alembic_version") == [{"version_num": migrate.HEAD}]


class TestEmptiedHistory:
    def test_head_that_the_history_does_not_hold_is_told(self, db: Session, cli: Callable[..., Any]) -> None:
        """Gone as soon as the rows are a revision; until then a lost update is told all the same."""
        put(db, llm_provider="openai", llm_model="gpt-4o")
        db.execute(b"DELETE FROM liverouter.revision_log")
        (problem,) = told(db)
        assert (problem["severity"], problem["object"]) == ("warning", "liverouter.revision_log")
        with refused("LR211") as lost:
            db.execute(b"SELECT liverouter.begin_edit(0)")
        assert lost.message == "the config is at revision 1, not 0"
        assert problem["hint"] == "Make the rows a revision: liverouter repair"
        assert cli("repair").code == 0
        assert told(db) == []

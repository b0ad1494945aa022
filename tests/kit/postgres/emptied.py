"""One migrated database for the tests of a module: emptied before each, made anew where one has changed the schema.

A copy for each test, and a session that knows nothing yet, take the server a fifth of a second.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from psycopg.sql import SQL, Composable, Composed, Identifier

from tests.kit.leaks import LEDGER
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Session = psycopg.Connection[Any]
    Make = Callable[[str], AbstractContextManager[str]]

# DROP OWNED is how logins are dropped; what one owned was made by a statement that is noted.
_WATCH: Final = b"""
    CREATE TABLE kept.changes (tag text);
    CREATE FUNCTION kept.note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF tg_tag <> 'DROP OWNED' THEN INSERT INTO kept.changes VALUES (tg_tag); END IF;
    END $$;
    CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION kept.note();
    ALTER EVENT TRIGGER note ENABLE ALWAYS
"""
_TABLES: Final = b"""
    SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    WHERE c.relnamespace = 'liverouter'::regnamespace AND c.relkind = 'r' GROUP BY c.relname
"""
_EMPTY: Final = "DELETE FROM liverouter.{0}; INSERT INTO liverouter.{0} ({1}) SELECT {1} FROM kept.{2}"
_END_OTHERS: Final = b"""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_FORGET: Final = b"RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all()"


class Emptied:
    """A database as it is after the migration, again and again.

    Args:
        make: the fixture `new_database`.
        prepare: what is done to the database once, as it is made.

    Attributes:
        url: of the database; empty where there is none yet.
        session: of the schema's owner, which knows the schema already.
    """

    def __init__(self, make: Make, prepare: Callable[[Session], object] | None = None) -> None:
        self._make, self._prepare, self._made = make, prepare, ExitStack()
        self._empty = Composed([])  # what takes out all that a test wrote
        self.url = ""
        self.session: Session

    def refresh(self) -> None:
        """Have the database as it was, and nobody else connected to it."""
        if not (self.url and self._is_emptied()):
            self.close()
            self.url = self._made.enter_context(self._make("emptied"))
            self._open()
            self._keep()

    def close(self) -> None:
        """Drop it."""
        self._made.close()
        self.url = ""

    def _open(self) -> None:
        """Open the session."""
        self.session = self._made.enter_context(psycopg.connect(self.url, autocommit=True))

    def _keep(self) -> None:
        """Keep a copy of what the migration wrote, and watch the schema from now on."""
        if self._prepare is not None:
            self._prepare(self.session)
        steps: list[Composable] = [SQL("SET session_replication_role = replica")]
        self.session.execute(b"CREATE SCHEMA kept")
        for name, columns in self.session.execute(_TABLES).fetchall():
            kept = Identifier(f"{name}_kept")
            self.session.execute(SQL("CREATE TABLE kept.{} AS TABLE liverouter.{}").format(kept, Identifier(name)))
            steps.append(SQL(_EMPTY).format(Identifier(name), SQL(", ").join(map(Identifier, columns)), kept))
        self.session.execute(_WATCH)
        self._empty = SQL("; ").join([*steps, SQL("RESET session_replication_role")])

    def _is_emptied(self) -> bool:
        """End what a test has left, and empty the tables; return whether that was enough."""
        if self.session.closed:
            self._open()
        self.session.rollback()
        self.session.autocommit = True
        self.session.execute(_FORGET)
        until(lambda: not self.session.execute(_END_OTHERS).rowcount, what="the end of all other sessions")
        list(self.session.notifies(timeout=0))
        if self.session.execute(b"SELECT FROM kept.changes").rowcount:
            return False
        self.session.execute(self._empty)
        return True


def one_database(prepare: Callable[[Session], object] | None = None) -> tuple[Any, Any, Any]:
    """Return a module's fixtures `emptied`, `dsn` and `db`; the database is prepared by *prepare* as it is made."""

    @pytest.fixture(scope="module")
    def emptied(new_database: Make) -> Iterator[Emptied]:
        """The database of this module."""
        database = Emptied(new_database, prepare)
        yield database
        database.close()

    @pytest.fixture
    def dsn(emptied: Emptied) -> Iterator[str]:
        """The URL of the module's database, migrated to the head and empty; searched for secrets at the end."""
        emptied.refresh()
        yield emptied.url
        LEDGER.tell_database(emptied.url, views=False)

    @pytest.fixture
    def db(dsn: str, emptied: Emptied) -> Session:
        """A session of the schema's owner, every statement its own transaction."""
        assert dsn == emptied.url
        return emptied.session

    return emptied, dsn, db

"""What a migration waits for: another run, or a table that somebody holds. It says for whom, and gives up in time."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from liverouter.errors import DatabaseError
from liverouter.postgres.connection import NETWORK_ERRORS
from liverouter.postgres.errors import from_driver, is_lock_timeout
from liverouter.postgres.versions import SCHEMA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

LOCK_TIMEOUT_S: Final = 30.0  # writers queue behind a run that waits for a table, so it does not wait for long
# Of a session, that a run is not bound by; PostgreSQL 17 and later have all three.
TIMEOUTS: Final = ("idle_in_transaction_session_timeout", "statement_timeout", "transaction_timeout")
_LOOK_S: Final = 1.0  # between two looks for whom a run waits
_ONE_RUN: Final = 0x6C72_6D69_6772  # the key of the advisory lock that each run takes: "lrmigr" in ASCII
# Who holds that lock in this database, and whether their login could migrate it: the owner of the schema, or where
# there is none yet of the database, or a member of that role, or the login of this run.
_HOLDERS: Final = text("""
    SELECT a.pid, a.usename AS login, a.application_name AS application,
           a.usename = current_user OR pg_has_role(a.usesysid, owner.oid, 'MEMBER') AS may_migrate
    FROM pg_locks l
    JOIN pg_stat_activity a ON a.pid = l.pid
    JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    CROSS JOIN LATERAL (
        SELECT coalesce((SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = :schema), d.datdba)) owner (oid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND (l.classid::bigint << 32) | l.objid::bigint = :key
    ORDER BY a.pid
""")
_BLOCKERS: Final = text("""
    SELECT a.pid, a.usename AS login, a.application_name AS application
    FROM unnest(pg_blocking_pids(:pid)) b (pid) JOIN pg_stat_activity a ON a.pid = b.pid ORDER BY a.pid
""")


def say(line: str) -> None:
    """Print *line* on standard error: what a caller prints of its own on standard output stays clean."""
    print(line, file=sys.stderr)  # noqa: T201 - for callers that give no function of their own


@dataclass(slots=True)
class Waits:
    """For whom one run waits.

    Attributes:
        echo: gets each line that a person must know.
        lock_timeout_s: seconds that the run waits for any lock.
        pid: the run's backend; 0 before it has one.
        holders: pid, login and application of those whom it waited for last.
    """

    echo: Callable[[str], None] = say
    lock_timeout_s: float = LOCK_TIMEOUT_S
    pid: int = 0
    holders: Sequence[Any] = field(default=())

    def begin(self, connection: Connection) -> None:
        """Note the session of *connection*; have its transaction wait for a lock as long as said, and work for longer.

        The times that a database or a role allows statements and transactions are meant for those of applications.
        """
        timeouts = text("SELECT set_config(name, '0', true) FROM pg_settings WHERE name = ANY (:names)")
        connection.execute(timeouts, {"names": list(TIMEOUTS)})
        connection.execute(
            text("SELECT set_config('lock_timeout', :value, true)"), {"value": f"{self.lock_timeout_s}s"}
        )
        self.pid = connection.scalar(text("SELECT pg_backend_pid()")) or 0

    def explained(self, exc: Exception) -> DatabaseError:
        """Return what *exc* means, which ended the run; where a lock was not to be had, who holds it."""
        error = from_driver(exc)
        if not self.holders or not is_lock_timeout(exc):
            return error
        return _given_up(f"a lock was not to be had within {self.lock_timeout_s:g} s", self.holders)


@asynccontextmanager
async def watched(database: AsyncEngine, waits: Waits) -> AsyncIterator[None]:
    """While the block runs, tell for whom its session waits; looks through a connection of its own, if it gets one."""
    task = asyncio.create_task(_watch(database, waits))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, SQLAlchemyError, *NETWORK_ERRORS):
            await task


async def _watch(database: AsyncEngine, waits: Waits) -> None:
    """Tell *waits* whenever its run comes to wait for others than before, until cancelled."""
    pause_s = min(_LOOK_S, waits.lock_timeout_s / 3)
    await asyncio.sleep(pause_s)
    async with database.connect() as connection:
        looks = await connection.execution_options(isolation_level="AUTOCOMMIT")
        while True:
            found = (await looks.execute(_BLOCKERS, {"pid": waits.pid})).all()
            if found and found != waits.holders:
                waits.echo(f"waiting for a lock, at most {waits.lock_timeout_s:g} s, that is held by {_names(found)}")
            waits.holders = found or waits.holders
            await asyncio.sleep(pause_s)


def wait_turn(connection: Connection, waits: Waits) -> None:
    """Inside a run's transaction, return once no other run migrates this database; tells for whom it waits.

    Runs are kept apart by an advisory lock. Any login may hold that, so a holder that could not migrate this database
    is passed by: what keeps runs apart then is a lock on Alembic's table, which strangers cannot take.

    Raises:
        DatabaseError: the other run has not ended within the lock timeout (LR208); names it.
    """
    waits.begin(connection)
    if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _ONE_RUN}):
        holders = connection.execute(_HOLDERS, {"key": _ONE_RUN, "schema": SCHEMA}).all()
        if holders and not any(h.may_migrate for h in holders):
            waits.echo(f"passing by the migration lock, which a login holds that may not migrate: {_names(holders)}")
        else:
            waits.echo(f"waiting for another migration of this database: {_names(holders) or 'it ends just now'}")
            waits.holders = [(h.pid, h.login, h.application) for h in holders]  # as `_watch` finds them
            _wait_for(connection, holders, waits.lock_timeout_s)
    if connection.scalar(text("SELECT to_regclass('liverouter.alembic_version')")) is not None:
        connection.execute(text("LOCK TABLE liverouter.alembic_version IN SHARE UPDATE EXCLUSIVE MODE"))


def _wait_for(connection: Connection, holders: Sequence[Any], timeout_s: float) -> None:
    """Return with the advisory lock of runs taken, waiting for it up to *timeout_s* seconds.

    Raises:
        DatabaseError: *holders* hold it still (LR208); the hint says how to end them.
    """
    try:
        with connection.begin_nested():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_RUN})
    except DBAPIError as exc:
        if not is_lock_timeout(exc):
            raise
        what = f"another migration of this database has not ended within {timeout_s:g} s"
        raise _given_up(what, holders) from exc


def _given_up(what: str, holders: Sequence[Any]) -> DatabaseError:
    """Return the error of a run that waited for *holders* in vain: *what* it waited for."""
    ends = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid, *_ in holders)
    return DatabaseError(
        f"{what}: {_names(holders)}",
        code="LR208",
        where="database",
        hint=f"Run this again when it is done, or end it where it hangs: {ends}",
    )


def _names(holders: Sequence[Any]) -> str:
    """Return *holders* for people: rows that begin with pid, login and application."""
    return "; ".join(f"pid {pid}, login {login}, application '{name}'" for pid, login, name, *_ in holders)

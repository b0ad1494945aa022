"""Installs and upgrades schema `liverouter` by Alembic, whether from a checkout or from an installed wheel.

`upgrade`, `downgrade`, `current` and `check` block and open connections of their own; no background loop calls them.
`run_sql`, `install_roles`, `fill_providers` and `wait_turn` run inside a migration, called by the files of
`migrations/`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from alembic import command, op
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import delete, or_, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from liverouter.errors import DatabaseError
from liverouter.postgres.asked_url import as_database
from liverouter.postgres.connection import NETWORK_ERRORS, connect
from liverouter.postgres.errors import from_driver
from liverouter.postgres.pool import make_engine
from liverouter.postgres.schema import HEAD, REVISIONS, SCHEMA, mismatch, providers
from liverouter.providers import PROVIDERS
from liverouter.secrecy.leaving import leaves_bare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

    from liverouter.postgres.asked_url import Url

__all__ = [
    "HEAD",
    "check",
    "current",
    "downgrade",
    "engine",
    "fill_providers",
    "install_roles",
    "run_sql",
    "upgrade",
    "wait_turn",
]

_PACKAGE: Final = Path(__file__).parents[1]
_CONNECT_TIMEOUT_S: Final = 10.0  # for each host of the DSN
_LOCK_TIMEOUT_S: Final = 10.0  # for a table that somebody holds; short, because writers queue behind the run that waits
_PATIENCE: Final = 6  # lock timeouts that one run waits for another; longer, because nobody queues behind that
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
_one_at_a_time: Final = threading.Lock()  # Alembic keeps its context in module globals

T = TypeVar("T")


def _say(line: str) -> None:
    """Print *line* on standard error: what a caller prints of its own on standard output stays clean."""
    print(line, file=sys.stderr)  # noqa: T201 - for callers that give no function of their own


@leaves_bare
def upgrade(
    url: Url, revision: str = "head", *, echo: Callable[[str], None] = _say, lock_timeout_s: float = _LOCK_TIMEOUT_S
) -> str:
    """Bring the schema of the database at *url* up to *revision* and return the revision reached.

    Blocks; one transaction. A second run at the same time waits for the first, at most six times *lock_timeout_s*, and
    finds nothing left to do; a stranger who holds its lock holds nobody up. A table that somebody holds longer than
    *lock_timeout_s* fails the run, so that it never blocks everybody behind itself. *echo* gets what a person must
    know: for whom it waits, statements that this role may not run itself.

    Raises:
        DatabaseError: unreachable, login refused, a right is missing, a lock is not to be had in time (LR208), or the
            schema is newer than this liverouter.
    """
    _run(url, lambda config: command.upgrade(config, revision), echo, lock_timeout_s)
    return current(url) or ""


@leaves_bare
def downgrade(
    url: Url, revision: str, *, echo: Callable[[str], None] = _say, lock_timeout_s: float = _LOCK_TIMEOUT_S
) -> str | None:
    """Take the schema back to *revision* ("base": remove everything, the settings too); return the revision reached.

    Roles stay: they belong to the whole server, and logins are members of them.

    Raises:
        DatabaseError: as for `upgrade`.
    """
    _run(url, lambda config: command.downgrade(config, revision), echo, lock_timeout_s)
    return current(url)


@leaves_bare
def current(url: Url) -> str | None:
    """Return which revision the database at *url* has, or None where the schema is not installed.

    Raises:
        DatabaseError: it cannot be reached or asked.
    """
    return _in_thread(lambda: asyncio.run(_current(url)))


@leaves_bare
def check(url: Url) -> None:
    """Return when the database at *url* has exactly this code's schema; for deployment pipelines.

    Raises:
        DatabaseError: not installed (LR204), newer (LR205), older (LR206), or unreachable.
    """
    found = current(url)
    if found != HEAD:
        raise mismatch(found)


def run_sql(revision: str, *names: str) -> None:
    """Run files of ``migrations/sql/<revision>/`` inside a migration, each whole, in the order given."""
    context = op.get_context()
    for name in names:
        script = (_directory() / "sql" / revision / name).read_text(encoding="utf-8")
        if context.as_sql:
            context.impl.static_output(script)
            continue
        # By the driver itself: a file holds many statements, and SQLAlchemy would look for parameters in it.
        connection: Any = op.get_bind().connection.driver_connection
        await_only(connection.execute(script))


def install_roles() -> None:
    """Inside a migration, create the roles and their rights; what somebody else has to run is told in the end."""
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output("SELECT liverouter.install_roles();")
        return
    attributes = context.config.attributes if context.config else {}
    told: list[str] = attributes.setdefault("told", [])  # statements that an earlier migration of this run told of
    statements = op.get_bind().scalars(text("SELECT liverouter.install_roles()")).all()
    remaining = [statement for statement in statements if statement not in told]
    if not remaining:
        return
    told += remaining
    echo: Callable[[str], None] = attributes.get("echo", _say)
    echo("-- This role may not create roles. For logins with fewer rights than the owner, whoever may, runs:")
    for statement in remaining:
        echo(statement)


def fill_providers(context: MigrationContext) -> None:
    """At the end of a run, bring table `liverouter.providers` to what this code knows; rows that are right stay.

    Every run does it, also one that finds the schema up to date, so that a new provider needs no migration.
    """
    table = providers.c
    rows = [
        {
            "name": spec.name,
            "label": spec.label,
            "secrets": list(spec.secret_names),
            "secret_aliases": [field.alias for field in spec.secrets],
            "base": spec.base.name,
            "base_alias": spec.base.alias,
            "takes_ambient": spec.takes_ambient,
        }
        for spec in PROVIDERS.values()
    ]
    adding = insert(providers).values(rows)
    news = {column: adding.excluded[column.name] for column in table if column is not table.name}
    differs = or_(*(column.is_distinct_from(new) for column, new in news.items()))
    for statement in (
        delete(providers).where(table.name.not_in(PROVIDERS)),
        adding.on_conflict_do_update(index_elements=[table.name], set_=news, where=differs),
    ):
        if context.as_sql:
            script = statement.compile(dialect=context.dialect, compile_kwargs={"literal_binds": True})
            context.impl.static_output(f"{script};")
        else:
            context.execute(statement)


def wait_turn(
    connection: Connection, *, echo: Callable[[str], None] = _say, lock_timeout_s: float = _LOCK_TIMEOUT_S
) -> None:
    """Inside a run's transaction, return once no other run migrates this database; tells *echo* for whom it waits.

    Runs are kept apart by an advisory lock. Any login may hold that, so a holder that could not migrate this database
    is passed by: what keeps runs apart then is a lock on Alembic's table, which strangers cannot take.

    Raises:
        DatabaseError: the other run has not ended within six times *lock_timeout_s* (LR208); names it.
    """
    if not connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _ONE_RUN}):
        holders = connection.execute(_HOLDERS, {"key": _ONE_RUN, "schema": SCHEMA}).all()
        who = "; ".join(f"pid {h.pid}, login {h.login}, application '{h.application}'" for h in holders)
        if holders and not any(h.may_migrate for h in holders):
            echo(f"passing by the migration lock, which a login holds that may not migrate: {who}")
        else:
            echo(f"waiting for another migration of this database: {who or 'it ends just now'}")
            _wait_for(connection, who, [h.pid for h in holders], _PATIENCE * lock_timeout_s)
    _set_lock_timeout(connection, lock_timeout_s)
    if connection.scalar(text("SELECT to_regclass('liverouter.alembic_version')")) is not None:
        connection.execute(text("LOCK TABLE liverouter.alembic_version IN SHARE UPDATE EXCLUSIVE MODE"))


def _wait_for(connection: Connection, who: str, pids: Sequence[int], timeout_s: float) -> None:
    """Return with the advisory lock of runs taken, waiting for it up to *timeout_s* seconds.

    Args:
        connection: this run's, inside its transaction.
        who: the holders, for people.
        pids: the holders' backends.
        timeout_s: seconds.

    Raises:
        DatabaseError: they hold it still (LR208); the hint says how to end them.
    """
    try:
        with connection.begin_nested():
            _set_lock_timeout(connection, timeout_s)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_RUN})
    except DBAPIError as exc:
        if from_driver(exc).code != "LR208":
            raise
        message = f"another migration of this database has not ended within {timeout_s:g} s: {who}"
        ends = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in pids)
        hint = f"Run this again when it is done, or end it where it hangs: {ends}"
        raise DatabaseError(message, code="LR208", where="database", hint=hint) from exc


def _set_lock_timeout(connection: Connection, timeout_s: float) -> None:
    """Have statements of this transaction wait at most *timeout_s* seconds for a lock."""
    connection.execute(text("SELECT set_config('lock_timeout', :value, true)"), {"value": f"{timeout_s}s"})


def engine(url: Url) -> AsyncEngine:
    """Return an engine that opens a connection for each use and keeps none; *url* may lead through a pooler."""
    opened = partial(connect, as_database(url), application_name="liverouter migrate", timeout_s=_CONNECT_TIMEOUT_S)
    return make_engine(opened, poolclass=NullPool)


def _run(url: Url, command_: Callable[[Config], Any], echo: Callable[[str], None], lock_timeout_s: float) -> None:
    """Run an Alembic command over the database at *url*, one at a time in this process; blocks.

    `migrations/env.py` finds *url*, *echo* and *lock_timeout_s* in the attributes of the Config.

    Raises:
        DatabaseError: whatever failed; of a ValueError nothing is repeated.
    """
    config = Config()
    config.set_main_option("script_location", str(_directory()).replace("%", "%%"))
    config.attributes |= {
        "url": as_database(url),
        "echo": echo,
        "lock_timeout_s": lock_timeout_s,
    }
    with _one_at_a_time:
        try:
            _in_thread(partial(command_, config))
        except (SQLAlchemyError, *NETWORK_ERRORS) as exc:
            raise from_driver(exc) from exc
        except ValueError as exc:
            raise from_driver(exc) from None  # its text is a piece of the URL, often of the password
        except CommandError as exc:
            found = current(url)
            if found is not None and found not in REVISIONS:
                raise mismatch(found) from exc
            hint = f"This liverouter knows {', '.join(REVISIONS)}"
            raise DatabaseError(f"the migration cannot run: {exc}", code="LR208", where="database", hint=hint) from exc


async def _current(url: Url) -> str | None:
    """Do what `current` does, on the running loop."""
    database = engine(url)
    try:
        async with database.connect() as connection:
            if await connection.scalar(text("SELECT to_regclass('liverouter.alembic_version')")) is None:
                return None
            found = await connection.scalar(text("SELECT version_num FROM liverouter.alembic_version"))
            return None if found is None else str(found)
    except (SQLAlchemyError, *NETWORK_ERRORS) as exc:
        raise from_driver(exc) from exc
    except ValueError as exc:
        raise from_driver(exc) from None
    finally:
        await database.dispose()


def _in_thread(function: Callable[[], T]) -> T:
    """Return what *function* returns, or raise what it raises, from a thread of its own; blocks.

    The caller's thread may have an event loop running, where asyncio.run refuses.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def target() -> None:
        try:
            results.append(function())
        except BaseException as exc:  # noqa: BLE001 - carried over to the caller's thread, whatever it is
            failures.append(exc)

    thread = threading.Thread(target=target, name="liverouter-migrate")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _directory() -> Path:
    """Return the folder of the migrations: inside the package in a wheel, beside `src` in a checkout."""
    shipped = _PACKAGE / "_migrations"
    return shipped if shipped.is_dir() else _PACKAGE.parents[1] / "migrations"

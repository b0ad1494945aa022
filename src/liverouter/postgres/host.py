"""For an application that has an Alembic of its own: install our schema by its migrations, keep autogenerate off it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from liverouter.errors import DatabaseError
from liverouter.postgres.migration_locks import LOCK_TIMEOUT_S, Waits, say
from liverouter.postgres.migration_run import begin_run, directory, end_run, running, session_of_a_host
from liverouter.postgres.versions import HEAD, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

__all__ = ["include_name", "include_object", "upgrade"]


def upgrade(
    connection: Connection | None,
    *,
    echo: Callable[[str], None] = say,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    role_prefix: str | None = None,
) -> str:
    """Bring schema `liverouter` to this version's inside the transaction of *connection*; return the revision reached.

    To be called in a migration: ``upgrade(op.get_bind())``. It uses nothing of the host's Alembic, keeps its version in
    the schema itself, and leaves what it did to the host's transaction, to commit or to roll back. Safe to repeat: a
    later migration of the host calls it again for a later version of liverouter.

    Args:
        connection: SQLAlchemy's, over psycopg, psycopg2 or asyncpg.
        echo: gets what a person must know: for whom it waits, statements that this role may not run itself.
        lock_timeout_s: seconds that it waits for a lock.
        role_prefix: as of `migrate.upgrade`.

    Raises:
        DatabaseError: a script was asked for (``--sql``), the database is not UTF8, or another run does not end.
        sqlalchemy.exc.DBAPIError: whatever else fails.
    """
    if connection is None:
        raise DatabaseError(
            "the schema cannot be written into a script of the host's",
            code="LR208",
            where="database",
            hint="In liverouter's checkout: alembic upgrade head --sql",
        )
    scripts = ScriptDirectory(str(directory()))
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table_schema": SCHEMA,
            "fn": lambda current, _: scripts._upgrade_revs("head", current),  # noqa: SLF001 - as Alembic's env.py has it
        },
    )
    with session_of_a_host(connection), running(context, echo, role_prefix):
        begin_run(connection, Waits(echo, lock_timeout_s))
        context.run_migrations()
        end_run(context)
    return HEAD


def include_name(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
    """Tell Alembic's autogenerate to look at *name*: not at our schema. For ``context.configure(include_name=…)``."""
    return parents.get("schema_name") != SCHEMA and not (kind == "schema" and name == SCHEMA)


def include_object(item: Any, _name: str | None, _kind: str, _reflected: bool, _other: Any) -> bool:  # noqa: FBT001 - Alembic calls it so
    """Tell Alembic's autogenerate to look at *item*: at none of ours. For ``context.configure(include_object=…)``."""
    return getattr(getattr(item, "table", item), "schema", None) != SCHEMA

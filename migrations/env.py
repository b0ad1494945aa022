"""Alembic's entry: one connection, one transaction, one migration at a time; the version table lives in our schema."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from alembic import context

from liverouter.postgres.migrate import engine
from liverouter.postgres.migration_locks import Waits, say, watched
from liverouter.postgres.migration_run import begin_run, end_run, fill_tables, running
from liverouter.postgres.schema import metadata
from liverouter.postgres.versions import HEAD, SCHEMA

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _configure(**arguments: object) -> None:
    context.configure(
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _: name == SCHEMA if kind == "schema" else True,
        compare_type=True,
        compare_server_default=True,
        **arguments,  # type: ignore[arg-type]
    )


def _migrate(connection: Connection, waits: Waits) -> None:
    # Comments stand in the SQL files alone, and a test sees that every object has one.
    connection.dialect.supports_comments = False
    with connection.begin():
        begin_run(connection, waits)
        _configure(connection=connection)
        with running(context.get_context(), waits.echo, context.config.attributes.get("role_prefix")):
            context.run_migrations()
            if "destination_rev" in context.get_context().opts:  # and does not only look, as `alembic check` does
                end_run(context.get_context())


async def _online(url: str) -> None:
    database, waits = engine(url), context.config.attributes.get("waits") or Waits()
    try:
        async with database.connect() as connection, watched(database, waits):
            await connection.run_sync(_migrate, waits)
    finally:
        await database.dispose()


def _offline() -> None:
    _configure(dialect_name="postgresql")
    with context.begin_transaction():
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        with running(context.get_context(), say):
            context.run_migrations()
        if context.get_revision_argument() == HEAD:
            fill_tables(context.get_context())


if context.is_offline_mode():
    _offline()
else:
    asyncio.run(_online(context.config.attributes.get("url") or os.environ.get("LIVEROUTER_DATABASE_URL", "")))

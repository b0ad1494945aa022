"""Alembic's entry: one connection, one transaction, one migration at a time; the version table lives in our schema."""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from liverouter.postgres.migrate import engine, fill_providers, wait_turn
from liverouter.postgres.schema import HEAD, SCHEMA, metadata


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


def _migrate(connection: Connection) -> None:
    # Comments stand in the SQL files alone, and a test sees that every object has one.
    connection.dialect.supports_comments = False
    known = context.config.attributes
    with connection.begin():
        wait_turn(connection, **{name: known[name] for name in ("echo", "lock_timeout_s") if name in known})
        if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
            connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        _configure(connection=connection)
        context.run_migrations()
        moves = "destination_rev" in context.get_context().opts  # and does not only look, as `alembic check` does
        if moves and connection.scalar(text("SELECT to_regclass('liverouter.providers')")) is not None:
            fill_providers(context.get_context())


async def _online(url: str) -> None:
    database = engine(url)
    try:
        async with database.connect() as connection:
            await connection.run_sync(_migrate)
    finally:
        await database.dispose()


def _offline() -> None:
    _configure(dialect_name="postgresql")
    with context.begin_transaction():
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        context.run_migrations()
        if context.get_revision_argument() == HEAD:
            fill_providers(context.get_context())


if context.is_offline_mode():
    _offline()
else:
    asyncio.run(_online(context.config.attributes.get("url") or os.environ.get("LIVEROUTER_DATABASE_URL", "")))

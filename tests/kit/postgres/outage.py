"""A database that is away for a while, on a server that goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.kit.waiting import until

if TYPE_CHECKING:
    import psycopg


def cut_off(admin: psycopg.Connection[Any], database: str) -> None:
    """Have nobody be in *database*, nor come in."""
    admin.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false'.encode())
    # Who was let in just before is no session yet that could be ended, and holds a lock until it is one.
    held = "SELECT 1 FROM pg_locks WHERE classid = 'pg_database'::regclass AND objid = %s::oid"
    row = admin.execute("SELECT oid FROM pg_database WHERE datname = %s", [database]).fetchone()
    assert row is not None
    until(lambda: admin.execute(held, row).fetchone() is None)
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])


def let_in(admin: psycopg.Connection[Any], database: str) -> None:
    """Have them come in again."""
    admin.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true'.encode())

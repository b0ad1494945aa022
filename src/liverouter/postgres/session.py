"""The run-time parameters of a session of ours, and how they are set where a pooler or a proxy refuses them."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Connection

# In `options`: -c name=value or --name=value, as the server's command line has them. A blank in a value has a \ before.
_ASSIGNMENT: Final = re.compile(r"(?:^|(?<=\s))(?:-c\s*+|--)([A-Za-z_.-]++)=((?:\\.|[^\s\\])*+)\s*+")
_ESCAPED: Final = re.compile(r"\\(.)")
_HAS_TRANSACTION_TIMEOUT: Final = 17  # and every later version


def session_settings(statement_timeout_s: float) -> dict[str, str]:
    """Return the run-time parameters of a session of ours; a role may carry others, with which this does not work.

    Args:
        statement_timeout_s: seconds that the server gives one statement; 0 sets no limit.
    """
    return {
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "lock_timeout": "0",
        "statement_timeout": str(round(statement_timeout_s * 1000)),
    }


async def lift_transaction_timeout(connection: Connection) -> None:
    """Have the server end no transaction of ours for its length; not behind a pooler, which would leave that to others.

    It is the one timeout that a start-up cannot set: servers before PostgreSQL 17 refuse its name.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection broke, and was dropped.
    """
    if connection.get_server_version().major < _HAS_TRANSACTION_TIMEOUT:
        return
    own = f"pg_backend_pid() = {int(connection.get_server_pid())}"
    try:
        with contextlib.suppress(asyncpg.UndefinedObjectError):  # of a server that is another one than it says
            await connection.execute(f"SELECT set_config('transaction_timeout', '0', false) WHERE {own}")
    except BaseException:  # a cancellation, too: nobody else knows of this connection yet
        connection.terminate()
        raise


async def set_late(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set what of *settings* may be set; nothing behind a pooler, which would leave it to other clients.

    A pooler is known by the process id that it hands out, which is none of the server's.

    Raises:
        OSError, asyncpg.InterfaceError: the connection broke, and was dropped.
    """
    try:
        if await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid():
            return
        for name, value in settings.items():
            with contextlib.suppress(asyncpg.PostgresError):
                await connection.execute("SELECT set_config($1, $2, false)", name, value)
    except BaseException:  # a cancellation, too: nobody else knows of this connection yet
        connection.terminate()
        raise


def taken_apart(options: str) -> tuple[str, dict[str, str]]:
    """Return what the start-up option *options* says beside settings, to a proxy's routing, and its settings."""
    settings = {name.replace("-", "_"): _ESCAPED.sub(r"\1", value) for name, value in _ASSIGNMENT.findall(options)}
    return _ASSIGNMENT.sub("", options).strip(), settings

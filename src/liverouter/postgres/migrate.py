"""Installs and upgrades schema `liverouter` by Alembic, whether from a checkout or from an installed wheel.

`upgrade`, `downgrade`, `current` and `check` block and open connections of their own; no background loop calls them.
The files of `migrations/versions` take `run_sql` and `install_roles` from here; `host` is for an application that has
an Alembic of its own.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from liverouter.errors import DatabaseError
from liverouter.postgres.asked_url import as_database
from liverouter.postgres.connection import NETWORK_ERRORS, connect
from liverouter.postgres.errors import from_driver
from liverouter.postgres.migration_locks import LOCK_TIMEOUT_S, Waits, say, watched
from liverouter.postgres.migration_run import directory, install_roles, run_sql
from liverouter.postgres.rights import lacking, restore_rights, shared
from liverouter.postgres.session import session_settings
from liverouter.postgres.versions import HEAD, REVISIONS, mismatch
from liverouter.secrecy.leaving import leaves_bare

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.postgres.asked_url import Url

__all__ = [
    "HEAD",
    "check",
    "current",
    "downgrade",
    "engine",
    "install_roles",
    "run_sql",
    "upgrade",
]

_CONNECT_TIMEOUT_S: Final = 10.0  # for each host of the DSN
_one_at_a_time: Final = threading.Lock()  # Alembic keeps its context in module globals

T = TypeVar("T")


@leaves_bare
def upgrade(
    url: Url,
    revision: str = "head",
    *,
    echo: Callable[[str], None] = say,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    role_prefix: str | None = None,
) -> str:
    """Bring the schema of the database at *url* up to *revision* and return the revision reached.

    Blocks; one transaction. A second run at the same time waits for the first, at most *lock_timeout_s* seconds, and
    finds nothing left to do; a stranger who holds its lock holds nobody up. A table that somebody holds longer than
    that fails the run, so that it never blocks everybody behind itself. What the roles lack is given back to them.
    *echo* gets what a person must know: for whom it waits, what it restored, statements that this role may not run.
    With a *role_prefix* the roles are PREFIX_client, PREFIX_writer and PREFIX_inspector from now on, which the database
    remembers; logins that were members of those before have no rights here any more.

    Raises:
        DatabaseError: unreachable, login refused, a right is missing, a lock is not to be had in time (LR208), the
            schema is newer than this liverouter, or no role can be called so (LR215).
    """
    _run(url, lambda config: command.upgrade(config, revision), echo, lock_timeout_s, role_prefix)
    return current(url, echo=echo, lock_timeout_s=lock_timeout_s) or ""


@leaves_bare
def downgrade(
    url: Url, revision: str, *, echo: Callable[[str], None] = say, lock_timeout_s: float = LOCK_TIMEOUT_S
) -> str | None:
    """Take the schema back to *revision* ("base": remove everything, the settings too); return the revision reached.

    Roles stay: they belong to the whole server, and logins are members of them.

    Raises:
        DatabaseError: as for `upgrade`.
    """
    _run(url, lambda config: command.downgrade(config, revision), echo, lock_timeout_s)
    return current(url, echo=echo, lock_timeout_s=lock_timeout_s)


@leaves_bare
def current(url: Url, *, echo: Callable[[str], None] = say, lock_timeout_s: float = LOCK_TIMEOUT_S) -> str | None:
    """Return which revision the database at *url* has, or None where the schema is not installed.

    Tells *echo* for whom it waits, and gives up after *lock_timeout_s* seconds.

    Raises:
        DatabaseError: it cannot be reached or asked.
    """
    return _in_thread(lambda: asyncio.run(_current(url, Waits(echo, lock_timeout_s))))


@leaves_bare
def check(url: Url, *, echo: Callable[[str], None] = say) -> None:
    """Return when the database at *url* has exactly this code's schema, and its roles; for deployment pipelines.

    Only the owner of the schema can see what the roles lack; for others that is not looked at. *echo* is told where
    another database of the server shares them.

    Raises:
        DatabaseError: not installed (LR204), newer (LR205), older (LR206), roles or their rights are missing (LR207),
            or unreachable.
    """
    found = current(url)
    if found != HEAD:
        raise mismatch(found)
    lacked, statements, warning = _in_thread(lambda: asyncio.run(_lacked(url)))
    if warning is not None:
        echo(f"warning: {warning}")
    if lacked or statements:
        raise lacking(lacked, statements)


def engine(url: Url) -> AsyncEngine:
    """Return an engine that opens a connection for each use and keeps none; *url* may lead through a pooler."""
    opened = partial(
        connect,
        as_database(url),
        application_name="liverouter migrate",
        timeout_s=_CONNECT_TIMEOUT_S,
        server_settings=session_settings(0),
    )
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=opened,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        poolclass=NullPool,
    )


def _run(
    url: Url,
    command_: Callable[[Config], Any],
    echo: Callable[[str], None],
    lock_timeout_s: float,
    role_prefix: str | None = None,
) -> None:
    """Run an Alembic command over the database at *url*, one at a time in this process; blocks.

    `migrations/env.py` finds the database, *echo*, *role_prefix* and for whom the run waits in the attributes of the
    Config.

    Raises:
        DatabaseError: whatever failed; of a ValueError nothing is repeated.
    """
    config, waits = Config(), Waits(echo, lock_timeout_s)
    config.set_main_option("script_location", str(directory()).replace("%", "%%"))
    config.attributes |= {
        "url": as_database(url),
        "echo": echo,
        "waits": waits,
        "role_prefix": role_prefix,
    }
    with _one_at_a_time:
        try:
            _in_thread(partial(command_, config))
        except (SQLAlchemyError, *NETWORK_ERRORS) as exc:
            raise waits.explained(exc) from exc
        except ValueError as exc:
            raise from_driver(exc) from None  # its text is a piece of the URL, often of the password
        except CommandError as exc:
            found = current(url)
            if found is not None and found not in REVISIONS:
                raise mismatch(found) from exc
            hint = f"This liverouter knows {', '.join(REVISIONS)}"
            raise DatabaseError(f"the migration cannot run: {exc}", code="LR208", where="database", hint=hint) from exc


async def _current(url: Url, waits: Waits) -> str | None:
    """Do what `current` does, on the running loop."""
    database = engine(url)
    try:
        async with database.connect() as connection, watched(database, waits):
            await connection.run_sync(waits.begin)
            if await connection.scalar(text("SELECT to_regclass('liverouter.alembic_version')")) is None:
                return None
            found = await connection.scalar(text("SELECT version_num FROM liverouter.alembic_version"))
            return None if found is None else str(found)
    except (SQLAlchemyError, *NETWORK_ERRORS) as exc:
        raise waits.explained(exc) from exc
    except ValueError as exc:
        raise from_driver(exc) from None
    finally:
        await database.dispose()


async def _lacked(url: Url) -> tuple[list[str], list[str], DatabaseError | None]:
    """Return what `restore_rights` would restore, and `shared`; nothing where this login, or a standby, cannot tell."""
    database = engine(url)
    try:
        async with database.connect() as connection:
            warning = await connection.run_sync(shared)
            return *await connection.run_sync(restore_rights), warning  # and rolls back
    except (SQLAlchemyError, *NETWORK_ERRORS) as exc:
        if (error := from_driver(exc)).code in ("LR207", "LR209"):
            return [], [], None
        raise error from exc
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

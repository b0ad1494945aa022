"""Installs and upgrades schema `liverouter` by Alembic, from a checkout and from an installed wheel alike."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from alembic import command, op
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from liverouter.database import make_engine
from liverouter.diagnosis import explain
from liverouter.dial import NETWORK_ERRORS, dial
from liverouter.errors import DatabaseError
from liverouter.leaving import leaves_bare
from liverouter.options import database_url
from liverouter.schema import HEAD, REVISIONS, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["HEAD", "check", "current", "downgrade", "engine", "install_roles", "run_sql", "upgrade"]

_PACKAGE: Final = Path(__file__).parent
_CONNECT_TIMEOUT_S: Final = 10.0  # for each host of the DSN
_LOCK_TIMEOUT_S: Final = 10.0
_one_at_a_time: Final = threading.Lock()  # Alembic keeps its context in module globals

T = TypeVar("T")


@leaves_bare
def upgrade(
    url: str, revision: str = "head", *, echo: Callable[[str], None] = print, lock_timeout_s: float = _LOCK_TIMEOUT_S
) -> str:
    """Bring the schema of the database at *url* up to *revision* and return the revision reached.

    Blocks; one transaction. A second run at the same time waits for the first and finds nothing left to do. A table
    that somebody holds longer than *lock_timeout_s* fails the run, so that it never blocks everybody behind itself.
    *echo* gets what a person must know, such as statements that this role may not run itself.

    Raises:
        DatabaseError: unreachable, login refused, a right is missing, or the schema is newer than this liverouter.
    """
    _run(url, lambda config: command.upgrade(config, revision), echo, lock_timeout_s)
    return current(url) or ""


@leaves_bare
def downgrade(
    url: str, revision: str, *, echo: Callable[[str], None] = print, lock_timeout_s: float = _LOCK_TIMEOUT_S
) -> str | None:
    """Take the schema back to *revision* ("base": remove everything, the settings too); return the revision reached.

    Roles stay: they belong to the whole server, and logins are members of them.

    Raises:
        DatabaseError: as for `upgrade`.
    """
    _run(url, lambda config: command.downgrade(config, revision), echo, lock_timeout_s)
    return current(url)


@leaves_bare
def current(url: str) -> str | None:
    """Return which revision the database at *url* has, or None where the schema is not installed.

    Raises:
        DatabaseError: it cannot be reached or asked.
    """
    return _in_thread(lambda: asyncio.run(_current(url)))


@leaves_bare
def check(url: str) -> None:
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
    """Inside a migration, create the roles and their rights, or say which statements somebody else has to run."""
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output("SELECT liverouter.install_roles();")
        return
    remaining = op.get_bind().scalars(text("SELECT liverouter.install_roles()")).all()
    if not remaining:
        return
    echo: Callable[[str], None] = context.config.attributes.get("echo", print) if context.config else print
    echo("-- This role may not create roles. For logins with fewer rights than the owner, whoever may, runs:")
    for statement in remaining:
        echo(statement)


def engine(url: str) -> AsyncEngine:
    """Return an engine without a pool of its own; a pooler may stand between."""
    dsn = database_url(url, "LIVEROUTER_DATABASE_URL")
    connect = partial(dial, dsn, application_name="liverouter migrate", timeout_s=_CONNECT_TIMEOUT_S)
    return make_engine(connect, poolclass=NullPool)


def _run(url: str, command_: Callable[[Config], Any], echo: Callable[[str], None], lock_timeout_s: float) -> None:
    config = Config()
    config.set_main_option("script_location", str(_directory()).replace("%", "%%"))
    config.attributes |= {
        "url": database_url(url, "LIVEROUTER_DATABASE_URL"),
        "echo": echo,
        "lock_timeout_s": lock_timeout_s,
    }
    with _one_at_a_time:
        try:
            _in_thread(partial(command_, config))
        except (SQLAlchemyError, *NETWORK_ERRORS) as exc:
            raise explain(exc) from exc
        except ValueError as exc:
            raise explain(exc) from None  # its text is a piece of the URL, often of the password
        except CommandError as exc:
            found = current(url)
            if found is not None and found not in REVISIONS:
                raise mismatch(found) from exc
            hint = f"This liverouter knows {', '.join(REVISIONS)}"
            raise DatabaseError(f"the migration cannot run: {exc}", code="LR208", where="database", hint=hint) from exc


async def _current(url: str) -> str | None:
    database = engine(url)
    try:
        async with database.connect() as connection:
            if await connection.scalar(text("SELECT to_regclass('liverouter.alembic_version')")) is None:
                return None
            found = await connection.scalar(text("SELECT version_num FROM liverouter.alembic_version"))
            return None if found is None else str(found)
    except (SQLAlchemyError, *NETWORK_ERRORS) as exc:
        raise explain(exc) from exc
    except ValueError as exc:
        raise explain(exc) from None
    finally:
        await database.dispose()


def _in_thread(function: Callable[[], T]) -> T:
    """Run *function* in a thread of its own: the caller's may have an event loop running, where asyncio.run refuses."""
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
    shipped = _PACKAGE / "_migrations"
    return shipped if shipped.is_dir() else _PACKAGE.parents[1] / "migrations"

"""The connections behind `repository`: made on first use, checked, kept, replaced when they break or grow old."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from liverouter.errors import DatabaseError
from liverouter.postgres.asked_url import as_database
from liverouter.postgres.connection import NETWORK_ERRORS, Connection, connect
from liverouter.postgres.errors import from_driver, is_broken, is_garbled
from liverouter.postgres.schema import HEAD, mismatch
from liverouter.postgres.visibility import HIDDEN, hidden
from liverouter.secrecy.leaving import bare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Row, TextClause

    from liverouter.postgres.asked_url import Url

T = TypeVar("T")
_GRACE_S: Final = 1.0  # by which ours outlast the server's timeouts, which say more


class _CommitError(Exception):
    """The connection broke during a COMMIT: nobody knows whether it happened."""


class Database:
    """One or a few connections to one database, for the event loop that uses them.

    A transaction pooler may stand between: nothing is prepared under a name, each statement goes out whole (parse,
    bind, execute) in one message, and nothing is left behind on a session. What is known of a statement's columns is
    kept, so that a read is one round trip.

    Args:
        url: the DSN, or a function that returns it, asked at each connect.
        application_name: how `pg_stat_activity` calls the connections.
        statement_timeout_s: seconds for one statement at the server; also to wait for one of the connections.
        connect_timeout_s: seconds for each host of the DSN.
        max_connection_age_s: seconds after which a connection is replaced. A new one resolves names again, so that a
            new primary is found while the old one is up.

    """

    def __init__(
        self,
        *,
        url: Url,
        application_name: str,
        statement_timeout_s: float,
        connect_timeout_s: float,
        max_connection_age_s: float,
    ) -> None:
        self._dsn = as_database(url)
        self._application_name = application_name
        self._statement_timeout_s, self._connect_timeout_s = statement_timeout_s, connect_timeout_s
        self._max_connection_age_s = max_connection_age_s
        self._engine: AsyncEngine | None = None
        self._made: weakref.WeakSet[Connection] = weakref.WeakSet()

    @property
    def where(self) -> str:
        """Return the database without its password, for errors."""
        return f"database {self._dsn.without_password}".rstrip()

    async def select(self, statement: TextClause, values: Mapping[str, object]) -> Sequence[Row[Any]]:
        """Return the rows of one reading statement, which sees one state of the database.

        Tried again, once, where the kept connection turns out to be broken.

        Raises:
            DatabaseError: it failed.
        """
        try:
            return await self.execute(statement, values)
        except DatabaseError as exc:
            if not is_broken(exc):
                raise
        await self._drop_idle()
        return await self.execute(statement, values)

    async def execute(self, statement: TextClause, values: Mapping[str, object]) -> Sequence[Row[Any]]:
        """Return the rows of one statement that may write, committed by itself.

        Raises:
            DatabaseError: it failed; where the connection broke it may have been committed.
        """
        async with self._connection(None) as connection:
            # One statement is one snapshot and one transaction by itself: no BEGIN, no COMMIT, one round trip.
            alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
            return (await alone.execute(statement, values)).all()

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]], *, timeout_s: float | None = None) -> T:
        """Return what *work* returns, which runs in a READ COMMITTED transaction, committed when *work* has returned.

        *work* runs again, once, where the kept connection turns out to be broken before the commit.

        Args:
            work: gets the connection; must not commit.
            timeout_s: seconds for a statement that may take longer than others; None keeps the statement timeout.

        Raises:
            DatabaseError: it failed; where the connection broke during the commit, it may have happened.
        """
        try:
            return await self._transact(work, timeout_s)
        except DatabaseError as exc:
            if not is_broken(exc) or isinstance(exc.__cause__, _CommitError):
                raise
        await self._drop_idle()
        return await self._transact(work, timeout_s)

    async def close(self) -> None:
        """Close every connection, those in use as well; further use opens new ones."""
        await self._drop_idle()
        for connection in list(self._made):  # SQLAlchemy forgets one whose set-up was cancelled, without closing it
            connection.terminate()

    async def _drop_idle(self) -> None:
        """Close the connections that nobody uses; the next use opens new ones."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    async def _transact(self, work: Callable[[AsyncConnection], Awaitable[T]], timeout_s: float | None) -> T:
        """Do what `transact` does, once.

        Raises:
            DatabaseError: it failed; its cause is a `_CommitError` where the commit did.
        """
        async with self._connection(timeout_s) as connection, connection.begin() as transaction:
            if timeout_s is not None:
                limit = f"{timeout_s + _GRACE_S:.3f}s"
                await connection.execute(text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": limit})
            result = await work(connection)
            try:
                await transaction.commit()
            except (SQLAlchemyError, *NETWORK_ERRORS) as exc:
                raise _CommitError from bare(exc)
            return result

    @asynccontextmanager
    async def _connection(self, timeout_s: float | None) -> AsyncIterator[AsyncConnection]:
        """Yield a connection. Getting it and its use may take *timeout_s* (None: the statement timeout) and two graces.

        A URL that gives its hosts more time to connect has that in addition.

        Raises:
            DatabaseError: in place of whatever driver, network or server raise inside, without the frames of theirs.
        """
        limit_s = (timeout_s or self._statement_timeout_s) + 2 * _GRACE_S + self._dsn.connect_timeout_s
        try:
            async with asyncio.timeout(limit_s), self._opened().connect() as connection:
                yield connection
        except DatabaseError as exc:
            raise bare(exc)  # noqa: B904 - it came through frames of the driver, which hold the DSN
        except (SQLAlchemyError, _CommitError, *NETWORK_ERRORS) as exc:
            raise from_driver(exc, where=self.where) from bare(exc)
        except TypeError as exc:
            if not is_garbled(exc):
                raise
            broken = asyncpg.InternalClientError(str(exc))
            raise from_driver(broken, where=self.where) from broken

    def _opened(self) -> AsyncEngine:
        """Return the engine, made on the first use: one connection kept, two more while that is busy."""
        if self._engine is None:
            self._engine = make_engine(
                self._connect,
                pool_size=1,
                max_overflow=2,
                pool_timeout=self._statement_timeout_s,
                pool_recycle=self._max_connection_age_s,
            )
            event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        return self._engine

    async def _connect(self) -> Connection:
        """Return a new connection, to a database whose schema this code can work with.

        Raises:
            DatabaseError: the DSN cannot be read, or the schema is of no use.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection failed.
        """
        settings = {  # a role may carry others, with which this does not work
            "default_transaction_isolation": "read committed",
            "idle_session_timeout": "0",
            "lock_timeout": "0",
            "statement_timeout": str(round(self._statement_timeout_s * 1000)),
        }
        try:
            connection = await connect(
                self._dsn,
                application_name=self._application_name,
                timeout_s=self._connect_timeout_s,
                server_settings=settings,
            )
        except ValueError as exc:
            raise from_driver(exc, where=self.where) from None  # the text of *exc* is a piece of the URL
        try:
            async with asyncio.timeout(self._statement_timeout_s + _GRACE_S):
                await _check_schema(connection, self.where)
        except BaseException:  # a cancellation, too: nobody else knows of this connection yet
            connection.terminate()
            raise
        self._made.add(connection)
        return connection


def make_engine(connect: Callable[[], Awaitable[Connection]], **pool: Any) -> AsyncEngine:
    """Return an engine over the connections that *connect* opens; *pool* are the arguments of SQLAlchemy's pool."""
    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, isolation_level="READ COMMITTED", hide_parameters=True, **pool
    )


async def _check_schema(connection: Connection, where: str) -> None:
    """Return where this code can work with the schema: its own, or a newer one that says it serves this code.

    Raises:
        DatabaseError: not installed (LR204), newer (LR205), older (LR206), or hidden by row-level security (LR207).
    """
    if await connection.fetchval("SELECT to_regclass('liverouter.alembic_version') IS NULL"):
        raise mismatch(None, where)
    found = await connection.fetchval("SELECT version_num FROM liverouter.alembic_version")
    if found == HEAD:
        return
    if found is None and (tables := await connection.fetch(HIDDEN)):
        raise hidden((table["name"] for table in tables), where)
    error = mismatch(found, where)
    if error.code != "LR205" or not await connection.fetchval("SELECT liverouter.serves($1)", HEAD):
        raise error


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a kept connection that the server ended meanwhile; costs no round trip."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError

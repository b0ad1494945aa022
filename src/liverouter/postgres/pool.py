"""The connections behind `repository`: borrowed from the listener, or opened when needed and closed soon after."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import asyncpg

from liverouter.errors import DatabaseError
from liverouter.postgres.asked_url import as_database
from liverouter.postgres.connection import NETWORK_ERRORS, Connection, connect
from liverouter.postgres.errors import ends_connection, from_driver, is_broken, is_garbled
from liverouter.postgres.session import session_settings
from liverouter.postgres.versions import HEAD, ROLE_PREFIX, mismatch
from liverouter.postgres.visibility import HIDDEN, hidden
from liverouter.secrecy.leaving import bare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from liverouter.postgres.asked_url import Url

T = TypeVar("T")
_MOST: Final = 3  # connections at a time
_GRACE_S: Final = 1.0  # by which ours outlast the server's timeouts, which say more
_INSTALLED: Final = f"""
    SELECT EXISTS (
        SELECT FROM pg_class c WHERE c.relname = 'alembic_version' AND c.relnamespace = to_regnamespace('liverouter')
    ) AS is_installed, {ROLE_PREFIX} AS role_prefix
"""  # noqa: S608 - of a constant of ours
# Of a transaction that may take longer than others. Behind a pooler the server's own limit of it is in force as well.
_LIMITS: Final = """
    SELECT set_config(name, CASE name WHEN 'statement_timeout' THEN $1 ELSE '0' END, true)
    FROM pg_settings WHERE name IN ('statement_timeout', 'transaction_timeout')
"""
_GOODBYE_S: Final = 1.0  # for the server to close a connection that is of no more use


class Lender(Protocol):
    """Somebody with a connection to the same database, to whom it is of no use just now."""

    def lend(self) -> AbstractAsyncContextManager[Connection | None]:
        """Give the connection for a single statement; None where there is none to lend."""


class _CommitError(Exception):
    """The connection broke during a COMMIT: nobody knows whether it happened."""


class Database:
    """A few connections to one database, for the event loop that uses them.

    A transaction pooler may stand between: nothing is prepared under a name, each statement goes out whole (parse,
    bind, execute) in one message, and nothing is left behind on a session. What is lent is proven to have none.

    Args:
        url: the DSN, or a function that returns it, asked at each connect.
        application_name: how `pg_stat_activity` calls the connections.
        statement_timeout_s: seconds for one statement at the server; also to wait for one of the connections.
        connect_timeout_s: seconds for each host of the DSN.
        idle_s: seconds after the last use, after which nothing is kept open.
        max_connection_age_s: seconds after which a connection is replaced, however much it is used. A new one resolves
            names again, so that a new primary is found while the old one is up.
        lender: is asked for a connection before one is opened for a single statement; None for nobody.
    """

    def __init__(
        self,
        *,
        url: Url,
        application_name: str,
        statement_timeout_s: float,
        connect_timeout_s: float,
        idle_s: float,
        max_connection_age_s: float,
        lender: Lender | None,
    ) -> None:
        self._dsn = as_database(url)
        self._application_name = application_name
        self._statement_timeout_s, self._connect_timeout_s = statement_timeout_s, connect_timeout_s
        self._idle_s, self._max_connection_age_s = idle_s, max_connection_age_s
        self._lender = lender
        self._role_prefix = "liverouter"
        self._room = asyncio.Semaphore(_MOST)
        self._busy: set[Connection] = set()
        self._idle: list[Connection] = []  # the one used last comes last
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def where(self) -> str:
        """Return the database without its password, for errors."""
        return f"database {self._dsn.without_password}".rstrip()

    async def select(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of one reading statement, which sees one state of the database.

        Tried again, once, where the connection that was there already turns out to be broken.

        Raises:
            DatabaseError: it failed.
        """
        try:
            return await self.execute(statement, *values)
        except DatabaseError as exc:
            if not is_broken(exc):
                raise
        await self._close_idle()
        return await self.execute(statement, *values)

    async def execute(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of one statement that may write, committed by itself.

        Raises:
            DatabaseError: it failed; where the connection broke it may have been committed.
        """
        # One statement is one snapshot and one transaction by itself: no BEGIN, no COMMIT, one round trip.
        if (rows := await self._on_lent(statement, *values)) is not None:
            return rows
        async with self._connection(None) as connection:
            return await connection.rows(statement, *values)

    async def transact(self, work: Callable[[Connection], Awaitable[T]], *, timeout_s: float | None = None) -> T:
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
        await self._close_idle()
        return await self._transact(work, timeout_s)

    async def close(self) -> None:
        """Close every connection, those in use as well; further use opens new ones."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._close_idle()
        for connection in list(self._busy):
            connection.terminate()

    async def _on_lent(self, statement: str, *values: object) -> list[asyncpg.Record] | None:
        """Do what `execute` does on a connection that is lent; None where it has to be done on one of our own.

        That is so where nobody lends one, or where the statement took longer than it may there, and was undone.
        """
        if self._lender is None:
            return None
        with self._explained():
            try:
                async with self._lender.lend() as connection:
                    if connection is None:
                        return None
                    if not connection.is_checked:
                        await self._check_schema(connection)
                    rows = await connection.rows(statement, *values)
            except asyncpg.QueryCanceledError:
                return None
        await self._close_idle()  # a fleet that comes back needs all of the server's connections for its listeners
        return rows

    async def _transact(self, work: Callable[[Connection], Awaitable[T]], timeout_s: float | None) -> T:
        """Do what `transact` does, once.

        Raises:
            DatabaseError: it failed; its cause is a `_CommitError` where the commit did.
        """
        async with self._connection(timeout_s) as connection:
            transaction = connection.transaction(isolation="read_committed")
            await transaction.start()
            try:
                if timeout_s is not None:
                    await connection.execute(_LIMITS, f"{timeout_s + _GRACE_S:.3f}s")
                result = await work(connection)
            except Exception:
                with contextlib.suppress(*NETWORK_ERRORS):  # of a connection that is gone
                    await transaction.rollback()
                raise
            try:
                await transaction.commit()
            except NETWORK_ERRORS as exc:
                raise _CommitError from bare(exc)
            return result

    @asynccontextmanager
    async def _connection(self, timeout_s: float | None) -> AsyncIterator[Connection]:
        """Yield a connection. Getting it and its use may take *timeout_s* (None: the statement timeout) and two graces.

        A URL that gives its hosts more time to connect has that in addition.

        Raises:
            DatabaseError: in place of whatever driver, network or server raise inside.
        """
        limit_s = (timeout_s or self._statement_timeout_s) + 2 * _GRACE_S + self._dsn.connect_timeout_s
        with self._explained():
            async with asyncio.timeout(limit_s), self._room, self._used() as connection:
                yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise a DatabaseError in place of whatever driver, network or server raise inside, without their frames."""
        try:
            yield
        except DatabaseError as exc:
            raise bare(exc)  # noqa: B904 - it came through frames of the driver, which hold the DSN
        except (_CommitError, *NETWORK_ERRORS) as exc:
            raise from_driver(exc, where=self.where, role_prefix=self._role_prefix) from bare(exc)
        except TypeError as exc:
            if not is_garbled(exc):
                raise
            broken = asyncpg.InternalClientError(str(exc))
            raise from_driver(broken, where=self.where) from broken

    @asynccontextmanager
    async def _used(self) -> AsyncIterator[Connection]:
        """Yield a kept connection or a new one, and keep it for the next use, unless it broke or was left in between.

        Raises:
            DatabaseError: the DSN cannot be read, or the schema is of no use.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection failed.
        """
        connection = await self._kept() or await self._connect()
        self._busy.add(connection)
        try:
            yield connection
        except BaseException as exc:
            if ends_connection(exc):
                connection.terminate()
            raise
        finally:
            self._busy.discard(connection)
            if not connection.is_closed():
                self._keep(connection)

    async def _kept(self) -> Connection | None:
        """Return the connection that was used last, None where none is left that is open and young enough."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_closed():  # the server ended it meanwhile
                continue
            if now - connection.opened_at < self._max_connection_age_s:
                return connection
            await _end(connection)
        return None

    def _keep(self, connection: Connection) -> None:
        """Have the next use find *connection*, for as long as it may be idle."""
        self._idle.append(connection)
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._sweeping = asyncio.create_task(self._sweep(), name="idle connections")

    async def _sweep(self) -> None:
        """Close what is idle once nobody has used any of it for `idle_s` seconds."""
        await asyncio.sleep(self._idle_s)
        await self._close_idle()

    async def _close_idle(self) -> None:
        """Close the connections that nobody uses; the next use opens new ones."""
        while self._idle:
            await _end(self._idle.pop())

    async def _connect(self) -> Connection:
        """Return a new connection, to a database whose schema this code can work with.

        Raises:
            DatabaseError: the DSN cannot be read, or the schema is of no use.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection failed.
        """
        try:
            connection = await connect(
                self._dsn,
                application_name=self._application_name,
                timeout_s=self._connect_timeout_s,
                server_settings=session_settings(self._statement_timeout_s),
            )
        except ValueError as exc:
            raise from_driver(exc, where=self.where) from None  # the text of *exc* is a piece of the URL
        try:
            async with asyncio.timeout(self._statement_timeout_s + _GRACE_S):
                await self._check_schema(connection)
        except BaseException:  # a cancellation, too: nobody else knows of this connection yet
            connection.terminate()
            raise
        return connection

    async def _check_schema(self, connection: Connection) -> None:
        """Return where this code can work with the schema: its own, or a newer one that says it serves this code.

        Raises:
            DatabaseError: not installed (LR204), newer (LR205), older (LR206), or hidden by row-level security (LR207).
        """
        (seen,) = await connection.fetch(_INSTALLED)
        self._role_prefix = seen["role_prefix"]
        if not seen["is_installed"]:
            raise mismatch(None, self.where)
        found = await connection.fetchval("SELECT version_num FROM liverouter.alembic_version")
        if found == HEAD:
            connection.is_checked = True
            return
        if found is None and (tables := await connection.fetch(HIDDEN)):
            raise hidden((table["name"] for table in tables), self.where)
        error = mismatch(found, self.where)
        if error.code != "LR205" or not await connection.fetchval("SELECT liverouter.serves($1)", HEAD):
            raise error
        connection.is_checked = True


async def _end(connection: Connection) -> None:
    """Close *connection* with a goodbye; one that does not answer it is dropped."""
    with contextlib.suppress(*NETWORK_ERRORS):
        await connection.close(timeout=_GOODBYE_S)

"""One connection on which notifications arrive: LISTEN, proved by a notification to itself; lent between probes."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import asyncpg

from liverouter.errors import Problem
from liverouter.loops.wakeup import Wakeup
from liverouter.postgres.connection import NETWORK_ERRORS, Connection, connect
from liverouter.postgres.errors import ends_connection
from liverouter.postgres.session import session_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from liverouter.events import PollCause
    from liverouter.loops.reload_requests import ReloadRequests
    from liverouter.postgres.asked_url import AskedUrl
    from liverouter.postgres.dsn import Dsn

CHANNEL: Final = "liverouter"
# For one statement at the server: a session hears nothing while a statement runs, as one that waits for a lock.
_STATEMENT_S: Final = 2.0
# Both queries ask for `pg_notification_queue_usage()` because that moves the tail of the server's notification queue,
# which nothing else may do for long. At a tail that names a frozen transaction LISTEN fails ("could not access status
# of transaction"). A queue that was full once refuses every NOTIFY, and so every write of a setting, though it has
# drained since.
_FIRST: Final = (
    "SELECT pg_backend_pid(), pg_postmaster_start_time(), pg_is_in_recovery(), pg_notification_queue_usage()"
)
_PROBE: Final = """
    SELECT pg_backend_pid(), EXISTS (SELECT FROM pg_listening_channels() AS c WHERE c = $1),
           pg_notification_queue_usage()
"""


class NotListeningError(Exception):
    """Notifications do not arrive on a connection.

    Attributes:
        cause: why, in the word that events and reports use.
        problem: the cause in words for people, and what to do about it.
    """

    def __init__(self, cause: PollCause, problem: Problem) -> None:
        """Keep *cause* and *problem*."""
        super().__init__(str(problem))
        self.cause, self.problem = cause, problem


@dataclass(frozen=True, slots=True)
class _Way:
    """The way to a server.

    Attributes:
        dsn: the database.
        application_name: how `pg_stat_activity` calls a connection.
        timeout_s: seconds for each host of the DSN.
    """

    dsn: Dsn | AskedUrl
    application_name: str
    timeout_s: float

    async def connect(self) -> Connection:
        """Return a new connection; raises as `connection.connect` does."""
        return await connect(
            self.dsn,
            application_name=self.application_name,
            timeout_s=self.timeout_s,
            server_settings=session_settings(_STATEMENT_S),
        )


class ListenSession:
    """One connection on which LISTEN is in force and was proved by a notification to itself. `open` makes one.

    Args:
        connection: just opened; nothing was asked on it.
        way: by which it was opened.
        query_timeout_s: seconds for each query, and for the notification to arrive.

    Attributes:
        backend_pid: the server process that listens for us; 0 before that is known.
        misses: how many probes and lent statements in a row were not answered in time.
    """

    def __init__(self, connection: Connection, way: _Way, query_timeout_s: float) -> None:
        self._connection, self._way, self._query_timeout_s = connection, way, query_timeout_s
        self._own_channel = f"liverouter_{secrets.token_hex(8)}"  # a channel of this session alone, for the proof
        self._arrived, self._stirred = Wakeup(), Wakeup()
        self._in_use = asyncio.Lock()
        self._server_started_at: object = None
        self._told_pid = connection.get_server_pid()  # by whoever answered the login; a closed one cannot say it
        self.backend_pid = self.misses = 0

    @classmethod
    async def open(
        cls,
        dsn: Dsn | AskedUrl,
        application_name: str,
        requests: ReloadRequests,
        connect_timeout_s: float,
        query_timeout_s: float,
    ) -> Self:
        """Return a session on which notifications arrive.

        Args:
            dsn: the database.
            application_name: how `pg_stat_activity` calls the connection.
            requests: asked for a read by each notification of channel `CHANNEL`.
            connect_timeout_s: seconds for each host of the DSN.
            query_timeout_s: seconds for each query here.

        Raises:
            NotListeningError: connected, but to a standby or through a pooler that swallows notifications.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: anything else.
        """
        way = _Way(dsn, application_name, connect_timeout_s)
        session = cls(await way.connect(), way, query_timeout_s)
        try:
            session._connection.add_termination_listener(lambda _: session._stirred.set())
            await session._start(requests)
        except BaseException:
            session.terminate()
            raise
        return session

    async def _start(self, requests: ReloadRequests) -> None:
        """Prove the session; a failure behind a pooler is the pooler's.

        Raises:
            NotListeningError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError: as of `open`.
        """
        try:
            await self._prove(requests)
        except (OSError, asyncpg.PostgresError) as exc:
            if not self.is_pooled:
                raise
            with contextlib.suppress(*NETWORK_ERRORS):
                await self._execute("UNLISTEN *")  # reaches most likely the backend that LISTEN reached
            raise NotListeningError("pooler", _pooler()) from exc

    async def _prove(self, requests: ReloadRequests) -> None:
        """Return once a notification on the session's own channel has arrived.

        Raises:
            NotListeningError: the server is a standby.
            TimeoutError: none arrived within the query timeout.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: what a query met.
        """
        self.backend_pid, self._server_started_at, standby, _ = await self._row(_FIRST)
        if standby:
            raise NotListeningError("standby", _standby())
        async with asyncio.timeout(2 * self._query_timeout_s):
            await self._connection.add_listener(CHANNEL, lambda *_: requests.request("notification"))
            await self._connection.add_listener(self._own_channel, lambda *_: self._arrived.set())
        if self.is_pooled:
            await self._notify_from_elsewhere()
        else:
            await self._execute(f"NOTIFY {self._own_channel}")
        if not await self._arrived.wait(self._query_timeout_s):
            raise TimeoutError
        self._connection.is_session = True

    @property
    def is_pooled(self) -> bool:
        """Whether somebody stands between: a pooler hands out process ids of its own."""
        return self.backend_pid not in (0, self._told_pid)

    async def _notify_from_elsewhere(self) -> None:
        """Notify while this connection is idle: then a pooler in transaction mode has no server linked to it."""
        other = await self._way.connect()
        try:
            await other.execute(f"NOTIFY {self._own_channel}", timeout=self._query_timeout_s)
        finally:
            other.terminate()

    async def _execute(self, statement: str) -> None:
        """Run *statement*, which yields nothing; raises as `_row` does."""
        await self._connection.execute(statement, timeout=self._query_timeout_s)

    async def _row(self, query: str, *arguments: object) -> tuple[Any, ...]:
        """Return the first row that *query* yields, empty where it yields none.

        Raises:
            TimeoutError: it took longer than the query timeout.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: anything else.
        """
        row = await self._connection.fetchrow(query, *arguments, timeout=self._query_timeout_s)
        return tuple(row) if row is not None else ()

    async def probe(self) -> None:
        """Return when the same backend still listens for us.

        Raises:
            TimeoutError: no answer in time; `misses` counts it.
            NotListeningError: an answer, but from somebody who does not listen.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection is gone.
        """
        async with self._in_use:
            try:
                pid, listening, _ = await self._row(_PROBE, self._own_channel)
            except (TimeoutError, asyncpg.QueryCanceledError):
                self.misses += 1
                raise TimeoutError from None
        self.misses = 0
        if pid != self.backend_pid or not listening:
            raise NotListeningError("pooler", _pooler())

    async def is_elsewhere(self) -> bool:
        """Connect once more and tell whether another server answers: one with another start time.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: no server answers.
        """
        connection = await self._way.connect()
        try:
            started_at = await connection.fetchval("SELECT pg_postmaster_start_time()", timeout=self._query_timeout_s)
            return bool(started_at != self._server_started_at)
        finally:
            connection.terminate()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection | None]:
        """Yield the connection for one statement that ends by itself; None where it is closed, or did not answer last.

        Probes wait meanwhile. A statement that is not answered is a missed probe; one that is left ends the connection.

        Raises:
            ConnectionAbortedError: no answer within `_STATEMENT_S` and the query timeout.
        """
        async with self._in_use:
            if self._connection.is_closed() or self.misses:
                yield None
                return
            try:
                async with asyncio.timeout(_STATEMENT_S + self._query_timeout_s):
                    yield self._connection
            except TimeoutError:
                self.misses += 1
                self._stirred.set()
                raise ConnectionAbortedError from None
            except BaseException as exc:
                if ends_connection(exc):
                    self.terminate()
                raise

    async def rest(self, seconds: float) -> None:
        """Wait *seconds*, or until the connection is closed, or a lent statement is not answered."""
        await self._stirred.wait(seconds)
        self._stirred.clear()

    @property
    def is_closed(self) -> bool:
        """Tell whether the connection is closed."""
        return self._connection.is_closed()

    def terminate(self) -> None:
        """Drop the connection at once, without the goodbye that can hang on a dead peer."""
        self._connection.terminate()


def _standby() -> Problem:
    return Problem(
        "LR210",
        "the database is a standby, which cannot LISTEN",
        "LIVEROUTER_LISTEN_URL",
        "Name the primary, or every host (postgresql://user@host1,host2/name): the one that takes writes is chosen",
        "warning",
    )


def _pooler() -> Problem:
    return Problem(
        "LR210",
        "a connection pooler stands before the database and swallows notifications",
        "LIVEROUTER_LISTEN_URL",
        "Set LIVEROUTER_LISTEN_URL to a direct connection, or one in session mode",
        "warning",
    )

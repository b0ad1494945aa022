"""One connection to the server of a DSN that takes writes: a time limit per host, a socket that notices a dead peer."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from liverouter.postgres.dsn import Dsn

# With these the kernel notices within a minute that a peer has vanished, whether anything is sent or not. Seconds.
_KEEPALIVE: Final = (
    ("TCP_KEEPIDLE", 30),
    ("TCP_KEEPALIVE", 30),  # what macOS calls TCP_KEEPIDLE
    ("TCP_KEEPINTVL", 10),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 30_000),  # milliseconds; Linux alone
)
# What a connection, or the attempt at one, may raise.
NETWORK_ERRORS: Final = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server has said that it ends the connection, and has not closed it yet
    asyncpg.TargetServerAttributeNotMatched,
)


class _QuietLoop:
    """An event loop whose connects, when they are cancelled, leave no "exception was never retrieved" in the log.

    asyncpg asks the server whether it speaks TLS, and keeps the answer in the future ``on_data`` of a protocol. A
    connect that is cancelled before it awaits that future never learns that it failed, and asyncio complains. asyncpg
    makes the protocol by the loop that it is given, so that this class reaches our connections alone.

    Args:
        loop: the running loop, which does everything.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.real = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def create_connection(self, factory: Callable[[], Any], *where: Any, **how: Any) -> Any:
        """Connect as the loop does, with protocols whose ``on_data`` is looked at."""

        def make() -> Any:
            """Return what *factory* makes, with its future's exception retrieved."""
            protocol = factory()
            if (answer := getattr(protocol, "on_data", None)) is not None:
                answer.add_done_callback(lambda future: future.cancelled() or future.exception())
            return protocol

        return await self.real.create_connection(make, *where, **how)


class Connection(asyncpg.Connection):
    """An asyncpg connection with TCP keepalive on."""

    __slots__ = ()

    def __init__(self, protocol: Any, transport: asyncio.Transport, loop: Any, *rest: Any) -> None:
        # asyncpg looks up its tasks by the loop, which has to be the real one
        super().__init__(protocol, transport, loop.real if isinstance(loop, _QuietLoop) else loop, *rest)
        _keep_alive(transport.get_extra_info("socket"))


async def connect(
    dsn: Dsn,
    *,
    application_name: str,
    timeout_s: float,
    server_settings: Mapping[str, str] | None = None,
    command_timeout_s: float | None = None,
) -> Connection:
    """Return a connection to the first host of *dsn* that takes writes, else to the first standby that answers.

    Names are resolved anew each time. A host that hangs costs *timeout_s* and the next one is tried, which asyncpg
    alone does not do. Statements are not cached: a pooler may put another server behind the connection, which never
    saw them prepared.

    Args:
        dsn: the database; its hosts are tried in the order they are named.
        application_name: how `pg_stat_activity` calls the connection.
        timeout_s: seconds for one host: resolve, connect, TLS, log in.
        server_settings: run-time parameters of the session; left out where the other side refuses them, as PgBouncer
            does.
        command_timeout_s: seconds for each statement; None sets no limit.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: what the last host that failed said.
        ValueError: asyncpg cannot read the DSN; the text is a piece of it.
    """
    hosts, settings = dsn.per_host(), dict(server_settings or {})
    standby: Connection | None = None
    failure: Exception = ConnectionError("the DSN names no host")
    try:
        for host in hosts:
            try:
                connection = await _connect_host(host, application_name, timeout_s, settings, command_timeout_s)
                if len(hosts) == 1 or await _takes_writes(connection, timeout_s):
                    return connection
            except NETWORK_ERRORS as exc:
                failure = exc
                continue
            if standby is not None:
                standby.terminate()
            standby = connection
        if standby is None:
            raise failure
        found, standby = standby, None
        return found
    finally:
        if standby is not None:
            standby.terminate()


async def _connect_host(
    url: str, application_name: str, timeout_s: float, settings: dict[str, str], command_timeout_s: float | None
) -> Connection:
    """Return a connection to the one host of *url* within *timeout_s* seconds, without *settings* if it refuses them.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: what it said.
    """
    name = {"application_name": application_name}
    async with asyncio.timeout(timeout_s):
        try:
            return await _open(url, settings | name, command_timeout_s)
        except (asyncpg.ProtocolViolationError, asyncpg.UndefinedObjectError):
            if not settings:
                raise
            return await _open(url, name, command_timeout_s)


async def _open(url: str, settings: dict[str, str], command_timeout_s: float | None) -> Connection:
    """Return asyncpg's connection to *url* as a `Connection` that caches no statements."""
    return await asyncpg.connect(
        url,
        loop=cast("asyncio.AbstractEventLoop", _QuietLoop(asyncio.get_running_loop())),
        server_settings=settings,
        connection_class=Connection,
        command_timeout=command_timeout_s,
        statement_cache_size=0,
    )


async def _takes_writes(connection: Connection, timeout_s: float) -> bool:
    """Tell whether *connection* leads to a primary; where the question fails the connection is dropped."""
    try:
        return not await connection.fetchval("SELECT pg_is_in_recovery()", timeout=timeout_s)
    except BaseException:  # a cancellation, too: nobody else knows of this connection yet
        connection.terminate()
        raise


def _keep_alive(sock: socket.socket | None) -> None:
    """Switch on what of `_KEEPALIVE` this system knows; does nothing to a Unix socket."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

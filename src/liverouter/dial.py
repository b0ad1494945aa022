"""One connection to the writer a DSN names: each host within its own time, on a socket that notices a dead peer."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from asyncpg import connect_utils

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.dsn import Dsn

_KEEPALIVE: Final = (  # a peer that vanished is noticed by the kernel within a minute, probed or not
    ("TCP_KEEPIDLE", 30),
    ("TCP_KEEPALIVE", 30),  # what macOS calls TCP_KEEPIDLE
    ("TCP_KEEPINTVL", 10),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 30_000),  # ms; Linux
)
NETWORK_ERRORS: Final = (  # TimeoutError is an OSError
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.TargetServerAttributeNotMatched,
)


class Connection(asyncpg.Connection):
    """An asyncpg connection with TCP keepalive on."""

    __slots__ = ()

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        _keep_alive(transport.get_extra_info("socket"))


class _TLSUpgrade(connect_utils.TLSUpgradeProto):
    """asyncpg's question whether the server speaks TLS, without a complaint where a timeout ended it unasked."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.on_data.cancelled():
            self.on_data.exception()  # retrieved: a connect that was cancelled early awaits it never


connect_utils.TLSUpgradeProto = _TLSUpgrade  # type: ignore[misc]  # asyncpg takes it from there for every connect


async def dial(
    dsn: Dsn,
    *,
    application_name: str,
    timeout_s: float,  # for one host: resolve, connect, TLS, log in
    server_settings: Mapping[str, str] | None = None,
    command_timeout_s: float | None = None,  # for every statement; None: as long as it takes
) -> Connection:
    """Return a connection to the first host of *dsn* that takes writes, else to the first standby that answers.

    Names are resolved anew each time. A host that hangs costs *timeout_s* and the next one is tried, which asyncpg
    alone does not do. *server_settings* are left out where the other side refuses them, as PgBouncer does. Statements
    are not cached: a pooler may put another server behind the connection, which never saw them prepared.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: what the last host that failed said.
    """
    hosts, settings = dsn.per_host(), dict(server_settings or {})
    standby: Connection | None = None
    failure: Exception = ConnectionError("the DSN names no host")
    try:
        for host in hosts:
            try:
                connection = await _dial_host(host, application_name, timeout_s, settings, command_timeout_s)
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


async def _dial_host(
    url: str, application_name: str, timeout_s: float, settings: dict[str, str], command_timeout_s: float | None
) -> Connection:
    name = {"application_name": application_name}
    async with asyncio.timeout(timeout_s):
        try:
            return await _connect(url, settings | name, command_timeout_s)
        except (asyncpg.ProtocolViolationError, asyncpg.UndefinedObjectError):
            if not settings:
                raise
            return await _connect(url, name, command_timeout_s)


async def _connect(url: str, settings: dict[str, str], command_timeout_s: float | None) -> Connection:
    return await asyncpg.connect(
        url,
        server_settings=settings,
        connection_class=Connection,
        command_timeout=command_timeout_s,
        statement_cache_size=0,
    )


async def _takes_writes(connection: Connection, timeout_s: float) -> bool:
    try:
        return not await connection.fetchval("SELECT pg_is_in_recovery()", timeout=timeout_s)
    except BaseException:  # cancelled as well: nobody else knows of this connection yet
        connection.terminate()
        raise


def _keep_alive(sock: socket.socket | None) -> None:
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

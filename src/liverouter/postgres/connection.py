"""One connection to the server of a DSN that takes writes: a time limit per host, a socket that notices a dead peer."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import secrets
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg

from liverouter.postgres.dsn import SYSTEM_ROOTS
from liverouter.postgres.session import lift_transaction_timeout, set_late, taken_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncpg.prepared_stmt import PreparedStatement

    from liverouter.postgres.asked_url import AskedUrl
    from liverouter.postgres.dsn import Dsn

# By these the kernel notices within a minute that a peer has vanished. Each as the socket calls it, as libpq does; s.
_KEEPALIVE: Final = (
    ("TCP_KEEPIDLE", "keepalives_idle", 30),
    ("TCP_KEEPALIVE", "keepalives_idle", 30),  # what macOS calls TCP_KEEPIDLE
    ("TCP_KEEPINTVL", "keepalives_interval", 10),
    ("TCP_KEEPCNT", "keepalives_count", 3),
    ("TCP_USER_TIMEOUT", "tcp_user_timeout", 30_000),  # milliseconds; Linux alone
)
# What a connection, or the attempt at one, may raise.
NETWORK_ERRORS: Final = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server has said that it ends the connection, and has not closed it yet
    asyncpg.TargetServerAttributeNotMatched,
)
# What a server says to a start-up whatever its settings are: wrong password, no such database, no room, not now.
_UNCONDITIONAL: Final = re.compile(r"08(?!P01)...|28P01|3D...|53...|57...")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


class _QuietLoop:
    """An event loop whose connects, when they are cancelled, leave no "exception was never retrieved" in the log.

    asyncpg asks the server whether it speaks TLS, and keeps the answer in the future ``on_data`` of a protocol. A
    connect that is cancelled before it awaits that future never learns that it failed, and asyncio complains. asyncpg
    makes the protocol by the loop that it is given, so that this class reaches our connections alone; all else *loop*,
    the running one, does.
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
    """An asyncpg connection with TCP keepalive on.

    Attributes:
        opened_at: seconds of the loop's clock.
        is_checked: the schema behind it is one that this code can work with.
        is_session: it leads to one session of the server for as long as it lives; a pooler may say otherwise.
    """

    __slots__ = ("_known", "_socket", "is_checked", "is_session", "opened_at")

    def __init__(self, protocol: Any, transport: asyncio.Transport, loop: Any, *rest: Any) -> None:
        # asyncpg looks up its tasks by the loop, which has to be the real one
        super().__init__(protocol, transport, loop.real if isinstance(loop, _QuietLoop) else loop, *rest)
        self.is_checked = self.is_session = False
        self.opened_at = asyncio.get_running_loop().time()
        self._known: dict[str, PreparedStatement[Any]] = {}
        self._socket = transport.get_extra_info("socket")
        keep_alive(self._socket)

    async def rows(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of *statement*; from its second use on in one round trip, and in a session without planning.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: it failed.
        """
        if is_new := statement not in self._known:
            name = f"liverouter_{secrets.token_hex(8)}" if self.is_session else None
            self._known[statement] = await self.prepare(statement, name=name)
        try:
            return await self._known[statement].fetch(*values)
        except (asyncpg.InvalidCachedStatementError, asyncpg.InvalidSQLStatementNameError):
            del self._known[statement]  # a migration has changed its columns, or somebody has deallocated it
            if is_new:
                raise
        return await self.rows(statement, *values)

    def keep_alive(self, dsn: Dsn) -> None:
        """Have TCP look for a dead peer as the options of *dsn* say."""
        keep_alive(self._socket, dsn)


async def connect(
    database: Dsn | AskedUrl,
    *,
    application_name: str,
    timeout_s: float,
    server_settings: Mapping[str, str] | None = None,
) -> Connection:
    """Return a connection to the host of *database* that suits best; a refused login is tried again with a newer URL.

    Names are resolved anew each time. A host that hangs costs *timeout_s* and the next one is tried, which asyncpg
    alone does not do. Statements are not cached: a pooler may put another server behind the connection.

    Of several hosts it is the first that takes writes, else the first standby that answers; the URL's
    ``target_session_attrs`` may ask for another, and ``load_balance_hosts=random`` for another order.

    Args:
        database: where it is. What gives a URL is asked once, and again after a refused login.
        application_name: how `pg_stat_activity` calls the connection, where the URL does not say.
        timeout_s: seconds for one host: resolve, connect, TLS, log in; the URL's ``connect_timeout`` wins.
        server_settings: run-time parameters of the session. Where the other side refuses them at the start, as poolers
            and proxies do, they are set afterwards, but for what a pooler would pass on to other clients.

    Raises:
        DatabaseError: no URL was given.
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: what the last host that failed said.
        ValueError: asyncpg cannot read the DSN; the text is a piece of it.
    """
    dsn = await database.ask(timeout_s)
    name = dsn.options.get("application_name", application_name)
    start = _Start(dict(server_settings or {}), {"application_name": name})
    try:
        return await _connect(dsn, start, timeout_s)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.ProtocolViolationError):  # the latter: PgBouncer's
        fresh = await database.ask(timeout_s)
        if fresh == dsn:
            raise
    return await _connect(fresh, start, timeout_s)


async def _connect(dsn: Dsn, start: _Start, timeout_s: float) -> Connection:
    """Return a connection to the host of *dsn* that suits best, as `connect` says.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: what the last host that failed said.
    """
    timeout_s = dsn.number("connect_timeout") or timeout_s
    hosts = list(dsn.per_host(without=("application_name", "options")))
    if dsn.options.get("load_balance_hosts") == "random":
        random.shuffle(hosts)
    wanted = dsn.options.get("target_session_attrs", "")
    second_best: Connection | None = None
    failure: Exception = ConnectionError("the DSN names no host")
    try:
        for host in hosts:
            try:
                connection = await start.open(host, dsn, timeout_s)
                if len(hosts) == 1 or await _suits(connection, wanted, timeout_s):
                    return connection
            except NETWORK_ERRORS as exc:
                failure = exc
                continue
            if second_best is None:
                second_best = connection
            else:
                connection.terminate()
        if second_best is None:
            raise failure
        found, second_best = second_best, None
        return found
    finally:
        if second_best is not None:
            second_best.terminate()


async def _suits(connection: Connection, wanted: str, timeout_s: float) -> bool:
    """Tell whether *connection* leads to the kind of server that is *wanted*, or would be the second best.

    Args:
        connection: of one host; where the question fails it is dropped.
        wanted: the URL's ``target_session_attrs``; asyncpg has seen to those that are strict. Empty wants a primary.
        timeout_s: seconds for the question.
    """
    if wanted not in ("", "prefer-standby"):
        return True
    try:
        standby = await connection.fetchval("SELECT pg_is_in_recovery()", timeout=timeout_s)
    except BaseException:  # a cancellation, too: nobody else knows of this connection yet
        connection.terminate()
        raise
    return bool(standby) == (wanted == "prefer-standby")


@dataclass(frozen=True, slots=True)
class _Start:
    """How a connection starts.

    Attributes:
        settings: run-time parameters that poolers and proxies may refuse.
        name: the application's, which few refuse.
    """

    settings: dict[str, str]
    name: dict[str, str]

    async def open(self, url: str, dsn: Dsn, timeout_s: float) -> Connection:
        """Return a connection to the one host of *url* within *timeout_s* seconds.

        What it refuses at the start is left out, the settings first, then the application's name, and set afterwards.

        Args:
            url: one of ``dsn.per_host()``.
            dsn: says what asyncpg does not read of a URL.
            timeout_s: seconds.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: what it said.
        """
        roots = _checked_roots(dsn)
        routing, of_options = taken_apart(dsn.options.get("options", ""))
        whole, left = {"options": dsn.options.get("options", "")}, of_options | self.settings
        tries = [
            (self.settings | self.name | whole, {}),
            (self.name | {"options": routing}, left),
            ({"options": routing}, left | self.name),
        ]
        async with asyncio.timeout(timeout_s):
            for startup, afterwards in tries if left else tries[1:]:
                try:
                    connection = await self._open(url, startup, roots)
                except asyncpg.PostgresError as exc:
                    if (startup, afterwards) == tries[-1] or _UNCONDITIONAL.fullmatch(exc.sqlstate or ""):
                        raise
                    continue
                connection.keep_alive(dsn)
                if afterwards:
                    await set_late(connection, afterwards)
                if self.settings:
                    await lift_transaction_timeout(connection)
                return connection
        raise AssertionError  # the last try returns or raises

    async def _open(self, url: str, startup: Mapping[str, str], roots: ssl.SSLContext | None) -> Connection:
        """Return asyncpg's connection to *url* as a `Connection` that caches no statements."""
        connection: Connection = await asyncpg.connect(
            url,
            ssl=roots,
            loop=cast("asyncio.AbstractEventLoop", _QuietLoop(asyncio.get_running_loop())),
            server_settings={name: value for name, value in startup.items() if value},
            connection_class=Connection,
            statement_cache_size=0,
        )
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=json.loads)  # asks nobody
        return connection


def _checked_roots(dsn: Dsn) -> ssl.SSLContext | None:
    """Return the TLS of ``sslrootcert=system``, None where asyncpg makes it of the URL.

    Raises:
        asyncpg.ClientConfigurationError: a file that the URL names cannot be read; asyncpg's error looks like that of a
            missing socket.
    """
    mode = dsn.options.get("sslmode", "prefer")
    named = {name: dsn.options[name] for name in _FILES if name in dsn.options and mode != "disable"}
    of_system = named.get("sslrootcert") == SYSTEM_ROOTS
    if of_system or mode in ("allow", "prefer"):
        named.pop("sslrootcert", None)
    for name, path in named.items():
        if not os.access(path, os.R_OK):
            raise asyncpg.ClientConfigurationError(f"{name} names a file that cannot be read")
    if not of_system:
        return None
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    if "sslcert" in named:
        context.load_cert_chain(named["sslcert"], named.get("sslkey"), lambda: dsn.options.get("sslpassword", ""))
    return context


def keep_alive(sock: socket.socket | None, dsn: Dsn | None = None) -> None:
    """Switch on what this system knows of `_KEEPALIVE`, and of what *dsn* says; does nothing to a Unix socket.

    As with libpq, ``keepalives=0`` switches it off, and 0 for one of the others is the system's own.
    """
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, dsn is None or dsn.number("keepalives") != 0)
    for name, option, value in _KEEPALIVE:
        given = dsn.number(option) if dsn is not None else None
        if (number := getattr(socket, name, None)) is not None and given != 0:
            sock.setsockopt(socket.IPPROTO_TCP, number, value if given is None else given)

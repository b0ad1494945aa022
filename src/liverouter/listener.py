"""LISTEN on a connection of its own: proved at the start, probed for life, dialled again for ever.

A notification is a hint: its payload is never read, and every connect, loss and doubt asks for a reload just the same.
The config itself is read elsewhere, on another connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self

import asyncpg

from liverouter.diagnosis import explain
from liverouter.dial import NETWORK_ERRORS, Connection, dial
from liverouter.errors import Problem
from liverouter.events import (
    Bus,
    ListenerConnected,
    ListenerDegraded,
    ListenerLost,
    ListenerProbed,
    LoopFailed,
    PollCause,
)
from liverouter.redaction import brief
from liverouter.wakeup import Backoff, Wakeup, jittered

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from liverouter.dsn import Dsn

CHANNEL: Final = "liverouter"
_FIRST_RETRY_S: Final = 0.1
_LAST_RETRY_S: Final = 30.0
_POOLER_RETRY_S: Final = 300.0  # each try leaves a LISTEN behind on a backend of the pool
_SAY_AGAIN_S: Final = 30.0  # a failure that goes on is reported this often
_MISSES: Final = 2  # unanswered probes in a row that end a connection
_AFTER_MISS_S: Final = 1.0  # until the second probe
_NO_TIMEOUTS: Final = {  # a role may carry any of these; each would end a session that only listens
    "idle_session_timeout": "0",
    "statement_timeout": "0",  # every query here has a timeout of ours
    "lock_timeout": "0",
}
# Asking moves the tail of the server's notification queue, which nothing else may do for long: at a tail that names a
# frozen transaction LISTEN fails ("could not access status of transaction"), and a queue that was full once refuses
# every NOTIFY, and with it every write of a setting, though it has drained since.
_FIRST: Final = (
    "SELECT pg_backend_pid(), pg_postmaster_start_time(), pg_is_in_recovery(), pg_notification_queue_usage()"
)
_PROBE: Final = """
    SELECT pg_backend_pid(), EXISTS (SELECT FROM pg_listening_channels() AS c WHERE c = $1),
           pg_notification_queue_usage()
"""
_ANSWERED: Final = ("pooler", "standby", "refused")  # somebody is there, but notifications cannot arrive


class DeafError(Exception):
    """A connection on which notifications do not arrive, and why."""

    def __init__(self, cause: PollCause, problem: Problem) -> None:
        """Name the *cause* and what to do about it."""
        super().__init__(str(problem))
        self.cause, self.problem = cause, problem


class Listener:
    """Calls *on_change* whenever the config may have changed, and knows whether it would hear of it.

    Runs in the engine's loop; `mode`, `cause`, `healthy`, `backend_pid` and `reconnects` may be read from any thread.
    """

    def __init__(
        self,
        *,
        dsn: Dsn,
        on_change: Callable[[str], None],  # cheap; gets the reason in a few words
        bus: Bus,
        application_name: str,
        probe_interval_s: float = 10.0,  # ±20 %, so that a fleet does not probe in step
        poll_interval_s: float = 2.0,  # of the safety poll while not healthy; only reported
        server_check_interval_s: float = 120.0,  # ±20 %; whether the DSN still leads to the server we listen to
        probe_timeout_s: float = 2.0,  # of every query here
        connect_timeout_s: float = 5.0,  # for each host of the DSN
        rng: random.Random | None = None,
    ) -> None:
        """Wire; nothing runs before `run`."""
        self._dsn, self._on_change, self._bus, self._application_name = dsn, on_change, bus, application_name
        self._probe_interval_s, self._poll_interval_s = probe_interval_s, poll_interval_s
        self._server_check_interval_s = server_check_interval_s
        self._probe_timeout_s, self._connect_timeout_s = probe_timeout_s, connect_timeout_s
        self._rng = rng
        self._backoff = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S, rng=rng)  # counts since the last answered probe
        self._session: _Session | None = None
        self._connects = 0
        self._said: tuple[str, PollCause | None] = ("", None)  # the last event of trouble and its cause
        self._said_at = 0.0  # loop time
        self.mode: Literal["listen", "poll_only"] = "poll_only"
        self.cause: PollCause | None = None  # why not "listen", once that is known

    @property
    def healthy(self) -> bool:
        """Tell whether notifications arrive, as far as the last probe knows."""
        return self.mode == "listen"

    @property
    def backend_pid(self) -> int | None:
        """Return the pid of the server process that listens for us, None while there is none."""
        session = self._session
        return session.backend_pid if session is not None else None

    @property
    def reconnects(self) -> int:
        """Return how often LISTEN was won back."""
        return max(self._connects - 1, 0)

    async def run(self) -> None:
        """Listen until cancelled; no connection, task or socket is left behind."""
        while True:
            try:
                await self._listen()
            except DeafError as exc:
                deaf = exc
            except NETWORK_ERRORS as exc:
                deaf = DeafError(_cause(exc), explain(exc).problem)
            except Exception as exc:  # noqa: BLE001 - the top of the loop: whatever happens, it dials again
                self._bus.emit(LoopFailed("listener", brief(exc)))
                deaf = DeafError("unreachable", explain(exc).problem)
            await self._back_off(deaf)

    async def _listen(self) -> NoReturn:
        """Listen on one connection until it turns out to be of no use, which is raised."""
        session = await _Session.open(
            self._dsn, self._application_name, self._notified, self._connect_timeout_s, self._probe_timeout_s
        )
        self._session = session
        self._connects += 1
        try:
            self._heard("listening")
            await self._watch(session)
        finally:
            self._session = None
            session.terminate()
            await asyncio.sleep(0)  # a loop that ends now would leave the socket open

    async def _watch(self, session: _Session) -> NoReturn:
        loop = asyncio.get_running_loop()
        misses = 0
        check_at = loop.time() + self._jittered(self._server_check_interval_s)
        while True:
            pause_s = min(_AFTER_MISS_S, self._probe_interval_s) if misses else self._probe_interval_s
            if await session.closes_within(self._jittered(pause_s)):
                raise self._half_open() if misses else DeafError("unreachable", _closed())
            started = loop.time()
            try:
                await session.probe()
            except (TimeoutError, asyncpg.QueryCanceledError) as exc:
                misses += 1
                if misses == _MISSES:
                    raise self._half_open() from exc
                self._report(self._half_open())
                continue
            except NETWORK_ERRORS as exc:
                raise self._half_open() if misses else exc from None
            if misses:
                misses = 0
                self._heard("the listening connection answers again")
            self._backoff.reset()  # not at the connect: one that breaks at once must back off as well
            self._bus.emit(ListenerProbed(session.backend_pid, (loop.time() - started) * 1000))
            if loop.time() >= check_at:
                await self._check_server(session)
                check_at = loop.time() + self._jittered(self._server_check_interval_s)

    async def _check_server(self, session: _Session) -> None:
        """Raise when the DSN leads elsewhere by now: after a failover the old primary may be up, silent for ever."""
        with contextlib.suppress(*NETWORK_ERRORS):  # no news: the probe judges the connection, not this
            if await session.is_elsewhere():
                raise DeafError("unreachable", _elsewhere())

    def _jittered(self, seconds: float) -> float:
        return jittered(seconds, rng=self._rng)

    def _half_open(self) -> DeafError:
        return DeafError(
            "half_open",
            Problem(
                "LR210",
                f"the listening connection did not answer within {self._probe_timeout_s:g} s",
                "database",
                "Look for a frozen server, or a firewall that drops idle connections; it is dialled again",
                "warning",
            ),
        )

    def _notified(self) -> None:
        self._on_change("notification")

    def _heard(self, reason: str) -> None:
        self.mode, self.cause, self._said = "listen", None, ("", None)
        self._bus.emit(ListenerConnected(self.backend_pid or 0, self.reconnects))
        self._on_change(reason)  # for whatever was committed while nobody listened

    async def _back_off(self, deaf: DeafError) -> None:
        """Wait before the next attempt: ever longer, but behind a pooler always long."""
        retry_s = self._backoff.next()
        if deaf.cause == "pooler":
            retry_s = self._jittered(_POOLER_RETRY_S)
        self._report(deaf, retry_s)
        await asyncio.sleep(retry_s)

    def _report(self, deaf: DeafError, retry_s: float | None = None) -> None:
        """Say why notifications do not arrive: each cause at once, one that goes on now and then."""
        self.mode, self.cause = "poll_only", deaf.cause
        event: ListenerDegraded | ListenerLost
        if retry_s is None or deaf.cause in _ANSWERED:
            event = ListenerDegraded(deaf.cause, self._poll_interval_s, deaf.problem)
        else:
            event = ListenerLost(deaf.cause, self._backoff.failures, retry_s, deaf.problem)
        said, now = (event.name, deaf.cause), asyncio.get_running_loop().time()
        if said == self._said and now - self._said_at < _SAY_AGAIN_S:
            return
        news, self._said, self._said_at = said != self._said, said, now
        self._bus.emit(event)
        if news:
            self._on_change(f"notifications do not arrive: {deaf.cause}")  # before the poll's long interval is over


class _Session:
    """One connection on which LISTEN is in force and was proved by a notification to itself."""

    def __init__(
        self, connection: Connection, dial_again: Callable[[], Awaitable[Connection]], query_timeout_s: float
    ) -> None:
        self._connection, self._dial_again, self._query_timeout_s = connection, dial_again, query_timeout_s
        self._own_channel = f"liverouter_{secrets.token_hex(8)}"  # nobody else's: its arrival proves this connection
        self._arrived, self._closed = Wakeup(), Wakeup()
        self._server_started_at: object = None
        self.backend_pid = 0

    @classmethod
    async def open(
        cls,
        dsn: Dsn,
        application_name: str,
        on_notification: Callable[[], None],
        connect_timeout_s: float,
        query_timeout_s: float,
    ) -> Self:
        """Return a session that hears.

        Raises:
            DeafError: connected, but to a standby or through a pooler that swallows notifications.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: anything else.
        """
        dial_again = partial(
            dial,
            dsn,
            application_name=application_name,
            timeout_s=connect_timeout_s,
            server_settings=_NO_TIMEOUTS,
            command_timeout_s=query_timeout_s,
        )
        session = cls(await dial_again(), dial_again, query_timeout_s)
        try:
            session._connection.add_termination_listener(lambda _: session._closed.set())
            await session._start(on_notification)
        except BaseException:
            session.terminate()
            raise
        return session

    async def _start(self, on_notification: Callable[[], None]) -> None:
        try:
            await self._prove(on_notification)
        except (OSError, asyncpg.PostgresError) as exc:  # TimeoutError is an OSError
            if not self._is_pooled:
                raise
            with contextlib.suppress(*NETWORK_ERRORS):
                await self._connection.execute("UNLISTEN *")  # most likely on the backend that LISTEN reached
            raise DeafError("pooler", _pooler()) from exc

    async def _prove(self, on_notification: Callable[[], None]) -> None:
        self.backend_pid, self._server_started_at, standby, _ = await self._row(_FIRST)
        if standby:
            raise DeafError("standby", _standby())
        await self._connection.add_listener(CHANNEL, lambda *_: on_notification())
        await self._connection.add_listener(self._own_channel, lambda *_: self._arrived.set())
        if self._is_pooled:
            await self._notify_from_elsewhere()
        else:
            await self._connection.execute(f"NOTIFY {self._own_channel}")
        if not await self._arrived.wait(self._query_timeout_s):
            raise TimeoutError

    @property
    def _is_pooled(self) -> bool:
        """Whether somebody stands between: a pooler hands out process ids of its own."""
        return self.backend_pid not in (0, self._connection.get_server_pid())

    async def _notify_from_elsewhere(self) -> None:
        """Notify while this connection is idle: then a pooler in transaction mode has no server linked to it."""
        other = await self._dial_again()
        try:
            await other.execute(f"NOTIFY {self._own_channel}")
        finally:
            other.terminate()

    async def _row(self, query: str, *arguments: object) -> tuple[Any, ...]:
        row = await self._connection.fetchrow(query, *arguments)
        return tuple(row) if row is not None else ()

    async def probe(self) -> None:
        """Return when the same backend still listens for us.

        Raises:
            TimeoutError: no answer in time.
            DeafError: an answer, but from somebody who does not listen.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection is gone.
        """
        pid, listening, _ = await self._row(_PROBE, self._own_channel)
        if pid != self.backend_pid or not listening:
            raise DeafError("pooler", _pooler())

    async def is_elsewhere(self) -> bool:
        """Dial once more and tell whether another server answers.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: nobody does.
        """
        connection = await self._dial_again()
        try:
            return bool(await connection.fetchval("SELECT pg_postmaster_start_time()") != self._server_started_at)
        finally:
            connection.terminate()

    async def closes_within(self, seconds: float) -> bool:
        """Wait *seconds*, or until the connection is closed; tell whether it was."""
        return await self._closed.wait(seconds)

    def terminate(self) -> None:
        """Drop the connection at once; a polite close can hang on a dead peer."""
        self._connection.terminate()


def _cause(exc: Exception) -> PollCause:
    match exc:
        case asyncpg.ReadOnlySQLTransactionError():
            return "standby"
        case asyncpg.CannotConnectNowError() | asyncpg.OperatorInterventionError() | asyncpg.PostgresConnectionError():
            return "unreachable"
        case asyncpg.PostgresError() | asyncpg.ClientConfigurationError():
            return "refused"
        case _:
            return "unreachable"


def _closed() -> Problem:
    return Problem("LR201", "the listening connection was closed", "database", "It is dialled again", "warning")


def _elsewhere() -> Problem:
    return Problem("LR201", "the DSN leads to another server now", "database", "It is dialled again", "warning")


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

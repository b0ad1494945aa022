"""LISTEN for as long as the process lives: one connection, proved, probed, and replaced when it is of no more use.

A notification is a hint: its payload is never read. A connect, a loss and a missed probe ask for a reload as a
notification does. The settings are read by `repository`, to which the connection is lent between two probes.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import asyncpg

from liverouter.errors import DatabaseError, Problem
from liverouter.events import ListenerConnected, ListenerDegraded, ListenerLost, ListenerProbed, LoopFailed, PollCause
from liverouter.loops.wakeup import Backoff, jittered
from liverouter.postgres.connection import NETWORK_ERRORS
from liverouter.postgres.errors import from_driver, is_garbled
from liverouter.postgres.listen_session import ListenSession, NotListeningError
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from liverouter.bus import Bus
    from liverouter.loops.reload_requests import ReloadRequests
    from liverouter.postgres.asked_url import AskedUrl
    from liverouter.postgres.connection import Connection
    from liverouter.postgres.dsn import Dsn

_FIRST_RETRY_S: Final = 0.1
_LAST_RETRY_S: Final = 30.0
_UNREACHED_RETRY_S: Final = 1.5  # at most, ±20 %, while nobody answers: a server that restarts is soon found again
_POOLER_RETRY_S: Final = 300.0  # long, because each try leaves a LISTEN behind on a backend of the pool
_SAY_AGAIN_S: Final = 30.0  # between two reports of a failure that goes on
_MISSES: Final = 2  # unanswered questions in a row that end a connection
_AFTER_MISS_S: Final = 1.0  # from an unanswered question to the next
_ANSWERED: Final = ("pooler", "standby", "refused")  # causes where somebody answers, but notifications cannot arrive


class Listener:
    """Asks for a read whenever the settings may have changed, and knows whether notifications arrive.

    Runs in the engine's loop; `mode`, `cause`, `healthy`, `backend_pid` and `reconnects` may be read from any thread.

    Args:
        dsn: the database.
        requests: takes the requests for a read.
        bus: hears of connects, probes and losses.
        application_name: how `pg_stat_activity` calls the connection.
        probe_interval_s: seconds between two probes, ±20 % so that a fleet does not probe in step.
        poll_interval_s: seconds between the reloader's polls while not healthy.
        retry_at_least_s: seconds from a lost connection to the next try at least. A database that sleeps ends its
            connections, and each try wakes it.
        server_check_interval_s: seconds, ±20 %, between two looks whether the DSN still leads to the server that is
            listened to.
        probe_timeout_s: seconds for each query here.
        connect_timeout_s: seconds for each host of the DSN.
        rng: draws the jitter; None draws from one of the module's.

    Attributes:
        mode: "listen" while notifications arrive, as far as the last probe knows.
        cause: why `mode` is not "listen", once that is known.
        poll_interval_s: as given.
    """

    def __init__(
        self,
        *,
        dsn: Dsn | AskedUrl,
        requests: ReloadRequests,
        bus: Bus,
        application_name: str,
        probe_interval_s: float = 10.0,
        poll_interval_s: float = 2.0,
        retry_at_least_s: float = 0.0,
        server_check_interval_s: float = 120.0,
        probe_timeout_s: float = 2.0,
        connect_timeout_s: float = 5.0,
        rng: random.Random | None = None,
    ) -> None:
        """Wire; nothing runs before `run`."""
        self._dsn, self._requests, self._bus, self._application_name = dsn, requests, bus, application_name
        self._probe_interval_s, self.poll_interval_s = probe_interval_s, poll_interval_s
        self._retry_at_least_s, self._server_check_interval_s = retry_at_least_s, server_check_interval_s
        self._probe_timeout_s, self._connect_timeout_s = probe_timeout_s, connect_timeout_s
        self._rng = rng
        self._backoff = Backoff(_FIRST_RETRY_S, _LAST_RETRY_S, rng=rng)  # counts since the last answered probe
        self._session: ListenSession | None = None
        self._connects = 0
        self._said: tuple[str, PollCause | None] = ("", None)  # the last event of trouble and its cause
        self._said_at = 0.0  # when, in the loop's seconds
        self.mode: Literal["listen", "poll_only"] = "poll_only"
        self.cause: PollCause | None = None

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
        """Return how many sessions followed the first one."""
        return max(self._connects - 1, 0)

    async def run(self) -> None:
        """Listen until cancelled; no connection, task or socket is left behind."""
        while True:
            try:
                await self._listen()
            except NotListeningError as exc:
                failure = exc
            except (DatabaseError, *NETWORK_ERRORS) as exc:
                failure = NotListeningError(_cause(exc), from_driver(exc).problem)
            except Exception as exc:  # noqa: BLE001 - the top of the loop: whatever happens, it connects again
                if not is_garbled(exc):
                    self._bus.emit(LoopFailed("listener", brief(exc)))
                failure = NotListeningError("unreachable", from_driver(exc).problem)
            await self._back_off(failure)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection | None]:
        """Yield the listening connection for one statement that ends by itself; None where there is none to lend.

        A pooler's is not lent: whoever reads through it takes what it gives for that.

        Raises:
            ConnectionAbortedError: the statement was not answered in time, which is a missed probe, too.
        """
        session = self._session
        if session is None or not self.healthy or session.is_pooled:
            yield None
            return
        try:
            async with session.lend() as connection:
                yield connection
        except ConnectionAbortedError:
            if self._session is session:
                self._report(self._half_open())
            raise

    async def _listen(self) -> NoReturn:
        """Listen on one connection until it turns out to be of no use, which is raised."""
        session = await ListenSession.open(
            self._dsn, self._application_name, self._requests, self._connect_timeout_s, self._probe_timeout_s
        )
        self._session = session
        self._connects += 1
        try:
            self._listening("listening")
            await self._watch(session)
        finally:
            self._session = None
            session.terminate()
            await asyncio.sleep(0)  # a loop that ends now would leave the socket open

    async def _watch(self, session: ListenSession) -> NoReturn:
        """Probe the connection until it is closed, has not answered twice in a row, or the DSN leads elsewhere.

        Raises:
            NotListeningError: why it is of no more use.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: what a probe met.
        """
        loop = asyncio.get_running_loop()
        check_at = loop.time() + self._jittered(self._server_check_interval_s)
        while True:
            pause_s = min(_AFTER_MISS_S, self._probe_interval_s) if session.misses else self._probe_interval_s
            await session.rest(self._jittered(pause_s))
            if session.is_closed:
                raise self._half_open() if session.misses else NotListeningError("unreachable", _closed())
            missed, started = session.misses, loop.time()
            try:
                await session.probe()
            except TimeoutError as exc:
                if session.misses >= _MISSES:
                    raise self._half_open() from exc
                self._report(self._half_open())
                continue
            except NETWORK_ERRORS as exc:
                raise self._half_open() if missed else exc from None
            if not self.healthy:
                self._listening("the listening connection answers again")
            self._backoff.reset()  # not at the connect: one that breaks at once must back off as well
            self._bus.emit(ListenerProbed(session.backend_pid, (loop.time() - started) * 1000))
            if loop.time() >= check_at:
                await self._check_server(session)
                check_at = loop.time() + self._jittered(self._server_check_interval_s)

    async def _check_server(self, session: ListenSession) -> None:
        """Return where the DSN still leads to the server of *session*, or leads nowhere just now.

        After a promotion the old primary may be up, and answer probes, but no notification comes from it any more.

        Raises:
            NotListeningError: the DSN leads to another server.
        """
        with contextlib.suppress(DatabaseError, *NETWORK_ERRORS):  # only the probe judges the connection
            if await session.is_elsewhere():
                raise NotListeningError("unreachable", _elsewhere())

    def _jittered(self, seconds: float) -> float:
        """Return *seconds* give or take a fifth."""
        return jittered(seconds, rng=self._rng)

    def _half_open(self) -> NotListeningError:
        """Return the failure of a connection that is open here, and on which no probe is answered."""
        return NotListeningError(
            "half_open",
            Problem(
                "LR210",
                "the listening connection did not answer in time",
                "database",
                "Look for a frozen server, or a firewall that drops idle connections; it is dialled again",
                "warning",
            ),
        )

    def _listening(self, reason: str) -> None:
        """Note that notifications arrive from now on, and ask for a read for *reason*."""
        self.mode, self.cause, self._said = "listen", None, ("", None)
        self._bus.emit(ListenerConnected(self.backend_pid or 0, self.reconnects))
        self._requests.request(reason)  # for whatever was committed while nobody listened

    async def _back_off(self, failure: NotListeningError) -> None:
        """Report *failure* and wait before the next attempt: longer with each, but behind a pooler always long.

        While nobody answers, or has a connection left, the waits stay short, and drawn by each process for itself: a
        fleet that lost its server neither comes back at one moment, nor late.
        """
        retry_s = self._backoff.next()
        if failure.cause == "pooler":
            retry_s = self._jittered(_POOLER_RETRY_S)
        elif failure.cause not in _ANSWERED or failure.problem.code == "LR201":
            retry_s = min(retry_s, self._jittered(_UNREACHED_RETRY_S))
        retry_s = max(retry_s, self._retry_at_least_s)
        self._report(failure, retry_s)
        await asyncio.sleep(retry_s)

    def _report(self, failure: NotListeningError, retry_s: float | None = None) -> None:
        """Say why notifications do not arrive: a new cause at once, one that goes on every `_SAY_AGAIN_S` seconds.

        Args:
            failure: the cause.
            retry_s: seconds until the next attempt; None while the connection is kept, after one missed probe.
        """
        self.mode, self.cause = "poll_only", failure.cause
        event: ListenerDegraded | ListenerLost
        if retry_s is None or failure.cause in _ANSWERED:
            event = ListenerDegraded(failure.cause, self.poll_interval_s, failure.problem)
        else:
            event = ListenerLost(failure.cause, self._backoff.failures, retry_s, failure.problem)
        said, now = (event.name, failure.cause), asyncio.get_running_loop().time()
        if said == self._said and now - self._said_at < _SAY_AGAIN_S:
            return
        is_new, self._said, self._said_at = said != self._said, said, now
        self._bus.emit(event)
        if is_new:  # else the reloader would go on waiting by its long poll interval
            self._requests.request(f"notifications do not arrive: {failure.cause}")


def _cause(exc: Exception) -> PollCause:
    """Return the word for what keeps us from listening, by the error *exc* of a connect or a query."""
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

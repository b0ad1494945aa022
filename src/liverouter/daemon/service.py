"""`liverouter serve`: one process with a client of its own, the API and the page. Its start, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn

from liverouter.client import LiveRouter
from liverouter.daemon.addresses import is_loopback
from liverouter.daemon.api import create_app
from liverouter.daemon.auth import AdminToken, LoginLimiter, admin_token, kept_token
from liverouter.daemon.binding import bind, numeric_of, url_of
from liverouter.daemon.complaints import Complaints
from liverouter.daemon.connections import Connections, Limits
from liverouter.daemon.context import Context, build_context, soon
from liverouter.daemon.database_keeper import DatabaseKeeper
from liverouter.daemon.own_database import start_own_database
from liverouter.daemon.request_guard import Policy
from liverouter.daemon.systemd import Notifier
from liverouter.embedded.data_folder import DataFolder
from liverouter.embedded.server import default_data_dir
from liverouter.errors import OptionsError
from liverouter.events import (
    ConfigApplied,
    ConfigRead,
    ConfigRejected,
    Event,
    OwnDatabaseEnded,
    OwnDatabaseRestarted,
    ReadFailed,
)
from liverouter.logs import Log, LogObserver
from liverouter.options import names_database, wake_url
from liverouter.redis.wake import WakePublisher
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Generator
    from pathlib import Path

    from liverouter.embedded.server import EmbeddedPostgres

_GRACE_S: Final = 10  # for requests in flight at the end


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8484,
    database_url: str | None = None,
    data_dir: Path | None = None,
    with_token: bool = True,
    echo: Callable[[str], None] = print,
) -> int:
    """Serve until a signal ends it; return the exit code, 0.

    Without a database (argument, LIVEROUTER_DATABASE_URL or …_FILE, DATABASE_URL) it runs one of its own in *data_dir*,
    migrates it, and tells *echo* how services and psql reach it. A database that is given is never migrated here. Where
    it is unreachable or empty, or holds no settings, the daemon serves all the same: log, page and `/readyz` say what
    to do. Its own database it starts again where that ends.

    The token that guards it is LIVEROUTER_ADMIN_TOKEN (or what …_FILE names), else, on loopback, one that is kept in
    *data_dir* and told to *echo* in the page's address. *with_token* False is for loopback alone: everybody on this
    machine may then do everything.

    To be called in the main thread: SIGTERM and SIGINT end it gracefully, a second one at once; SIGHUP reads the
    settings again.

    Raises:
        OptionsError: an option cannot be used; another address than loopback needs LIVEROUTER_ADMIN_TOKEN.
        SecretError: the keyring cannot be read.
        EmbeddedError: no PostgreSQL can run here, or another process has the data folder.
        DatabaseError: the embedded database cannot be migrated, or not be kept running (LR225).
        LiveRouterError: the address is taken (LR610).
    """
    token = admin_token()
    with contextlib.ExitStack() as stack:
        bind_to = numeric_of(host, port)
        _check_token_policy(host, bind_to[1], token, with_token=with_token)
        listener = stack.enter_context(bind(host, port, bind_to))
        server, given = None, dict[str, Any](database_url=database_url)
        if not database_url and not names_database(os.environ):
            server, given = start_own_database(stack, _data_folder(data_dir), echo)
        wake = wake_url(os.environ)
        live = LiveRouter(wake_url="", **given)  # it listens itself, and passes on what it hears
        stack.callback(live.close)
        policy, address = _policy(token), url_of(host, listener)
        if token is None and with_token:
            path = DataFolder(_data_folder(data_dir), durable=True).token
            made = kept_token(path)
            policy = replace(policy, admin_token=AdminToken(made))
            address += f"#token={made}"
            echo(f"who has this address, with its token, may change everything; the token is kept in {path}")
        service = _Service(
            live, policy, listener, server, started=lambda: echo(f"liverouter serves at {address}"), wake=wake
        )
        return asyncio.run(service.run())


def _data_folder(given: Path | None) -> Path:
    """Return the absolute path of the folder *given*, by default this user's own.

    Raises:
        OptionsError: none is given, and this user has no home.
    """
    try:
        return (given or default_data_dir()).absolute()
    except RuntimeError as exc:
        hint = (
            "Name a folder: --data-dir; or set LIVEROUTER_DATABASE_URL and LIVEROUTER_ADMIN_TOKEN, then none is needed"
        )
        raise OptionsError("there is no data folder", where="--data-dir", hint=hint) from exc


def _policy(token: str | None) -> Policy:
    """Return what is admitted with *token*, which the environment gave, and with LIVEROUTER_ALLOWED_HOSTS.

    Where a token was given, a proxy may serve the daemon under a name that is not known here, so any Host is answered
    unless names are listed. A daemon that makes a token, or has none, is for this machine alone: it answers to
    localhost and addresses, and not to a name that somebody's DNS points here.
    """
    names = os.environ.get("LIVEROUTER_ALLOWED_HOSTS", "").split(",")
    hosts = frozenset(name.strip().lower() for name in names if name.strip())
    any_host = token is not None and not hosts
    return Policy(admin_token=AdminToken(token), login_limiter=LoginLimiter(), any_host=any_host, hosts=hosts)


def _check_token_policy(host: str, address: str, token: str | None, *, with_token: bool) -> None:
    """Return when *token* suits *address*, the numeric one that *host* resolves to.

    Raises:
        OptionsError: one is given though none is wanted, or none is though others than this machine reach *address*.
    """
    where, hint = "LIVEROUTER_ADMIN_TOKEN", "Set LIVEROUTER_ADMIN_TOKEN (or …_FILE) to a long random text"
    if token is not None and not with_token:
        raise OptionsError("a token is set, and none is wanted", where=where, hint="Unset it, or leave --no-token out")
    if token is None and not is_loopback(address):
        reached = host if host == address else f"{host} ({address})"
        message = f"{reached} can be reached by others, and no token is set"
        raise OptionsError(message, where=where, hint=f"{hint}, or serve on 127.0.0.1")


class Server(uvicorn.Server):
    """uvicorn's server of the API: within limits, and without signal handlers of its own."""

    def __init__(self, context: Context, *, started: Callable[[], None], limits: Limits | None = None) -> None:
        """Serve *context* within *limits*; *started* is called once it answers."""
        self._connections, self._tell_started = Connections(limits or Limits()), started
        super().__init__(_http_config(context, self._connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then call `started`."""
        await super().startup(sockets)
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in good order.

        uvicorn ends the connections that it knows, and waits for those that it comes to know while it ends, for asyncio
        tells of a connection in the second round after it accepted it. Those are refused.
        """
        self._connections.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the service."""
        yield


def _http_config(context: Context, connections: Connections) -> uvicorn.Config:
    """Return how uvicorn serves the API of *context*: without logs of its own, to *connections*."""
    return uvicorn.Config(
        create_app(context),
        http=cast("type[asyncio.Protocol]", connections.protocol),
        backlog=connections.limits.backlog,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(os.environ.get("FORWARDED_ALLOW_IPS")),  # uvicorn's own variable: whose headers it believes
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
    )


class _Service:
    """The running daemon. Runs in the main thread's event loop; the client has threads of its own."""

    def __init__(
        self,
        live: LiveRouter,
        policy: Policy,
        listener: socket.socket,
        database: EmbeddedPostgres | None,
        *,
        started: Callable[[], None],
        wake: str,
    ) -> None:
        """Make the parts.

        Args:
            live: the client, which is not started yet.
            policy: who is admitted.
            listener: the socket that is served.
            database: a server of its own, which is kept running; None where the database is somebody else's.
            started: called once the page answers and signals are heeded.
            wake: URL of the Redis through which wake-ups are passed on; empty for none.
        """
        self._live, self._listener = live, listener
        self._log = Log()
        self._told = LogObserver(self._log)
        self._notifier = Notifier()
        self._complaints = Complaints(self._log)
        self._keeper = DatabaseKeeper(database, tell=self._tell_of_database) if database is not None else None
        self._keeping: asyncio.Task[None] | None = None
        self._context = context = build_context(live, policy, self._report, keeper=self._keeper)
        self._server = Server(context, started=self._tell_started)
        self._wake = WakePublisher(url=wake, lost=self._complain_of_redis) if wake else None
        self._started = started
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = False

    async def run(self) -> int:
        """Start the client and serve until a signal; return the exit code, 0. Closes all but the client itself.

        Raises:
            DatabaseError: its own database cannot be kept running (LR225).
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        unsubscribe = self._live.subscribe(soon(loop, self._observe))
        if self._wake is not None:
            self._live.subscribe(self._wake.observe)
            self._start(self._wake.run(), "wake-ups")
        try:
            self._live.start()
            with self._complaints.listening():
                self._start(self._context.watch.run(), "watch")
                self._start(self._notifier.watch(), "watchdog")
                if self._keeper is not None:
                    self._keeping = asyncio.create_task(self._keeper.run(), name="database keeper")
                    self._tasks.add(self._keeping)
                    self._keeping.add_done_callback(self._gave_up)
                await self._server.serve(sockets=[self._listener])
        finally:
            unsubscribe()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._context.repository.close()
        if self._keeping is not None and not self._keeping.cancelled():
            self._keeping.result()  # it ended the service, as it could not go on
        return 0

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run *work* as a task until `run` ends; an error that ends it is logged."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._log.error("loop.failed", loop=task.get_name(), error=brief(exc))

    def _gave_up(self, keeping: asyncio.Task[None]) -> None:
        """End where its database cannot be kept running; *keeping* knows why."""
        if not keeping.cancelled():
            self._end()

    def _report(self, path: str, error: str) -> None:
        """Log a request that failed in a way nobody foresaw, each kind of failure once a minute."""
        self._complaints.say("request.failed", f"{path}: {error}", level="error")

    def _complain_of_redis(self, why: str, hint: str) -> None:
        """Log that no wake-ups are passed on, once a minute."""
        self._complaints.say("wake.lost", f"Redis passes no wake-ups on ({why}). {hint}".rstrip())

    def _tell_started(self) -> None:
        """Tell the caller and systemd that the page answers."""
        self._started()
        self._notifier.ready(self._status_line())

    def _status_line(self) -> str:
        """Return what `systemctl status` shows: state and revision."""
        status = self._live.status()
        return f"{status.state}, revision {'none' if status.revision is None else status.revision}"

    def _end(self) -> None:
        """End in good order, on a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        if self._keeping is not None:
            self._keeping.cancel()  # whoever ends this process may have told the database as well
        self._notifier.stopping()
        self._context.hub.close()  # an open stream would hold the graceful end
        self._server.should_exit = True

    def _reload(self) -> None:
        """Read the settings again, on SIGHUP; `_observe` tells systemd when that is done."""
        self._reloading = True
        self._notifier.reloading()
        self._live.reload()

    def _tell_of_database(self, event: Event) -> None:
        """Tell log, pages and systemd *event* of the database that this daemon runs; once it is up, look at it."""
        self._told(event)
        self._context.observe(event)
        if isinstance(event, OwnDatabaseEnded):
            self._notifier.status(event.problem.message)
        elif isinstance(event, OwnDatabaseRestarted):
            self._live.reload()
            self._notifier.status(self._status_line())

    def _observe(self, event: Event) -> None:
        """Tell *event* to pages and systemd; called in this loop."""
        self._context.observe(event)
        if self._reloading and isinstance(event, ConfigRead | ReadFailed):
            self._reloading = False
            self._notifier.ready(self._status_line())
        elif isinstance(event, ConfigApplied | ConfigRejected):
            self._notifier.status(self._status_line())

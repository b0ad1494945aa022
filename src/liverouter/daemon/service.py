"""`liverouter serve`: one process with a client of its own, the API and the page. Its start, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from liverouter import migrate
from liverouter.client import LiveRouter
from liverouter.daemon.api import create_app
from liverouter.daemon.auth import Gate, Tries, admin_token
from liverouter.daemon.context import Context, build_context, soon
from liverouter.daemon.embedded import EmbeddedPostgres, default_data_dir
from liverouter.daemon.shield import Policy, is_loopback
from liverouter.daemon.systemd import Notifier
from liverouter.errors import LiveRouterError, OptionsError
from liverouter.events import ConfigApplied, ConfigRead, ConfigRejected, Event, ReadFailed, mask
from liverouter.logs import logger
from liverouter.sealing import generate_key

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from pathlib import Path

_GRACE_S: Final = 10  # for requests in flight at the end


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8484,
    database_url: str | None = None,
    data_dir: Path | None = None,
    echo: Callable[[str], None] = print,
) -> int:
    """Serve until a signal ends it; return the exit code, 0.

    Without a database (argument, LIVEROUTER_DATABASE_URL, DATABASE_URL) it runs one of its own in *data_dir*, migrates
    it, and tells *echo* how services and psql reach it. A database that is given is never migrated here. One that is
    unreachable or empty, or holds no settings, ends nothing: log, page and `/readyz` say what to do.

    SIGTERM and SIGINT end it gracefully, a second one at once; SIGHUP reads the settings again.

    Raises:
        OptionsError: an option cannot be used; another address than loopback needs LIVEROUTER_ADMIN_TOKEN.
        SecretError: the keyring cannot be read.
        EmbeddedError: no PostgreSQL can run here, or another process has the data folder.
        DatabaseError: the embedded database cannot be migrated.
        LiveRouterError: the address is taken (LR610).
    """
    token = admin_token()
    policy = _policy(host, token)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bind(host, port))
        url = database_url or os.environ.get("LIVEROUTER_DATABASE_URL") or os.environ.get("DATABASE_URL")
        own: dict[str, Any] = {}
        if not url:
            url, own = _own_database(stack, data_dir or default_data_dir(), echo)
        live = LiveRouter(database_url=url, **own)
        stack.callback(live.close)
        echo(f"liverouter serves at {_address(host, listener)}")
        return asyncio.run(_Service(live, policy, listener).run())


def _policy(host: str, token: str) -> Policy:
    if not token and not is_loopback(host):
        raise OptionsError(
            f"{host} can be reached by others, and no token is set",
            where="LIVEROUTER_ADMIN_TOKEN",
            hint="Set LIVEROUTER_ADMIN_TOKEN (or …_FILE) to a long random text, or serve on 127.0.0.1",
        )
    names = os.environ.get("LIVEROUTER_ALLOWED_HOSTS", "").split(",")
    hosts = frozenset(name.strip().lower() for name in names if name.strip())
    return Policy(gate=Gate(token), tries=Tries(), any_host=bool(token) and not hosts, hosts=hosts)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as exc:
        raise LiveRouterError(
            f"port {port} of {host} cannot be used: {getattr(exc, 'strerror', None) or exc}",
            code="LR610",
            where="liverouter serve",
            hint="End what listens there, or choose another: --port 8485",
        ) from exc


def _address(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}/"


def _own_database(
    stack: contextlib.ExitStack, data_dir: Path, echo: Callable[[str], None]
) -> tuple[str, dict[str, Any]]:
    """Start the embedded server, migrate it, and return its URL and the options that go with it."""
    server = stack.enter_context(EmbeddedPostgres(data_dir=data_dir))
    url = server.dsn()
    migrate.upgrade(url, echo=echo)
    echo(f"database in {data_dir}; for services, psql and this command line:")
    echo(f"  export LIVEROUTER_DATABASE_URL={shlex.quote(url)}")
    if os.environ.get("LIVEROUTER_SECRET_KEYS") or os.environ.get("LIVEROUTER_SECRET_KEYS_FILE"):
        return url, {}
    keys = _keyring_file(data_dir)
    echo(f"  export LIVEROUTER_SECRET_KEYS_FILE={shlex.quote(str(keys))}")
    return url, {"secret_keys": keys.read_text(encoding="ascii")}


def _keyring_file(data_dir: Path) -> Path:
    """Return the file with the embedded database's keyring, made on first use for this user's eyes only."""
    path = data_dir / "secret-keys"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{generate_key()}\n")
            file.flush()
            os.fsync(file.fileno())  # a secret sealed with a key that a crash lost would be lost
    return path


def http_config(context: Context) -> uvicorn.Config:
    """Return how the API of *context* is served: quietly, by a server that does not say what it is."""
    return uvicorn.Config(
        create_app(context),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(os.environ.get("FORWARDED_ALLOW_IPS")),  # uvicorn's own variable: whose headers it believes
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, the service has its own, and with word of when it serves."""

    def __init__(self, config: uvicorn.Config, *, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._tell_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


class _LogHandler(logging.Handler):
    """Hands what uvicorn has to complain of to our log."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, without a traceback: one could show what a request held."""
        self._log.warning("http.complained", message=mask(record.getMessage()))


class _Service:
    """The running daemon. Lives in the main thread's event loop; the client has threads of its own."""

    def __init__(self, live: LiveRouter, policy: Policy, listener: socket.socket) -> None:
        self._live, self._listener = live, listener
        self._log = logger()
        self._notifier = Notifier()
        self._context = context = build_context(
            live, policy, lambda path, error: self._log.error("request.failed", path=path, error=error)
        )
        self._server = _Server(
            http_config(context),
            started=lambda: self._notifier.ready(self._words()),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = False

    async def run(self) -> int:
        """Serve until a signal; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        uvicorn_log = logging.getLogger("uvicorn.error")
        uvicorn_log.propagate = False
        uvicorn_log.addHandler(_LogHandler(self._log))
        unsubscribe = self._live.subscribe(soon(loop, self._observe))
        self._live.start()
        try:
            self._start(self._context.watch.run(), "watch")
            self._start(self._notifier.watch(), "watchdog")
            await self._server.serve(sockets=[self._listener])
        finally:
            unsubscribe()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._context.repository.close()
        return 0

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._log.error("loop.failed", loop=task.get_name(), error=f"{type(exc).__name__}: {mask(str(exc))}")

    def _words(self) -> str:
        status = self._live.status()
        return f"{status.state}, revision {'none' if status.revision is None else status.revision}"

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        self._notifier.stopping()
        self._context.hub.close()  # an open stream would hold the graceful end
        self._server.should_exit = True

    def _reload(self) -> None:
        self._reloading = True
        self._notifier.reloading()
        self._live.reload()

    def _observe(self, event: Event) -> None:
        """Tell pages and systemd; in this loop."""
        self._context.observe(event)
        if self._reloading and isinstance(event, ConfigRead | ReadFailed):
            self._reloading = False
            self._notifier.ready(self._words())
        elif isinstance(event, ConfigApplied | ConfigRejected):
            self._notifier.status(self._words())

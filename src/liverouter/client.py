"""One client: wires listener, reloader, reporter and store, and owns their threads. `get_chat_model` is the default one.

Two background threads: the engine's loop (PostgreSQL, reloads, reports) and the I/O loop (every provider call).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
import uuid
import weakref
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from liverouter import options as process_options
from liverouter.chat import LiveChatModel, warm
from liverouter.config import Validation, validate
from liverouter.errors import ClosedError, LiveRouterError, NotReadyError, Problem
from liverouter.events import (
    ClientClosed,
    ClientStarted,
    ConfigApplied,
    ConfigRejected,
    Event,
    LoopFailed,
    Observer,
    ReadFailed,
    SnapshotFileIgnored,
    SnapshotFileWritten,
    mask,
)
from liverouter.inner import build_inner
from liverouter.listener import Listener
from liverouter.logs import bus
from liverouter.loop import LoopThread
from liverouter.options import Environment, Options
from liverouter.profile import combine
from liverouter.reloader import Reloader
from liverouter.reporter import Reporter
from liverouter.repository import SettingsRepository
from liverouter.router import build_router, cooling, forget_models, load, retire_router
from liverouter.sealing import Keyring
from liverouter.state import Status, fold
from liverouter.store import Generation, Store
from liverouter.usage import UsageCounter, register, unregister

if TYPE_CHECKING:
    from litellm import Router

    from liverouter.raw import Head, RawConfig
    from liverouter.snapshot import Snapshot

_DEGRADED_POLL_S: Final = 2.0          # poll interval while notifications do not arrive
_RESTART_S: Final = 1.0                # pause before a background loop that ended is run again
_GOODBYE_S: Final = 1.0
_CLOSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """What `LiveRouter.wait_applied` found: every live instance runs the revision. `await` on it is harmless."""

    revision: int
    duration_ms: float

    def __await__(self) -> Generator[None, None, Self]:
        """Return itself; the wait is over already."""
        yield from ()
        return self


class LiveRouter:
    """A live client of one database.

    Use it as ``with LiveRouter(database_url=…) as live`` or ``async with …``. Entering starts two daemon threads and
    returns once the first config is live, or is known not to be (no settings, no database): then the state says why,
    and the client goes on trying. It may be shared by threads and event loops, and survives `os.fork`: the child's
    first call starts threads and connections of its own.

    Args:
        database_url: ``postgresql://user:password@host:port/name``; default LIVEROUTER_DATABASE_URL or DATABASE_URL.
        observers: called with every event, from background threads; one that raises is logged and hurts nothing.
        options: the other process options of the README by their lower-case names, ``poll_interval_s=5``; an argument
            wins over its LIVEROUTER_… variable.

    Raises:
        OptionsError: an option cannot be used.
        SecretError: the keyring cannot be read.
    """

    def __init__(self, *, database_url: str | None = None, observers: tuple[Observer, ...] = (), **options: Any) -> None:
        """Check the options; nothing is opened or started."""
        self.options: Options = process_options.load(database_url=database_url, **options)
        self._keyring = Keyring.from_text(self.options.secret_keys) if self.options.secret_keys.strip() else None
        self._observers = observers
        self._closed = False
        self._abandoned: list[Any] = []    # what a fork's parent owns: kept, so that nothing closes its sockets
        self._renew()
        _clients.add(self)

    def _renew(self) -> None:
        """Make everything that belongs to this process and this life anew."""
        self.client_id = str(uuid.uuid4())
        self.store = Store()
        self.io: LoopThread | None = None
        self._engine: LoopThread | None = None
        self._main: Any = None             # future of the engine's main coroutine
        self._parts: _Parts | None = None
        self._lock = threading.RLock()
        self._decided = threading.Event()  # a first generation, rejection or failed read happened
        self._status = Status(since=datetime.now(UTC))
        self._bus = bus(self._observe, *self._observers)
        self.usage = UsageCounter(bus=self._bus)

    # -- what consumers use --------------------------------------------------------------------------------------

    def chat_model(self) -> LiveChatModel:
        """Return a chat model that always serves with this client's current generation."""
        return LiveChatModel(source=self)

    def generation(self) -> Generation:
        """Return the generation in force; blocks up to `ready_timeout_s` only while there is none.

        Raises:
            NotReadyError: none came in time; lists every Problem.
            ClosedError: the client was closed.
        """
        return self.store.current or self.wait_ready()

    def router(self) -> Router | None:
        """Return the current `litellm.Router`, None while `litellm_enable` is off; blocks as `generation` does."""
        return self.generation().router

    def status(self) -> Status:
        """Return where this client stands; never blocks."""
        return self._status

    def wait_ready(self, timeout_s: float | None = None) -> Generation:
        """Return the first generation, waiting up to *timeout_s* seconds (default: the option `ready_timeout_s`).

        Raises:
            NotReadyError: none came in time; lists every Problem.
            ClosedError: the client was closed.
        """
        limit_s = self.options.ready_timeout_s if timeout_s is None else timeout_s
        self.start()
        if (generation := self.store.wait(limit_s)) is None:
            if self._closed:
                raise ClosedError
            raise NotReadyError(self._reasons(), waited_s=limit_s)
        return generation

    def wait_applied(self, revision: int, timeout_s: float = 5.0) -> Rollout:
        """Block until every live instance applied *revision* or a newer one, up to *timeout_s* seconds.

        In async code, where nothing may block, call it through `asyncio.to_thread`.

        Raises:
            RolloutError: an instance rejected it (LR403, at once), or the time ran out (LR404, names who is missing).
            DatabaseError: the database cannot be asked.
        """
        self.start()
        started = time.monotonic()
        parts, engine = self._parts, self._engine
        if parts is None or engine is None:
            raise ClosedError
        engine.call(parts.repository.wait_applied, revision, timeout_s)
        return Rollout(revision, (time.monotonic() - started) * 1000)

    def reload(self) -> None:
        """Ask for a read of the settings, soon; returns at once."""
        if self._parts is not None:
            self._parts.reloader.request("asked by the application")

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* with every event from now on; the returned function ends that."""
        return self._bus.subscribe(observer)

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the background threads if they do not run; returns at once.

        Raises:
            ClosedError: the client was closed.
        """
        if self._main is not None:
            return
        with self._lock:
            if self._closed:
                raise ClosedError
            if self._main is not None:
                return
            self.io = LoopThread("liverouter-io")
            self._engine = LoopThread("liverouter-engine")
            self._parts = _Parts(self, self._engine)
            self._bus.emit(ClientStarted(self.client_id, self.options.app, self.options.database_name))
            self._main = self._engine.submit(self._parts.run)

    def close(self) -> None:
        """End everything that was started: threads, tasks, connections. Calls in flight are cancelled; safe to repeat."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            main, engine, io, parts = self._main, self._engine, self.io, self._parts
        if main is not None and engine is not None and io is not None and parts is not None:
            with contextlib.suppress(Exception):   # best effort: the database may be gone
                engine.submit(parts.close).result(_CLOSE_S)
            engine.stop(_CLOSE_S)
            io.stop(_CLOSE_S)
        former = self.store.clear()
        if former is not None and former.router is not None:
            retire_router(former.router)
        unregister(self.client_id)
        self._bus.emit(ClientClosed(self.client_id))
        self._decided.set()
        _clients.discard(self)

    def __enter__(self) -> Self:
        """Start, and wait until the first config is live or known not to be."""
        self.start()
        self._decided.wait(self.options.ready_timeout_s)
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Start, and wait, without blocking the loop, until the first config is live or known not to be."""
        self.start()
        await asyncio.to_thread(self._decided.wait, self.options.ready_timeout_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close, without blocking the loop."""
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        """Say where it stands, without a secret."""
        return f"<LiveRouter {self.options.database_name} {self._status.state} revision={self._status.revision}>"

    # -- inside --------------------------------------------------------------------------------------------------

    def _observe(self, event: Event) -> None:
        """Keep the status; the bus calls this first and one event at a time."""
        self._status = fold(self._status, event, datetime.now(UTC))
        if self._parts is not None:
            self._parts.reporter.observe(event)
        if isinstance(event, ConfigApplied | ConfigRejected | ReadFailed):
            self._decided.set()

    def _reasons(self) -> tuple[Problem, ...]:
        status = self._status
        if status.problems:
            return status.problems
        if (error := status.last_error) is not None:
            return (Problem(error.code, error.message, error.where, error.hint),)
        return ()

    def _after_fork(self) -> None:
        """In a forked child: let go of everything of the parent's, without closing it, and start anew when asked."""
        self._abandoned.append((self.io, self._engine, self._parts, self._main, self.store, self._bus))
        self._renew()


class _Parts:
    """What runs in the engine's loop."""

    def __init__(self, client: LiveRouter, engine: LoopThread) -> None:
        options = client.options
        self._client, self._engine, self._options = client, engine, options
        self._bus, self._store, self._usage = client._bus, client.store, client.usage  # noqa: SLF001 - its engine
        self._tasks: list[asyncio.Task[None]] = []
        self._litellm: asyncio.Task[Any] | None = None
        self._unused: set[str] = set()     # deployment ids of the generation before the last one
        self.repository = SettingsRepository(
            url=options.database_url, application_name=f"liverouter/{options.app}"[:63]
        )
        self.reloader = Reloader(
            read=self.repository.read, environment=Environment, validate=self._validate, build=self._build,
            retire=self._retire, store=self._store, bus=self._bus, poll_interval_s=self._poll_interval_s,
            read_file=self._read_file if options.snapshot_file else None,
            activated=self._write_file if options.snapshot_file else None,
        )
        self.listener = Listener(
            dsn=options.listen_dsn, on_change=self.reloader.request, bus=self._bus,
            application_name=f"liverouter-listen/{options.app}"[:63], probe_interval_s=options.probe_interval_s,
            poll_interval_s=min(_DEGRADED_POLL_S, options.poll_interval_s),
        )
        self.reporter = Reporter(
            send=self.repository.report, instance=client.client_id, options=options, status=client.status,
            generation=lambda: self._store.current, cooling=_cooling, usage=self._usage.drain,
            unsent_usage=self._usage.restore, on_head=self._compare_head, bus=self._bus,
        )

    async def run(self) -> None:
        """Run all loops until `close`."""
        self._litellm = asyncio.create_task(asyncio.to_thread(load, freeze=self._options.gc_freeze), name="litellm import")
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "reloader": self.reloader.run, "listener": self.listener.run, "reporter": self.reporter.run,
        }
        self._tasks = [asyncio.create_task(self._supervise(name, run), name=name) for name, run in loops.items()]
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """End the loops, say goodbye to the database, release its connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self.reporter.say_goodbye()
        await self.repository.close()

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run one loop for ever: an error nobody foresaw is told and the loop started again."""
        while True:
            try:
                await run()
            except Exception as exc:  # noqa: BLE001 - the top of a loop
                self._bus.emit(LoopFailed(name, f"{type(exc).__name__}: {mask(str(exc))}"))
            await asyncio.sleep(_RESTART_S)

    def _poll_interval_s(self) -> float:
        interval_s = self._options.poll_interval_s
        return interval_s if self.listener.healthy else min(interval_s, _DEGRADED_POLL_S)

    def _compare_head(self, head: Head) -> None:
        status = self._client.status()
        if (head.epoch, head.revision) != (status.epoch, status.desired_revision):
            self.reloader.request("the heartbeat saw another revision")

    def _validate(self, raw: RawConfig, environment: Environment) -> Validation:
        return validate(raw, environment=environment, keyring=self._client._keyring)  # noqa: SLF001 - its engine

    async def _build(self, snapshot: Snapshot, former: Generation | None, number: int) -> tuple[Generation, float, float]:
        """Return a generation that is ready to serve its first call, and what building and warming took."""
        if snapshot.litellm_enable and self._litellm is not None:
            await asyncio.shield(self._litellm)
        started = time.monotonic()
        generation = await asyncio.to_thread(self._construct, snapshot, former, number)
        built_at = time.monotonic()
        io = self._client.io
        if io is not None:
            await warm(generation, io)
        return generation, (built_at - started) * 1000, (time.monotonic() - built_at) * 1000

    def _construct(self, snapshot: Snapshot, former: Generation | None, number: int) -> Generation:
        self._usage.know(snapshot.deployments)
        router = None
        if snapshot.litellm_enable:
            register(self._client.client_id, self._usage)
            router = build_router(snapshot, former.router if former else None)
        return Generation(
            number=number, snapshot=snapshot, chat=build_inner(snapshot, router), router=router, profile=combine(snapshot),
            deployments={d.id: d for d in snapshot.deployments},
        )

    def _retire(self, former: Generation, successor: Generation | None) -> None:
        """Take *former* out of litellm's lists; its price entries go one generation later, when its calls have ended."""
        kept = set(successor.deployments) if successor else set()
        forget_models(self._unused - kept - set(former.deployments))
        self._unused = set(former.deployments) - kept
        if former.router is not None:
            retire_router(former.router)

    def _read_file(self) -> RawConfig | None:
        from liverouter.snapshot_file import read_snapshot_file  # noqa: PLC0415 - only where the option is set

        path = self._options.snapshot_file or Path()
        try:
            return read_snapshot_file(path, self._client._keyring)  # noqa: SLF001 - its engine
        except LiveRouterError as exc:
            self._bus.emit(SnapshotFileIgnored(str(path), exc.problem))
            return None

    async def _write_file(self, raw: RawConfig) -> None:
        from liverouter.snapshot_file import write_snapshot_file  # noqa: PLC0415 - only where the option is set

        path = self._options.snapshot_file or Path()
        try:
            await asyncio.to_thread(write_snapshot_file, path, raw, self._client._keyring)  # noqa: SLF001 - its engine
        except LiveRouterError as exc:
            self._bus.emit(SnapshotFileIgnored(str(path), exc.problem))
            return
        self._bus.emit(SnapshotFileWritten(str(path), raw.revision))


def _cooling(generation: Generation) -> dict[str, float]:
    return cooling(generation.router) if generation.router is not None else {}


# The one module state: the default client and its handle, made by the first call of get_chat_model().
_clients: weakref.WeakSet[LiveRouter] = weakref.WeakSet()
_default_lock = threading.Lock()
_default: LiveRouter | None = None
_model: LiveChatModel | None = None


def get_chat_model() -> LiveChatModel:
    """Return the default client's live chat model; callable from sync code, threads, any event loop, forked workers.

    The first call starts the default client, configured by the environment, and blocks until its first generation.

    Raises:
        NotReadyError: no config became live within `ready_timeout_s`; lists every Problem and how to mend it.
        OptionsError: LIVEROUTER_DATABASE_URL is missing, or another option cannot be used.
    """
    model = _model
    return model if model is not None else _first_model()


def _first_model() -> LiveChatModel:
    global _model  # noqa: PLW0603 - see above
    client = default_client()
    client.wait_ready()
    with _default_lock:
        if _model is None:
            _model = client.chat_model()
        return _model


def default_client() -> LiveRouter:
    """Return the default client, started; made from the environment by the first call."""
    global _default  # noqa: PLW0603 - see above
    with _default_lock:
        if _default is None:
            _default = LiveRouter()
            atexit.register(_default.close)
        client = _default
    client.start()
    return client


def status() -> Status:
    """Return the default client's status; never blocks, starts nothing."""
    client = _default
    return client.status() if client is not None else Status(since=datetime.now(UTC))


def _after_fork() -> None:
    global _default_lock  # noqa: PLW0603 - the parent's may be held by a thread that does not exist here
    _default_lock = threading.Lock()
    for client in list(_clients):
        client._after_fork()  # noqa: SLF001 - same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

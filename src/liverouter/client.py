"""One client: its life, its threads and what consumers ask it.

Two background threads: the engine's loop (PostgreSQL, reloads, reports) and the I/O loop (every provider call).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from liverouter import options as process_options
from liverouter.chat.model import LiveChatModel
from liverouter.chat.source import NamedSource
from liverouter.chat.usage import UsageCounter
from liverouter.config.settings import is_model_name
from liverouter.engine.engine import Engine
from liverouter.engine.readiness import Readiness
from liverouter.engine.status import State, Status, StatusTracker
from liverouter.errors import ClosedError, ModelNameError
from liverouter.events import ClientClosed, ClientStarted, ModelAsked, Observer
from liverouter.generation import Generation, Store
from liverouter.logs import logging_bus
from liverouter.loops.goodbye import before_the_end
from liverouter.loops.thread import LoopThread
from liverouter.postgres.asked_url import UrlFunction
from liverouter.revision import DEFAULT_NAME
from liverouter.secrecy.leaving import leaves_bare

if TYPE_CHECKING:
    from liverouter.options import Options

_CLOSE_S: Final = 5.0
_MOST_ASKED: Final = 100  # names that are told of


@dataclass(frozen=True, slots=True)
class _Running:
    """What a started client consists of.

    Attributes:
        loop: runs the engine.
        io: runs every provider call.
    """

    engine: Engine
    loop: LoopThread
    io: LoopThread


@dataclass(frozen=True, slots=True)
class Rollout:
    """What `LiveRouter.wait_applied` found: every live instance runs the revision."""

    revision: int
    duration_ms: float


class LiveRouter:
    """A live client of one database.

    Use it as ``with LiveRouter(database_url=…) as live`` or ``async with …``. Entering starts two daemon threads and
    returns once the first config is live, or is known not to be (no settings, no database): then the state says why,
    and the client goes on trying. It may be shared by threads and event loops, and survives `os.fork`: the child's
    first call starts threads and connections of its own.

    Args:
        database_url: ``postgresql://user:password@host:port/name``, or a function (async, too) that returns it and is
            asked again at every connect, for passwords that expire. Default LIVEROUTER_DATABASE_URL, the file of
            LIVEROUTER_DATABASE_URL_FILE, or DATABASE_URL.
        observers: called with every event, one at a time, from whichever thread; one that raises is logged and hurts
            nothing, one that waits for another event waits in vain.
        options: the other options of the reference by their lower-case names, ``poll_interval_s=5``; an argument
            wins over its LIVEROUTER_… variable.

    Raises:
        OptionsError: an option cannot be used.
        SecretError: the keyring cannot be read.
    """

    @leaves_bare
    def __init__(
        self, *, database_url: str | UrlFunction | None = None, observers: tuple[Observer, ...] = (), **options: Any
    ) -> None:
        """Check the options; nothing is opened or started."""
        self.options: Options = process_options.load(database_url=database_url, **options)
        self._keyring, self._observers = self.options.keyring, observers
        self._subscribed: dict[int, Observer] = {}  # by id(); a forked child subscribes them to its own bus
        self._asked: list[str] = []  # named models, in the order in which they were asked for
        self._closed = False
        self._abandoned: list[Any] = []  # what a fork's parent owns; kept, so that no destructor closes its sockets
        self._renew()
        _clients.add(self)

    def _renew(self) -> None:
        """Make what belongs to one process: id, store, status, bus, counts. Again in a forked child."""
        self.client_id = str(uuid.uuid4())
        self.store, self._status = Store(), StatusTracker()
        self._readiness = Readiness(self._status)
        self._running: _Running | None = None
        self._goodbye: list[concurrent.futures.Future[None]] = []  # the one, once it is under way
        self._lock = threading.RLock()
        own = (self._status.observe, self._readiness.observe)
        self._bus = logging_bus(*own, *self._observers, *self._subscribed.values())
        self.usage = UsageCounter(bus=self._bus)
        for name in self._asked:
            self._bus.emit(ModelAsked(name, self.options.app))

    # -- what consumers use --------------------------------------------------------------------------------------

    def chat_model(self, name: str = DEFAULT_NAME) -> LiveChatModel:
        """Return a chat model that always serves with this client's current generation, as the row ``llm:NAME`` says.

        While no row configures *name*, it serves as the default does.

        Raises:
            ModelNameError: no row can configure a model of that name.
        """
        if name == DEFAULT_NAME:
            return LiveChatModel(source=self)
        if not is_model_name(name):
            raise ModelNameError(name)
        self._note_asked(name)
        return LiveChatModel(source=NamedSource(self, name))

    def _note_asked(self, name: str) -> None:
        """Tell, the first time, that the application asks for the model *name*."""
        with self._lock:
            if name in self._asked or len(self._asked) >= _MOST_ASKED:
                return
            self._asked.append(name)
        self._bus.emit(ModelAsked(name, self.options.app))

    @property
    def current(self) -> Generation | None:
        """Return the generation in force, None while there is none; never waits."""
        return self.store.current

    def generation(self) -> Generation:
        """Return the generation in force; blocks as `wait_ready` does, only while there is none.

        Raises:
            NotReadyError: none came in time, or none will; lists every Problem.
            ClosedError: the client was closed.
        """
        return self.store.current or self.wait_ready()

    async def async_generation(self) -> Generation:
        """Return the generation in force as `generation` does, without blocking the caller's loop."""
        if (generation := self.store.current) is not None:
            return generation
        await asyncio.to_thread(self.start)  # which waits for threads
        waited_s = await self._readiness.async_wait(self._is_ready_or_refused, self.options.ready_timeout_s)
        return self._first_generation(waited_s)

    def router(self) -> Any:
        """Return the current `litellm.Router`, None while `litellm_enable` is off; blocks as `generation` does."""
        return self.generation().router

    def status(self) -> Status:
        """Return where this client stands; never blocks."""
        return self._status.current

    def wait_ready(self, timeout_s: float | None = None) -> Generation:
        """Return the first generation; blocks until there is one, or the time is over.

        By default that are the seconds of the option `ready_timeout_s`, of which those do not count in which this
        process itself imports, builds and warms up; as many minutes end it all the same. *timeout_s* seconds, where
        they are given, are all that it waits.

        Raises:
            NotReadyError: none came in time, or, at once, the settings are read and rejected; lists every Problem.
            ClosedError: the client was closed.
        """
        self.start()
        limit_s, strict = (timeout_s, True) if timeout_s is not None else (self.options.ready_timeout_s, False)
        waited_s = self._readiness.wait(self._is_ready_or_refused, limit_s, strict=strict)
        return self._first_generation(waited_s)

    def wait_applied(self, revision: int, timeout_s: float = 5.0) -> Rollout:
        """Block until every live instance, this one included, applied *revision* or a newer one.

        It waits *timeout_s* seconds at most. In async code call it through `asyncio.to_thread`.

        Raises:
            RolloutError: an instance rejected it (LR403, at once), or the time ran out (LR404, names who is missing).
            DatabaseError: the database cannot be asked.
        """
        started, running = time.monotonic(), self.start()
        waited_s = self._readiness.wait(_is_decided, timeout_s, strict=True)  # nobody else waits for one that starts
        if not _is_decided(self._status.current):
            raise self._readiness.late(revision, timeout_s)
        running.loop.call(running.engine.wait_applied, revision, max(0.0, timeout_s - waited_s))
        return Rollout(revision, (time.monotonic() - started) * 1000)

    def reload(self) -> None:
        """Ask for a read of the settings, soon, and for another try of a rejected revision; returns at once."""
        self.start().engine.requests.request("asked by the application", forced=True)

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call *observer* with every event from now on, in forked children too; the returned function ends that."""
        self._subscribed[id(observer)] = observer
        self._bus.subscribe(observer)

        def end() -> None:
            self._subscribed.pop(id(observer), None)
            self._bus.unsubscribe(observer)

        return end

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def io(self) -> LoopThread:
        """Return the loop that every provider call runs on; starts the client if need be."""
        return (self._running or self.start()).io

    def start(self) -> _Running:
        """Start the background threads if they do not run; returns at once.

        Raises:
            ClosedError: the client was closed.
        """
        if (running := self._running) is not None:
            return running
        with self._lock:
            if self._closed:
                raise ClosedError
            if (running := self._running) is not None:
                return running
            with contextlib.ExitStack() as undo:
                io = LoopThread("liverouter-io")
                undo.callback(io.stop, _CLOSE_S)
                engine = Engine(
                    client_id=self.client_id,
                    options=self.options,
                    keyring=self._keyring,
                    store=self.store,
                    bus=self._bus,
                    usage=self.usage,
                    status=self._status,
                    io=io,
                )
                self._running = running = _Running(engine, LoopThread("liverouter-engine"), io)
                undo.pop_all()
            before_the_end(_close_all)
        self._bus.subscribe(engine.reporter.observe)  # outside of the lock: an observer may call this client
        self._bus.emit(ClientStarted(self.client_id, self.options.app, self.options.database_name))
        running.loop.submit(engine.run)
        return running

    def close(self) -> None:
        """End everything that was started: threads, tasks, connections. Cancels calls in flight; safe to repeat."""
        with self._lock:
            if self._closed:
                return
            if (running := self._running) is not None:
                self._goodbye.append(running.loop.submit(running.engine.close))
            self._running, self._closed = None, True
        with contextlib.ExitStack() as steps:  # runs them from the last to the first, though one raises
            steps.callback(_clients.discard, self)
            steps.callback(self._bus.emit, ClientClosed(self.client_id))
            if running is not None:
                steps.callback(self.store.clear)
                steps.callback(running.io.stop, _CLOSE_S)
                steps.callback(running.loop.stop, _CLOSE_S)
                with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):  # the database may be gone
                    self._goodbye[0].result(_CLOSE_S)

    def __enter__(self) -> Self:
        """Start, and wait until the first config is live or known not to be."""
        self.start()
        self._readiness.wait(_is_decided, self.options.ready_timeout_s)
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Start, and wait, without blocking the loop, until the first config is live or known not to be."""
        await asyncio.to_thread(self.start)
        await self._readiness.async_wait(_is_decided, self.options.ready_timeout_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close, without blocking the loop."""
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        """Say where it stands, without a secret."""
        status = self._status.current
        return f"<LiveRouter {self.options.database_name} {status.state} revision={status.revision}>"

    # -- inside --------------------------------------------------------------------------------------------------

    def _is_ready_or_refused(self, status: Status) -> bool:
        """Tell whether there is nothing to wait for: a generation is in force, or none will be."""
        return self.store.current is not None or status.refused or status.state is State.OFFLINE

    def _first_generation(self, waited_s: float) -> Generation:
        """Return the generation in force at the end of a wait of *waited_s* seconds.

        Raises:
            NotReadyError: there is none.
            ClosedError: there is none, and the client was closed.
        """
        if (generation := self.store.current) is not None:
            return generation
        if self._closed:
            raise ClosedError
        raise self._readiness.not_ready(waited_s)

    def _after_fork(self) -> None:
        """In a forked child: put the parent's parts aside without closing them; the next call starts new ones."""
        self._abandoned.append((self._running, self.store, self._bus))
        self._renew()


def _is_decided(status: Status) -> bool:
    """Tell whether a first generation, rejection or failed read has happened, or the client was closed."""
    return status.generation is not None or status.last_error is not None or status.state is State.OFFLINE


_clients: weakref.WeakSet[LiveRouter] = weakref.WeakSet()  # of this process


def _close_all() -> None:
    """Close every client that runs, and wait for who does so already: this process is about to end."""
    for client in list(_clients):
        if client._running is not None:  # noqa: SLF001 - same module
            client.close()
        concurrent.futures.wait(client._goodbye, _CLOSE_S)  # noqa: SLF001 - same module


def _after_fork() -> None:
    for client in list(_clients):
        client._after_fork()  # noqa: SLF001 - same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

"""A stand-in provider: a real HTTP server on 127.0.0.1 in one provider's wire format, scripted and recorded."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING, Any, Self

from liverouter.testing.dialects.providers import make_provider
from liverouter.testing.rows import rows_of, secrets_of
from liverouter.testing.standin.answers import default_reply
from liverouter.testing.standin.connection import Connection
from liverouter.testing.standin.failures import Failure, Fault
from liverouter.testing.standin.port import Port
from liverouter.testing.standin.recorder import RecordedRequest, Recorder, Violation
from liverouter.testing.standin.responder import Responder
from liverouter.testing.standin.script import Answerer, Gate, Script
from liverouter.testing.standin.wire import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from types import TracebackType

_START_S = 60.0  # far more than a thread needs to start or an idle server to stop, however busy the machine is


class StandIn:
    """One provider on a loopback port, in a daemon thread of its own.

    `with StandIn("anthropic") as s:` or `async with`. Every method may be called from any thread; those that wait have
    an `_async` twin for use inside an event loop. Answers name the model that gave them:
    `"<model> says: <last user text>"`.
    """

    def __init__(
        self,
        provider: str,
        *,
        port: int = 0,
        accept_keys: Collection[str] | None = None,
        answer: Answerer = default_reply,
        keep: int | None = None,
    ) -> None:
        """Prepare a stand-in.

        Args:
            provider: a value of the setting `llm_provider`.
            port: on 127.0.0.1; 0 takes a free one.
            accept_keys: the credentials that are accepted; None accepts any but an empty one.
            answer: makes every reply that is not queued; called on the server's thread.
            keep: how many requests are remembered; None remembers all.

        Raises:
            ValueError: there is no stand-in for *provider*.
        """
        self._provider = make_provider(provider)
        self.provider = self._provider.name
        self._wanted_port = port
        self._key = next(iter(accept_keys), None) if accept_keys else None
        self._recorder = Recorder(keep)
        self._script = Script(answer)
        self._responder = Responder(
            provider=self._provider, script=self._script, recorder=self._recorder, accept_keys=accept_keys
        )
        self._connections: set[Connection] = set()
        self._numbers = itertools.count(1)
        self._port: Port | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        """Name the provider and the address."""
        return f"<StandIn {self.provider} {self.base_url if self._port else 'not started'}>"

    # lifecycle

    def start(self) -> Self:
        """Serve. Blocks for some milliseconds.

        Raises:
            OSError: the port is taken.
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError(f"{self!r} was started before; make a new one")
        self._port = Port(self._wanted_port)
        self._loop = asyncio.SelectorEventLoop()  # as `port.close_server` needs
        self._thread = threading.Thread(
            target=self._run, args=(self._loop,), name=f"standin-{self.provider}", daemon=True
        )
        self._thread.start()
        self._on_loop(self._listen)
        return self

    def stop(self) -> None:
        """End every connection, the thread and its sockets. Idempotent; blocks for some milliseconds."""
        if self._loop is None or self._loop.is_closed() or self._thread is None:
            return
        self._on_loop(self._shut)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start without blocking the event loop."""
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop without blocking the event loop."""
        await asyncio.to_thread(self.stop)

    # address

    @property
    def port(self) -> int:
        """The port served."""
        return self._own_port.number

    @property
    def base_url(self) -> str:
        """The origin, such as `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_base(self) -> str:
        """The base URL to configure clients with: the origin and, for some providers, a path such as `/v1`."""
        return self.base_url + self._provider.api_path

    # config

    def rows(self, model: str | None = None) -> dict[str, Any]:
        """Return the settings that send its provider's calls here; with a *model*, it is the primary."""
        return rows_of(self.provider, self.api_base, model)

    def secrets(self) -> dict[str, str]:
        """Return a secret that it accepts, by the name under which its provider's is stored: one of *accept_keys*.

        Where any is accepted, it is one that the stand-ins of other providers are not given.
        """
        return secrets_of(self.provider, self.base_url, self._key)

    # script

    def fail(
        self,
        kind: Failure | str,
        *,
        times: int | None = None,
        after_chunks: int | None = None,
        retry_after_s: float | None = None,
        chunk_delay_s: float = 0.05,
    ) -> None:
        """Fail every chat request until `heal`, or the next *times* of them.

        Queued failures come before the standing one, of which there is one at most: the last. *after_chunks* lets a
        stream carry that many content chunks first (None: 1 for "eof", else 0); an HTTP error then comes as an error
        event. "refused" and "blackhole" hold for the whole port at once, close idle connections, and cannot be counted.

        Raises:
            ValueError: no such failure, or a combination that cannot happen.
        """
        kind = Failure(kind)
        if after_chunks is None:
            after_chunks = 1 if kind is Failure.EOF else 0
        fault = Fault(kind, after_chunks=after_chunks, retry_after_s=retry_after_s, chunk_delay_s=chunk_delay_s)
        if kind.is_unreachable and times is not None:
            raise ValueError(f"failure {kind.value!r} lasts until heal(): leave times out")
        self._script.fail(fault, times)
        if times is None:
            self._on_loop({Failure.REFUSED: self._refuse, Failure.BLACKHOLE: self._swallow}.get(kind, self._listen))

    def heal(self) -> None:
        """Drop every failure, queued or standing, and listen."""
        self._script.heal()
        self._on_loop(self._listen)

    def respond(self, *replies: Reply | str | Answerer) -> None:
        """Queue replies for the next chat requests: texts, `Reply`s, or functions that make one."""
        self._script.respond(tuple(Reply(text=reply) if isinstance(reply, str) else reply for reply in replies))

    def hold(self, *, after_chunks: int = 0) -> Gate:
        """Return a closed gate that every chat request from now on waits at.

        It stands before the answer, or in streams after *after_chunks* content chunks.
        """
        loop = self._running()
        gate = Gate(after_chunks=after_chunks, loop=loop, recorder=self._recorder, script=self._script)
        self._script.hold(gate)
        return gate

    def delay(self, delay_s: float = 0.0, *, chunk_delay_s: float = 0.0) -> None:
        """Answer *delay_s* seconds late from now on, and every stream chunk *chunk_delay_s* later."""
        self._script.delay_s, self._script.chunk_delay_s = delay_s, chunk_delay_s

    # records

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """Every request, oldest first."""
        return self._recorder.requests

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Every request the provider would not have taken, scripted failures not among them."""
        return self._recorder.violations

    @property
    def hits(self) -> int:
        """Model calls that arrived, also those to unknown paths; token grants and model lists do not count."""
        return self._recorder.hits

    @property
    def accepted(self) -> int:
        """TCP connections accepted."""
        return self._recorder.accepted

    @property
    def open_connections(self) -> int:
        """TCP connections open now."""
        return self._recorder.open_connections

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return self._recorder.in_flight

    @property
    def disconnects(self) -> int:
        """Clients that left before their answer ended."""
        return self._recorder.disconnects

    def forget(self) -> None:
        """Drop the records; the script stays."""
        self._recorder.forget()

    def wait_until(self, done: Callable[[StandIn], bool], timeout_s: float) -> None:
        """Block until *done* is true of this stand-in; it is asked after every request, connection and disconnect.

        Raises:
            TimeoutError: it was not after *timeout_s* seconds.
        """
        if not self._recorder.wait(lambda: done(self), timeout_s):
            raise TimeoutError(
                f"{self!r} did not get there in {timeout_s} s: hits {self.hits}, in flight {self.in_flight}, "
                f"open connections {self.open_connections}, disconnects {self.disconnects}"
            )

    async def wait_until_async(self, done: Callable[[StandIn], bool], timeout_s: float) -> None:
        """Do as `wait_until` does without blocking the event loop."""
        await asyncio.to_thread(self.wait_until, done, timeout_s)

    def wait_hits(self, count: int, timeout_s: float) -> None:
        """Block until *count* model calls have arrived; TimeoutError after *timeout_s* seconds."""
        self.wait_until(lambda standin: standin.hits >= count, timeout_s)

    async def wait_hits_async(self, count: int, timeout_s: float) -> None:
        """Do as `wait_hits` does without blocking the event loop."""
        await asyncio.to_thread(self.wait_hits, count, timeout_s)

    def wait_disconnects(self, count: int, timeout_s: float) -> None:
        """Block until *count* clients have left early; TimeoutError after *timeout_s* seconds."""
        self.wait_until(lambda standin: standin.disconnects >= count, timeout_s)

    async def wait_disconnects_async(self, count: int, timeout_s: float) -> None:
        """Do as `wait_disconnects` does without blocking the event loop."""
        await asyncio.to_thread(self.wait_disconnects, count, timeout_s)

    # the server's thread

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    @property
    def _own_port(self) -> Port:
        if self._port is None:
            raise RuntimeError("the stand-in was not started: use it as a context manager")
        return self._port

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._loop.is_closed():
            raise RuntimeError(f"{self!r} is not running: use it as a context manager")
        return self._loop

    def _on_loop(self, step: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run *step* on the server's loop and wait for its end; raises what it raises."""
        loop = self._running()
        asyncio.run_coroutine_threadsafe(step(), loop).result(_START_S)

    async def _listen(self) -> None:
        await self._own_port.listen(self._accept)

    def _accept(self) -> Connection:
        return Connection(
            number=next(self._numbers), handler=self._responder, recorder=self._recorder, peers=self._connections
        )

    async def _refuse(self) -> None:
        await self._own_port.refuse()
        await self._of_each(Connection.leave_if_idle)

    async def _swallow(self) -> None:
        await self._own_port.swallow()
        await self._of_each(Connection.leave_if_idle)

    async def _shut(self) -> None:
        await self._own_port.close()
        await self._of_each(Connection.abort)

    async def _of_each(self, step: Callable[[Connection], Coroutine[None, None, None]]) -> None:
        """Run *step* of every connection, those included that were accepted just before the port was closed."""
        await asyncio.gather(*(step(connection) for connection in tuple(self._connections)))

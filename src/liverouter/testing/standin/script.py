"""What a stand-in will do next: faults, replies, gates, delays. Written by tests, read by the server. Thread-safe."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

from liverouter.testing.standin.wire import Ask, Reply

if TYPE_CHECKING:
    from types import TracebackType

    from liverouter.testing.standin.failures import Fault
    from liverouter.testing.standin.recorder import Recorder

Answerer: TypeAlias = Callable[[Ask], Reply]
"""Makes the reply to a request. Called on the server's thread: must not block."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one request: its failure, the gate it is held at, and the delays in seconds."""

    fault: Fault | None
    gate: Gate | None
    delay_s: float
    chunk_delay_s: float


class Script:
    """The queue of faults and replies, and the standing ones behind it."""

    def __init__(self, answer: Answerer) -> None:
        """Start healthy: every reply comes from *answer*."""
        self._lock = threading.Lock()
        self._answer = answer
        self._standing: Fault | None = None
        self._faults: deque[Fault] = deque()
        self._replies: deque[Reply | Answerer] = deque()
        self._gate: Gate | None = None
        self.delay_s = 0.0
        self.chunk_delay_s = 0.0

    def fail(self, fault: Fault, times: int | None) -> None:
        """Queue *fault* for *times* requests; None makes it the standing one instead."""
        with self._lock:
            if times is None:
                self._standing = fault
            else:
                self._faults.extend([fault] * times)

    def heal(self) -> None:
        """Drop every fault."""
        with self._lock:
            self._standing = None
            self._faults.clear()

    def respond(self, replies: tuple[Reply | Answerer, ...]) -> None:
        """Queue replies, one per request."""
        with self._lock:
            self._replies.extend(replies)

    def hold(self, gate: Gate) -> None:
        """Hold every request from now on at *gate*, and at no other."""
        with self._lock:
            self._gate = gate

    def release(self, gate: Gate) -> None:
        """Hold no request at *gate* any more."""
        with self._lock:
            if self._gate is gate:
                self._gate = None

    def plan(self) -> Plan:
        """Take the next request's fault and what else is in force."""
        with self._lock:
            fault = self._faults.popleft() if self._faults else self._standing
            return Plan(fault, self._gate, self.delay_s, self.chunk_delay_s)

    def reply(self, ask: Ask) -> Reply:
        """Take the next reply."""
        with self._lock:
            made = self._replies.popleft() if self._replies else self._answer
        return made if isinstance(made, Reply) else made(ask)


class Gate:
    """Holds requests until it is opened. As a context manager it opens on leaving."""

    def __init__(
        self, *, after_chunks: int, loop: asyncio.AbstractEventLoop, recorder: Recorder, script: Script
    ) -> None:
        """Use `StandIn.hold` instead."""
        self.after_chunks = after_chunks
        self._loop = loop
        self._recorder = recorder
        self._script = script
        self._event = asyncio.Event()
        self._held = 0

    def __enter__(self) -> Self:
        """Return the gate, closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Open the gate."""
        self.open()

    def open(self) -> None:
        """Let all held requests go on and hold no more. Does not block."""
        self._script.release(self)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    def wait_held(self, count: int, timeout_s: float) -> None:
        """Block until *count* requests stand at the gate.

        Raises:
            TimeoutError: fewer stood there after *timeout_s* seconds.
        """
        if not self._recorder.wait(lambda: self._held >= count, timeout_s):
            raise TimeoutError(f"{self._held} of {count} requests stood at the gate after {timeout_s} s")

    async def wait_held_async(self, count: int, timeout_s: float) -> None:
        """Do as `wait_held` does without blocking the event loop."""
        await asyncio.to_thread(self.wait_held, count, timeout_s)

    async def enter(self) -> None:
        """Stand at the gate until it opens. Runs on the server's loop."""
        self._held += 1
        self._recorder.count(held=1)
        try:
            await self._event.wait()
        finally:
            self._held -= 1
            self._recorder.count(held=-1)

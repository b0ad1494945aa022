"""Server-sent events: what happens, told to every open page. One bounded queue per stream; _END in it ends the stream.

Knows nothing of what the events are about.
"""

from __future__ import annotations

import asyncio
import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MAX_STREAMS: Final = 64  # fewer than the connections of one address, so that its probes and requests still get through
_MAX_WAITING: Final = 256  # events that a slow reader may lag behind
_PING_S: Final = 15.0  # of silence, after which a ping is sent: proxies give a silent connection up
_RETRY_MS: Final = 2000
_END: Final = b""
_PING: Final = b"event: ping\ndata: null\n\n"  # an event: of a comment a page would not know that it came


def encode(kind: str, data: Any) -> bytes:
    """Return one event as it goes over the wire; numbers that are not finite, which JSON lacks, go as null."""
    try:
        text = _dumps(data)
    except ValueError:
        text = _dumps(_without_infinities(data))
    return f"event: {kind}\ndata: {text}\n\n".encode()


def _dumps(data: Any) -> str:
    """Return *data* as one line of JSON.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(data, separators=(",", ":"), default=_as_json, allow_nan=False)


def _without_infinities(data: Any) -> Any:
    """Return *data* with None for each number that is not finite."""
    match data:
        case dict():
            return {key: _without_infinities(value) for key, value in data.items()}
        case list() | tuple():
            return [_without_infinities(value) for value in data]
        case float():
            return data if math.isfinite(data) else None
        case _:
            return data


def _as_json(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Hub:
    """Hands each event to every stream. For one event loop.

    A reader that lags _MAX_WAITING events behind is disconnected: it connects again and is told everything anew.

    Attributes:
        wanted: set while a stream is open.
    """

    def __init__(self) -> None:
        """Start without a stream."""
        self._queues: set[asyncio.Queue[bytes]] = set()
        self._closed = False
        self.wanted = asyncio.Event()

    @property
    def streams(self) -> int:
        """Return how many streams are open."""
        return len(self._queues)

    def publish(self, kind: str, data: Any) -> None:
        """Give the event *kind* to every stream; never blocks."""
        if not self._queues:
            return
        message = encode(kind, data)
        for queue in self._queues:
            if queue.qsize() < _MAX_WAITING:
                queue.put_nowait(message)
            elif queue.qsize() == _MAX_WAITING:
                queue.put_nowait(_END)

    async def stream(
        self, first: Callable[[], Awaitable[bytes]], *, may_hear: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[bytes]:
        """Yield the pause before a reconnect, what *first* returns, then every event, and a ping in each silence.

        The stream is open, and counted, from its first item on, for which it waits for nothing. *first* is called after
        that, so that what changes meanwhile follows it. *may_hear* is asked before each event and each ping. The
        stream ends once that says no, when the reader lags, and at `close`.
        """
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues.add(queue)
        self.wanted.set()
        if self._closed:
            queue.put_nowait(_END)
        try:
            yield f"retry: {_RETRY_MS}\n\n".encode()
            yield await first()
            while True:
                try:
                    async with asyncio.timeout(_PING_S):
                        message = await queue.get()
                except TimeoutError:
                    message = _PING
                if message == _END or not may_hear():
                    return
                yield message
        finally:
            self._queues.discard(queue)
            if not self._queues:
                self.wanted.clear()

    def close(self) -> None:
        """End every stream, also one that begins later: an open one would delay the server's graceful stop."""
        self._closed = True
        for queue in self._queues:
            queue.put_nowait(_END)

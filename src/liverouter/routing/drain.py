"""Streams of events read to their last byte, so that their connection serves the next call."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TAIL: Final = 64  # bytes; more than the end of a stream of events takes
_DRAIN_S: Final = 0.5  # what is still to come after [DONE] is on its way already


async def read_to_its_end(response: httpx.Response) -> None:
    """Have *response*, if it is a stream of events, read to its end by whoever closes it after ``[DONE]``.

    OpenAI's client closes there. Where the end of the body comes in a packet of its own, as most servers send it, that
    costs the connection, and the next call a new one.
    """
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _EventStream(response.stream)


class _EventStream(httpx.AsyncByteStream):
    """A stream that knows whether its last event has come."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream, self._chunks, self._tail = stream, aiter(stream), b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self._tail = (self._tail + chunk)[-_TAIL:]
            yield chunk

    async def aclose(self) -> None:
        """Read what is left after ``[DONE]``, for half a second at most, and close the stream."""
        if b"[DONE]" in self._tail:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    async for _ in self._chunks:
                        pass
        await self._stream.aclose()

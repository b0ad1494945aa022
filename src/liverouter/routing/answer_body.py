"""The body of a provider's answer: unpacked within bounds, and a stream in whole events.

Used by `guard`, for responses of httpx and of httpx2, whichever the provider's library brings.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import re
import time
import zlib
from typing import TYPE_CHECKING, Any, Final

from liverouter.routing.said import error_in_events, refusal_in
from liverouter.routing.unreached import lost_by

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from liverouter.routing.clock import Clock
    from liverouter.routing.said import Said

_MAX_EVENT: Final = 32 * 2**20  # bytes of one event of a stream
_MAX_COPIED: Final = 2**30  # bytes that a decoder copies for one event, which are its lines times its size
_MAX_PARTS: Final = 200_000  # objects and lists of one answer or event, each of which costs a parser a thousand bytes
_MAX_MARKS: Final = 1_500_000  # commas and colons of one, each of which may be a value or a name
_TAIL: Final = 64  # bytes; more than the end of a last event takes
_PIECE: Final = 2**16  # bytes that are unpacked at once
_PIECES_AT_ONCE: Final = 16  # before others have their turn on the event loop
_TOO_MANY_LINES: Final = "an event of the stream has too many lines"
_PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_EVENT: Final = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)
_LINE: Final = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r|\Z)")
_REASONING: Final = b'"reasoning'  # how members begin in which gateways show what a model thinks
_THINKS: Final = re.compile(rb'"reasoning[a-z_]{0,20}": ?(?:"[^"]|[\[{] ?["{])')  # and in which they show any
_LAST_EVENT: Final = re.compile(rb'(?:"type": ?"message_stop"\s*\}|\[DONE\])\s*\Z')  # of Anthropic's, and of OpenAI's
_END_S: Final = 0.5  # what is still to come after it is on its way already
_SDK: Final = "x-stainless-lang"  # a header of the libraries whose decoders copy
_LINES_AT_ONCE, _UNITS_AT_ONCE = 64, 32  # of a stream, handed on as one part
_WORK_S: Final = 0.01  # of work of this thread, before others have their turn between two parts
# What splits a line for httpx, but neither in JSON nor in an event: as JSON writes it, or a blank.
_BREAKS: Final = {"\u2028".encode(): rb"\u2028", "\u2029".encode(): rb"\u2029", "\u0085".encode(): rb"\u0085"}
_BLANKS: Final = bytes.maketrans(b"\x0b\x0c\x1c\x1d\x1e", b"     ")


class BodyError(Exception):
    """The body of an answer cannot be read; its text says why."""


def refuse_parts(content: bytes) -> None:
    """Raise BodyError where *content*, an answer or an event, has more parts than a parser should be given."""
    if content.count(b"{") + content.count(b"[") > _MAX_PARTS or content.count(b",") + content.count(b":") > _MAX_MARKS:
        raise BodyError("the answer has too many parts")


async def body_pieces(response: Any, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the body, unpacked, up to *limit* bytes of it; then the connection is let go.

    Raises:
        BodyError: there is more, or it is packed in a way that cannot be unpacked.
    """
    raw, total, count = aiter(response.stream), 0, 0
    try:
        unpack = _unpacker(response.headers.get("content-encoding", ""))
        async for data in raw:
            for piece in unpack(data):
                count += 1
                if count % _PIECES_AT_ONCE == 0:
                    await asyncio.sleep(0)  # deadlines hold while a body unpacks
                if total + len(piece) > limit:
                    yield piece[: limit - total]
                    raise BodyError(f"the answer is larger than {limit // 2**20} MiB")
                total += len(piece)
                yield piece
    finally:
        if (close := getattr(raw, "aclose", None)) is not None:
            await close()
        await response.stream.aclose()


def _unpacker(encoding: str) -> Callable[[bytes], Iterator[bytes]]:
    """Return what unpacks a body of this Content-Encoding, in pieces of a bounded size."""
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
    if not names:
        return lambda data: iter((data,))
    if len(names) > 1 or names[0] not in _PACKED:
        raise BodyError(f"the answer is packed as {encoding[:100]!r}, which was not asked for")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip's head or zlib's

    def unpack(data: bytes) -> Iterator[bytes]:
        try:
            while data and not inflate.eof:
                if piece := inflate.decompress(data, _PIECE):
                    yield piece
                data = inflate.unconsumed_tail
            if data or inflate.unused_data:
                raise BodyError("the answer goes on after its packed end")
        except zlib.error as exc:
            raise BodyError(f"the answer is not packed as it says: {exc}") from None

    return unpack


def read_timeout_s(request: Any) -> float | None:
    """Return the seconds that one read of the answer to *request* may take, None where it has no bound."""
    seconds = (request.extensions.get("timeout") or {}).get("read")
    return float(seconds) if isinstance(seconds, int | float) else None


class _Events:
    """The body of a stream: whole events, or whole lines for libraries that read those.

    It serves both libraries of HTTP; `stream_class` adds the one whose stream it is.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None], response: Any, request: Any, clock: Clock | None) -> None:
        """Hand on *pieces*, the unpacked body of *response* to *request*; *clock* is the call's, if it has one."""
        self._pieces, self._source, self._clock = pieces, response.stream, clock
        self._errors = importlib.import_module(type(response).__module__.partition(".")[0])  # httpx or httpx2
        self._by_event, self._url = _SDK in request.headers, str(request.url)
        self._timeout_s = read_timeout_s(request)
        self._is_over = False  # but for the end of the body
        self._said: Said | None = None  # the error that it ended in
        self._gave_way = time.thread_time()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield what is complete.

        Raises:
            ReadError: the body cannot be read, an event is out of all proportion, or the last one was an error.
            ReadTimeout: one event took longer than a read may.
        """
        held: list[bytes] = []
        size, lines, since, tail = 0, 1, 0.0, b""
        try:
            async for piece in self._pieces:
                end = self._end(tail, piece)
                if not end:
                    since = since or time.monotonic()
                    held.append(piece)
                    size, lines = size + len(piece), lines + piece.count(b"\n") + piece.count(b"\r")
                    tail = (tail + piece)[-3:]
                    self._refuse_slow(since)
                    self._refuse_large(size, lines)
                    continue
                whole, left = b"".join((*held, piece[:end])) if held else piece[:end], piece[end:]
                held, size, tail = [left] if left else [], len(left), left[-3:]
                lines = 1 + left.count(b"\n") + left.count(b"\r")
                if self._clock is not None and _REASONING in whole and _THINKS.search(whole):
                    self._clock.heard()  # langchain-openai drops it, and would show an empty piece
                self._is_over = _LAST_EVENT.search(whole, len(whole) - _TAIL) is not None
                for part in self._parts(whole):
                    yield part
                    await self._give_way()
                self._refuse_error()
                since = time.monotonic() if held else 0.0  # not before: the reader took its time
            if held:
                for part in self._parts(b"".join(held)):
                    yield part
                self._refuse_error()
        except BodyError as exc:
            raise self._errors.ReadError(str(exc)) from None
        except Exception as exc:
            self._lose(exc)
            raise
        finally:
            await self._let_go()

    async def aclose(self) -> None:
        """Let go of the connection, whether or not anybody has read."""
        await self._let_go()
        await self._source.aclose()  # *pieces* closes it only once it has begun

    async def _give_way(self) -> None:
        """Let others have their turn after `_WORK_S`: deadlines hold while events without content are taken apart."""
        if time.thread_time() - self._gave_way > _WORK_S:
            await asyncio.sleep(0)
            self._gave_way = time.thread_time()

    async def _let_go(self) -> None:
        """Close the body; after its last event read what is left of it before, for half a second at most.

        Libraries stop at the last event. Where the end of the body comes in a packet of its own, as most servers send
        it, that costs the connection, and the next call a new one.
        """
        if self._is_over:
            self._is_over = False
            with contextlib.suppress(Exception):  # whatever is wrong now, the answer is whole
                async with asyncio.timeout(_END_S):
                    async for _ in self._pieces:
                        pass
        await self._pieces.aclose()

    def _end(self, tail: bytes, piece: bytes) -> int:
        """Return how much of *piece* belongs to what is complete; *tail* came before it and is not."""
        if not self._by_event:
            return max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
        if piece.endswith(b"\n\n"):
            return len(piece)
        window = tail + piece
        end = max(window.rfind(end) + len(end) if end in window else 0 for end in (b"\n\n", b"\r\n\r\n", b"\r\r"))
        return max(0, end - len(tail))

    def _refuse_error(self) -> None:
        """Raise BodyError where what was handed on last has an error in it, which not every library heeds."""
        if self._said is not None:
            raise BodyError(f"the stream ended in an error: {self._said.message}")

    def _lose(self, error: Exception) -> None:
        """Note that the connection ended in *error*."""
        if self._clock is not None:
            self._clock.lost = lost_by(error, self._url, answered=True)

    def _refuse_large(self, size: int, lines: int) -> None:
        """Raise BodyError where an event of *size* bytes in *lines* lines is out of all proportion."""
        if size > _MAX_EVENT:
            raise BodyError(f"an event of the stream is larger than {_MAX_EVENT // 2**20} MiB")
        if self._by_event and lines * size > _MAX_COPIED:
            raise BodyError(_TOO_MANY_LINES)

    def _refuse_slow(self, since: float) -> None:
        """Raise ReadTimeout where the event that began at *since*, monotonic seconds, takes longer than a read may."""
        if self._timeout_s is not None and time.monotonic() - since > self._timeout_s:
            raise self._errors.ReadTimeout(f"an event of the stream took longer than {self._timeout_s:g} s")

    def _parts(self, whole: bytes) -> list[bytes]:
        """Return *whole* in parts of a few events each; refuse one that a decoder would copy for minutes."""
        refuse_parts(whole)
        if (said := error_in_events(whole)) is not None:
            self._said = said
            if self._clock is not None:
                self._clock.said = said
        if self._clock is not None and (declined := refusal_in(whole)) is not None:
            self._clock.declined = (self._clock.declined or "") + declined
        if not self._by_event:
            whole = whole.translate(_BLANKS)
            for line_break, escaped in _BREAKS.items():
                whole = whole.replace(line_break, escaped)
        if whole.count(b"\n") + whole.count(b"\r") <= _LINES_AT_ONCE:
            return [whole]
        unit = _EVENT if self._by_event else _LINE
        units = [found[0] for found in unit.finditer(whole)]
        if self._by_event and any(_copied(event) > _MAX_COPIED for event in units):
            raise BodyError(_TOO_MANY_LINES)
        return [b"".join(units[n : n + _UNITS_AT_ONCE]) for n in range(0, len(units), _UNITS_AT_ONCE)]


def _copied(event: bytes) -> int:
    """Return the bytes that a decoder copies for *event*: all of it for each of its lines."""
    return (event.count(b"\n") + event.count(b"\r") + 1) * len(event)


@functools.cache
def stream_class(response: Any) -> Any:
    """Return the class of streams in whole events, for the library that *response*, a class, belongs to."""
    library = importlib.import_module(response.__module__.partition(".")[0])
    return type("_Events", (_Events, library.AsyncByteStream), {})

"""Between a provider and the libraries that talk to it: what comes back is a stranger's word, and is bounded here.

`guarded` has an HTTP client, httpx's or httpx2's, made by whichever library, admit its answers through this module:

- A redirect is never followed, for key and prompt would go along: it becomes a 404 that says where it led.
- A body counts unpacked, piece by piece: 64 MiB of an answer, 64 kB of an error. What is larger, or packed in a way
  that was not asked for, becomes a 502, or an error of the stream that it is found in.
- A stream is handed on in whole events, because OpenAI's and Anthropic's decoders copy all of an unfinished one for
  every piece that comes.
- No cookie is kept: a client serves many calls.
- What a provider's library adds from variables of the environment stays here: it belongs to another address.
- What is for this machine does not leave it by a proxy, to which no key is bound.

Where a call of the native engine has a `Clock`, it hears here of attempts and streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import os
import re
import time
import urllib.request
import zlib
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from liverouter.clock import clock_of_call
from liverouter.origins import is_loopback, origin_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping

    from liverouter.clock import Clock

C = TypeVar("C")

MAX_ANSWER: Final = 64 * 2**20  # bytes, unpacked
MAX_ERROR: Final = 64_000  # the same, of an answer with an error's status
_MAX_EVENT: Final = 32 * 2**20  # of a stream
_MAX_COPIED: Final = 2**30  # bytes that a decoder copies for one event, which are its lines times its size
_MAX_PARTS: Final = 200_000  # objects and lists of one answer or event, each of which costs a parser a thousand bytes
_MAX_MARKS: Final = 1_500_000  # commas and colons of one, each of which may be a value or a name
_PIECE: Final = 2**16  # bytes that are unpacked at once
_PIECES_AT_ONCE: Final = 16  # before others have their turn on the event loop
_ERROR_S: Final = 5.0  # for the body of an error, whose status says the most; half the timeout where that is less
_FIRST_REDIRECT, _FIRST_ERROR, _SERVER_ERROR = 300, 400, 500
_TOO_MANY_LINES: Final = "an event of the stream has too many lines"
_BY_PROXY: Final = (
    "the base URL is on this machine, but HTTP_PROXY or its kin would have the key go to a proxy: nothing was sent. "
    "Set NO_PROXY=127.0.0.1,localhost"
)
_PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_OURS: Final = (b"set-cookie", b"content-encoding", b"content-length", b"transfer-encoding")
_ABOUT_RETRIES: Final = (b"x-should-retry", b"retry-after-ms")
_LINES_AT_ONCE, _UNITS_AT_ONCE = 64, 32  # of a stream, before others have their turn
_HEADERS_OF_VARIABLES: Final = ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS")  # lines of "name: value"
_NAMED_BY_VARIABLES: Final = {
    "openai-organization": ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION"),
    "openai-project": ("OPENAI_PROJECT_ID",),
    "user-agent": ("LITELLM_USER_AGENT",),
}
# What splits a line for httpx, but neither in JSON nor in an event: as JSON writes it, or a blank.
_BREAKS: Final = {"\u2028".encode(): rb"\u2028", "\u2029".encode(): rb"\u2029", "\u0085".encode(): rb"\u0085"}
_BLANKS: Final = bytes.maketrans(b"\x0b\x0c\x1c\x1d\x1e", b"     ")
_EVENT: Final = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r|\Z)", re.DOTALL)
_LINE: Final = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r|\Z)")
_PLACE: Final = re.compile(r"[a-z]{1,10}://[a-z0-9._:-]{1,255}")
_REASONING: Final = b'"reasoning'  # how members begin in which gateways show what a model thinks
_SDK: Final = "x-stainless-lang"  # a header of the libraries whose decoders copy
# Of the deployment that litellm tries, which may else send what the environment holds: see `ProviderSpec.headers`.
own_headers: Final[ContextVar[Mapping[str, str | None]]] = ContextVar(
    "liverouter_headers", default=MappingProxyType({})
)


def guarded(client: C) -> C:
    """Return *client*, whose transports, those to proxies included, now admit answers as this module does."""
    own: Any = client
    for transport in {id(t): t for t in (own._transport, *own._mounts.values()) if t is not None}.values():  # noqa: SLF001 - httpx has no public way in
        transport.handle_async_request = functools.partial(_admit, transport.handle_async_request)
    return client


class _BodyError(Exception):
    """The body of an answer cannot be read; its text says why."""


async def _admit(send: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
    """Return the answer to *request* as it may pass on."""
    if (clock := clock_of_call()) is not None:
        clock.attempt_began()
    request.headers["accept-encoding"] = "identity"
    _take_off(request.headers)
    if _leaves_by_proxy(str(request.url)):
        library = importlib.import_module(type(request).__module__.partition(".")[0])
        return _refusal(library.Response(404), 404, _BY_PROXY)
    response = await send(request)
    status: int = response.status_code
    if _FIRST_REDIRECT <= status < _FIRST_ERROR:
        await response.stream.aclose()
        return _refusal(response, 404, _redirected(response, request))
    if status >= _FIRST_ERROR:
        content = await _error(response, request)
        if clock is not None and status >= _SERVER_ERROR:
            clock.attempt_failed()
        return _rebuilt(response, status, content)
    if clock is not None:
        clock.answered = True
    try:
        pieces = _pieces(response, MAX_ANSWER)
        if _asks_for_stream(request):
            kind: Any = type(response)
            stream = _stream_class(kind)(pieces, response, request, clock)
            if clock is not None:
                clock.opened.append(stream)
            return kind(status, headers=_headers(response), stream=stream, extensions=response.extensions)
        content = b"".join([piece async for piece in pieces])
        _refuse_parts(content)
        return _rebuilt(response, status, content)
    except _BodyError as exc:
        return _refusal(response, 502, str(exc))


def put_own(headers: Any, own: Mapping[str, str | None]) -> None:
    """Have *headers* of a request hold those of *own*, name -> value, and none of which the value is None."""
    for name, value in own.items():
        if value is None:
            headers.pop(name, None)
        else:
            headers[name] = value


def _take_off(headers: Any) -> None:
    """Take off *headers* what a library put there from the environment, of which no row says where it may go."""
    put_own(headers, own_headers.get())
    for name, variables in _NAMED_BY_VARIABLES.items():
        if name in headers and headers[name] in {os.environ.get(variable) for variable in variables}:
            del headers[name]
    for variable in _HEADERS_OF_VARIABLES:
        for line in os.environ.get(variable, "").split("\n"):
            name, _, value = line.partition(":")
            if headers.get(name.strip()) == value.strip():
                del headers[name.strip()]


def _leaves_by_proxy(url: str) -> bool:
    """Tell whether *url* is this machine's, and yet the environment has a proxy for it."""
    parts = urlsplit(url)
    if not is_loopback(origin_of(url)) or urllib.request.proxy_bypass(parts.hostname or ""):
        return False
    return not urllib.request.getproxies().keys().isdisjoint({parts.scheme, "all"})


def _refuse_parts(content: bytes) -> None:
    if content.count(b"{") + content.count(b"[") > _MAX_PARTS or content.count(b",") + content.count(b":") > _MAX_MARKS:
        raise _BodyError("the answer has too many parts")


def _asks_for_stream(request: Any) -> bool:
    if b":stream" in request.url.raw_path:  # Google's
        return True
    body = request.content
    return b'"stream":true' in body or b'"stream": true' in body  # within a text its quotes would be escaped


def _redirected(response: Any, request: Any) -> str:
    """Return the sentence for a redirect; of its address only the origin, for the rest may be anything."""
    try:
        target = urlsplit(response.headers.get("location", ""))
        place = f"{target.scheme}://{target.hostname}" + (f":{target.port}" if target.port else "")
    except ValueError:
        place = ""
    if not _PLACE.fullmatch(place):
        place = "another path" if place == "://None" else "an address that cannot be read"
    return (
        f"{request.url.scheme}://{request.url.host} answers with a redirect ({response.status_code}) to {place}: "
        "none is followed. Mend the base URL"
    )


def _refusal(response: Any, status: int, text: str) -> Any:
    """Return an error in the place of *response*, in words that every provider's library reads."""
    error = {"message": text, "type": "liverouter", "code": status, "status": "REFUSED"}
    return _rebuilt(response, status, json.dumps({"error": error}).encode(), (b"content-type", b"application/json"))


def _rebuilt(response: Any, status: int, content: bytes, *more: tuple[bytes, bytes]) -> Any:
    replaced = {name for name, _ in more}
    headers = [(name, value) for name, value in _headers(response, status) if name.lower() not in replaced]
    return type(response)(status, headers=[*headers, *more], content=content, extensions=response.extensions)


def _headers(response: Any, status: int = 200) -> list[tuple[bytes, bytes]]:
    """Return the headers to hand on.

    A charset would name any codec of Python, where JSON is UTF-8. In the native engine a provider's library heeds three
    that decide over another attempt and the pause before it, which Anthropic's makes as long as it is told. There a
    server's error is worth another attempt after a short pause, and nothing else is, as with litellm.
    """
    dropped: tuple[bytes, ...] = _OURS
    more: list[tuple[bytes, bytes]] = []
    if clock_of_call() is not None:
        again = status >= _SERVER_ERROR
        dropped += (*_ABOUT_RETRIES, b"retry-after") if again else _ABOUT_RETRIES
        more = [(b"x-should-retry", b"true" if again else b"false")]
    kept = [(name, value) for name, value in response.headers.raw if name.lower() not in dropped]
    return [
        (name, value.partition(b";")[0] if name.lower() == b"content-type" else value) for name, value in kept
    ] + more


async def _error(response: Any, request: Any) -> bytes:
    """Return the body of an error as far as it comes: in time, within the bound, and unbroken."""
    parts: list[bytes] = []
    limit_s = min(_ERROR_S, (_read_timeout_s(request) or 2 * _ERROR_S) / 2)
    with contextlib.suppress(Exception):  # its status says enough
        async with asyncio.timeout(limit_s), contextlib.aclosing(_pieces(response, MAX_ERROR)) as pieces:
            async for piece in pieces:
                parts.append(piece)  # noqa: PERF401 - what came before an error counts
    return b"".join(parts)


async def _pieces(response: Any, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the body, unpacked, up to *limit* bytes of it; then the connection is let go.

    Raises:
        _BodyError: there is more, or it is packed in a way that cannot be unpacked.
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
                    raise _BodyError(f"the answer is larger than {limit // 2**20} MiB")
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
        raise _BodyError(f"the answer is packed as {encoding[:100]!r}, which was not asked for")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip's head or zlib's

    def unpack(data: bytes) -> Iterator[bytes]:
        try:
            while data and not inflate.eof:
                if piece := inflate.decompress(data, _PIECE):
                    yield piece
                data = inflate.unconsumed_tail
            if data or inflate.unused_data:
                raise _BodyError("the answer goes on after its packed end")
        except zlib.error as exc:
            raise _BodyError(f"the answer is not packed as it says: {exc}") from None

    return unpack


def _read_timeout_s(request: Any) -> float | None:
    seconds = (request.extensions.get("timeout") or {}).get("read")
    return float(seconds) if isinstance(seconds, int | float) else None


class _Events:
    """The body of a stream: whole events, or whole lines for libraries that read those."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], response: Any, request: Any, clock: Clock | None) -> None:
        self._pieces, self._source, self._clock = pieces, response.stream, clock
        self._errors = importlib.import_module(type(response).__module__.partition(".")[0])  # httpx or httpx2
        self._by_event = _SDK in request.headers
        self._timeout_s = _read_timeout_s(request)

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield what is complete.

        Raises:
            ReadError: the body cannot be read, or an event is out of all proportion.
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
                    if size > _MAX_EVENT:
                        raise _BodyError(f"an event of the stream is larger than {_MAX_EVENT // 2**20} MiB")  # noqa: TRY301
                    if self._by_event and lines * size > _MAX_COPIED:
                        raise _BodyError(_TOO_MANY_LINES)  # noqa: TRY301
                    continue
                whole = b"".join((*held, piece[:end])) if held else piece[:end]
                held = [piece[end:]] if end < len(piece) else []
                lines = 1 + sum(rest.count(b"\n") + rest.count(b"\r") for rest in held)
                size, tail = len(piece) - end, piece[end:][-3:]
                if self._clock is not None and _REASONING in whole:
                    self._clock.heard()  # langchain-openai drops it, and would show an empty piece
                for part in self._parts(whole):
                    yield part
                    await asyncio.sleep(0)  # deadlines hold while events without content are taken apart
                since = time.monotonic() if held else 0.0  # not before: the reader took its time
            if held:
                for part in self._parts(b"".join(held)):
                    yield part
        except _BodyError as exc:
            raise self._errors.ReadError(str(exc)) from None
        finally:
            await self._pieces.aclose()

    async def aclose(self) -> None:
        await self._pieces.aclose()
        await self._source.aclose()  # nobody may have begun to read

    def _end(self, tail: bytes, piece: bytes) -> int:
        """Return how much of *piece* belongs to what is complete; *tail* came before it and is not."""
        if not self._by_event:
            return max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
        if piece.endswith(b"\n\n"):
            return len(piece)
        window = tail + piece
        end = max(window.rfind(end) + len(end) if end in window else 0 for end in (b"\n\n", b"\r\n\r\n", b"\r\r"))
        return max(0, end - len(tail))

    def _refuse_slow(self, since: float) -> None:
        if self._timeout_s is not None and time.monotonic() - since > self._timeout_s:
            raise self._errors.ReadTimeout(f"an event of the stream took longer than {self._timeout_s:g} s")

    def _parts(self, whole: bytes) -> list[bytes]:
        """Return *whole* in parts of a few events each; refuse one that a decoder would copy for minutes."""
        _refuse_parts(whole)
        if not self._by_event:
            whole = whole.translate(_BLANKS)
            for line_break, escaped in _BREAKS.items():
                whole = whole.replace(line_break, escaped)
        if whole.count(b"\n") + whole.count(b"\r") <= _LINES_AT_ONCE:
            return [whole]
        unit = _EVENT if self._by_event else _LINE
        units = [found[0] for found in unit.finditer(whole)]
        if self._by_event and any(_copied(event) > _MAX_COPIED for event in units):
            raise _BodyError(_TOO_MANY_LINES)
        return [b"".join(units[n : n + _UNITS_AT_ONCE]) for n in range(0, len(units), _UNITS_AT_ONCE)]


def _copied(event: bytes) -> int:
    return (event.count(b"\n") + event.count(b"\r") + 1) * len(event)


@functools.cache
def _stream_class(response: Any) -> Any:
    """Return `_Events` as a stream of the library that *response* belongs to."""
    library = importlib.import_module(response.__module__.partition(".")[0])
    return type("_Events", (_Events, library.AsyncByteStream), {})

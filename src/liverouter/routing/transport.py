"""How calls of the native engine travel: by aiohttp, which reads answers in C and takes half the time of httpx.

What asks for proxies keeps httpx's own way, and so does a library that has not what is looked for here. The event loop
is the one that the client belongs to.
"""

from __future__ import annotations

import importlib
import socket
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

C = TypeVar("C")

_ADDRESSES: Final = 64  # of one client; a deployment has few
_OF_CONNECTION: Final = (b"accept-encoding", b"connection")  # headers of a client that say nothing: see `guard`
_MAX_FIELD: Final = 2**16  # bytes of one header of an answer
_CONNECTIONS: Final = 1000  # of one client, as in OpenAI's and Anthropic's
_ERRORS: Final = (  # of aiohttp, and the name of httpx's for the same; the first that fits
    (aiohttp.ConnectionTimeoutError, "ConnectTimeout"),
    (TimeoutError, "ReadTimeout"),
    (aiohttp.ClientConnectorError, "ConnectError"),
    (aiohttp.InvalidURL, "UnsupportedProtocol"),
    (aiohttp.ClientPayloadError, "RemoteProtocolError"),
    (aiohttp.ServerDisconnectedError, "RemoteProtocolError"),
    (aiohttp.ClientResponseError, "RemoteProtocolError"),
    (aiohttp.ClientError, "ReadError"),
    (OSError, "ReadError"),
    (ValueError, "LocalProtocolError"),  # a header that cannot be sent
)


def by_aiohttp(client: C) -> C:
    """Return *client*, of httpx or httpx2, which sends by aiohttp what goes by no proxy; its settings of TLS stay."""
    own: Any = client
    own.build_request = _requests_of(own)
    pool = getattr(own._transport, "_pool", None)  # noqa: SLF001 - httpx has no public way in
    context, options = getattr(pool, "_ssl_context", None), getattr(pool, "_socket_options", None)
    if isinstance(context, ssl.SSLContext):
        library = _library_of(own._transport)  # noqa: SLF001
        kind = type("_Transport", (_Transport, library.AsyncBaseTransport), {})
        own._transport = kind(library, context, options or ())  # noqa: SLF001
    return client


def _library_of(part: object) -> Any:
    """Return httpx or httpx2, whichever *part* is of."""
    kinds = (kind.__module__.partition(".")[0] for kind in type(part).__mro__)
    return importlib.import_module(next(name for name in kinds if name.startswith("httpx")))


def _requests_of(client: Any) -> Callable[..., Any]:
    """Return the `build_request` of *client*, which takes as it is what a provider's library has made ready.

    Those give a whole address, a body, and every header: httpx would read the address anew and merge the headers with
    its own, one by one, which takes a tenth of a call's CPU.
    """
    library, merging = _library_of(client), client.build_request
    read = lru_cache(_ADDRESSES)(library.URL)
    own = [(name, value) for name, value in client.headers.raw if name.lower() not in _OF_CONNECTION]

    def build_request(method: str, url: Any, *, headers: Any = None, **more: Any) -> Any:
        address = read(url) if isinstance(url, str) else url
        given = {name: value for name, value in more.items() if value is not None}
        timeout = given.pop("timeout", None)
        is_ready = address.is_absolute_url and given.keys() <= {"content", "json"}
        if not is_ready or not isinstance(timeout, float | int | library.Timeout):
            return merging(method, url, headers=headers, **more)
        limits = library.Timeout(timeout).as_dict()
        request = library.Request(method, address, headers=headers, extensions={"timeout": limits}, **given)
        names = {name.lower() for name, _ in request.headers.raw}
        for name, value in own:
            if name.lower() not in names:
                request.headers[name.decode("ascii")] = value.decode("latin-1")
        return request

    return build_request


class _Transport:
    """A transport of httpx or httpx2, whichever *library* is; used on one event loop.

    Args:
        library: whose requests it takes, and whose answers and errors it makes.
        context: of TLS.
        options: what `socket.setsockopt` is called with for each connection.
    """

    def __init__(self, library: Any, context: ssl.SSLContext, options: Iterable[tuple[Any, ...]]) -> None:
        self._library, self._context, self._options = library, context, tuple(options)
        self._body = type("_Body", (_Body, library.AsyncByteStream), {})
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: Any) -> Any:
        """Return the answer to *request*; its body is yet to come, packed as it was sent.

        Raises:
            Exception: the library's error for what went wrong.
        """
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        try:
            response = await (self._session or self._opened()).request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=headers,
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=_timeout(*_limits(request)),
            )
        except Exception as exc:
            raise _translated(self._library, exc) from exc
        reason = (response.reason or "").encode("latin-1", "replace")
        return self._library.Response(
            response.status,
            headers=response.raw_headers,
            stream=self._body(response, self._library),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": reason},
        )

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Return the session, which is made for the first request: it belongs to the loop that runs then."""
        connector = aiohttp.TCPConnector(
            ssl=self._context,
            limit=_CONNECTIONS,
            resolver=aiohttp.ThreadedResolver(),
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            max_line_size=_MAX_FIELD,
            max_field_size=_MAX_FIELD,
        )
        return self._session

    def _socket(self, address: Any) -> socket.socket:
        """Return the socket for a connection to *address*, of those that `socket.getaddrinfo` returns."""
        made = socket.socket(*address[:3])
        made.setblocking(False)  # noqa: FBT003 - so it is declared
        for option in self._options:
            made.setsockopt(*option)
        return made


class _Body:
    """The body of an answer, as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, library: Any) -> None:
        self._response, self._library = response, library

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield what has arrived.

        Raises:
            Exception: the library's error for what went wrong.
        """
        content = self._response.content
        try:
            while data := await content.readany():
                yield data
        except Exception as exc:
            if data := content._read_nowait(-1):  # noqa: SLF001 - what came before the error counts; aiohttp puts that first
                yield data
            raise _translated(self._library, exc) from exc

    async def aclose(self) -> None:
        """Let the connection go: to others where the answer was read to its end, else for ever."""
        self._response.release()


def _limits(request: Any) -> tuple[float | None, ...]:
    """Return the seconds that a free connection, connecting and one read may take, each None where it has no bound."""
    limits = request.extensions.get("timeout") or {}
    return limits.get("pool"), limits.get("connect"), limits.get("read")


@lru_cache(maxsize=64)
def _timeout(pool: float | None, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    connecting = None if pool is None or connect is None else pool + connect  # for aiohttp both is one
    return aiohttp.ClientTimeout(total=None, connect=connecting, sock_connect=connect, sock_read=read)


def _translated(library: Any, error: Exception) -> Exception:
    """Return *error* of aiohttp as one of *library*'s; any other as it is."""
    for kind, name in _ERRORS:
        if isinstance(error, kind):
            made: Callable[[str], Exception] = getattr(library, name)
            return made(str(error) or type(error).__name__)
    return error

"""Between a provider and the libraries that talk to it: what comes back is a stranger's word, and is bounded here.

`guarded` has an HTTP client, httpx's or httpx2's, made by whichever library, admit its answers through this module:

- A redirect is never followed, for key and prompt would go along: it becomes a 404 that says where it led.
- A body counts unpacked, piece by piece: 64 MiB of an answer, 64 kB of an error. What is larger, or packed in a way
  that was not asked for, becomes a 502, or an error of the stream that it is found in.
- A stream is handed on in whole events, because OpenAI's and Anthropic's decoders copy all of an unfinished one for
  every piece that comes.
- No cookie is kept: a client serves many calls.
- What a provider's library adds from variables of the environment stays here: it belongs to another address.
- A request to this machine does not leave it by a proxy: no key is bound to that.
- A request goes to no other origin than its deployment's, where the address is a library's choice.

An attempt has a `Clock`, which this module tells what was sent, what came, and which streams it opened. An error that a
provider calls a success gets a status of its own here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import os
import re
import urllib.request
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from liverouter.routing.answer_body import BodyError, body_pieces, read_timeout_s, refuse_parts, stream_class
from liverouter.routing.clock import clock_of_call
from liverouter.routing.said import error_in_answer, refusal_in, said_by
from liverouter.routing.unreached import lost_by
from liverouter.secrecy.origins import is_loopback, origin_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from liverouter.routing.clock import Clock

C = TypeVar("C")

MAX_ANSWER: Final = 64 * 2**20  # bytes, unpacked
MAX_ERROR: Final = 64_000  # bytes, unpacked, of an answer with an error's status
_ERROR_S: Final = 5.0  # for the body of an error, whose status says the most; half the timeout where that is less
_FIRST_REDIRECT, _FIRST_ERROR = 300, 400
_BY_PROXY: Final = (
    "the base URL is on this machine, but HTTP_PROXY or its kin would have the key go to a proxy: nothing was sent. "
    "Set NO_PROXY=127.0.0.1,localhost"
)
_ELSEWHERE: Final = "litellm would send this to {}, and it may go to {} alone: nothing was sent"
_OURS: Final = (b"set-cookie", b"content-encoding", b"content-length", b"transfer-encoding")
_HEADERS_OF_VARIABLES: Final = ("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS")  # lines of "name: value"
_NAMED_BY_VARIABLES: Final = {
    "openai-organization": ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION"),
    "openai-project": ("OPENAI_PROJECT_ID",),
    "user-agent": ("LITELLM_USER_AGENT",),
    "http-referer": ("OR_SITE_URL",),
    "x-title": ("OR_APP_NAME",),
}
# Whose clients have a transport for each proxy, ours included; others ask as they send.
_CHOOSE_BY_MOUNTS: Final = ("httpx", "httpx2", __name__.partition(".")[0])
_PLACE: Final = re.compile(r"[a-z]{1,10}://[a-z0-9._:-]{1,255}")


def guarded(client: C) -> C:
    """Return *client*, whose transports, those to proxies included, now admit answers as this module does."""
    own: Any = client
    own._cookies = _without_cookies(own.cookies.__class__)()  # noqa: SLF001 - httpx has no public way in
    direct = own._transport  # noqa: SLF001 - httpx has no public way in
    for transport in {id(t): t for t in (direct, *own._mounts.values()) if t is not None}.values():  # noqa: SLF001
        if transport is not direct:
            leaves = _is_local
        elif type(transport).__module__.partition(".")[0] in _CHOOSE_BY_MOUNTS:
            leaves = _never
        else:
            leaves = functools.lru_cache(64)(_leaves_by_proxy)  # such a client asks once for each host as well
        transport.handle_async_request = functools.partial(_admit, transport.handle_async_request, leaves)
    return client


@functools.cache
def _without_cookies(kind: type) -> Callable[[], Any]:
    """Return a class of *kind*, httpx's cookies, that looks for none in an answer: a thirtieth of a call's CPU."""
    return type("_WithoutCookies", (kind,), {"extract_cookies": lambda *_: None})


async def _admit(send: Callable[[Any], Awaitable[Any]], leaves: Callable[[str], bool], request: Any) -> Any:
    """Return the answer to *request* as it may pass on; the attempt's clock is told of it.

    *leaves* tells of a URL whether *send* hands it to a proxy although it is this machine's.
    """
    if (clock := clock_of_call()) is None:
        return await _answer(send, leaves, request, None)
    clock.sent, clock.lost = True, None
    try:
        response = await _answer(send, leaves, request, clock)
    except Exception as exc:
        clock.lost = lost_by(exc, str(request.url), by_proxy=leaves is _is_local)
        raise
    is_error = response.status_code >= _FIRST_ERROR
    clock.said = said_by(response.status_code, response.content, response.headers) if is_error else None
    return response


async def _answer(
    send: Callable[[Any], Awaitable[Any]], leaves: Callable[[str], bool], request: Any, clock: Clock | None
) -> Any:
    """Return the answer to *request* as it may pass on: what is none has the status of an error."""
    request.headers["accept-encoding"] = "identity"
    _take_off(request.headers)
    if clock is not None:
        _put(request.headers, clock.headers)
    if why := _kept_back(str(request.url), leaves, clock):
        library = importlib.import_module(type(request).__module__.partition(".")[0])
        return _refusal(library.Response(404), 404, why)
    response = await send(request)
    status: int = response.status_code
    if _FIRST_REDIRECT <= status < _FIRST_ERROR:
        await response.stream.aclose()
        return _refusal(response, 404, _redirected(response, request))
    if status >= _FIRST_ERROR:
        return _rebuilt(response, status, await _error(response, request))
    pieces = body_pieces(response, MAX_ANSWER)
    try:
        if _asks_for_stream(request):
            kind: Any = type(response)
            stream = stream_class(kind)(pieces, response, request, clock)
            if clock is not None:
                clock.answered = True
                clock.opened.append(stream)
            return kind(status, headers=_headers(response), stream=stream, extensions=response.extensions)
        content = b"".join([piece async for piece in pieces])
        refuse_parts(content)
        return _whole(response, content, clock)
    except BodyError as exc:
        return _refusal(response, 502, str(exc))


def _whole(response: Any, content: bytes, clock: Clock | None) -> Any:
    """Return *response*, a success, with its *content*; an answer that failed has the status of an error."""
    said = error_in_answer(content)
    if clock is not None:
        clock.answered = said is None
        clock.declined = refusal_in(content)
    if said is None:
        return _rebuilt(response, response.status_code, content)
    if said.is_end:
        return _refusal(response, said.status, said.message)
    return _rebuilt(response, said.status, content)


def _kept_back(url: str, leaves: Callable[[str], bool], clock: Clock | None) -> str:
    """Return why a request to *url* is not sent; "" where it is."""
    if clock is not None and clock.origin not in ("", origin_of(url)):
        return _ELSEWHERE.format(origin_of(url) or "an address that cannot be read", clock.origin)
    return _BY_PROXY if leaves(url) else ""


def _put(headers: Any, own: Mapping[str, str | None]) -> None:
    """Have *headers* of a request hold those of *own*, name -> value, and none of which the value is None."""
    for name, value in own.items():
        if value is None:
            headers.pop(name, None)
        else:
            headers[name] = value


def _take_off(headers: Any) -> None:
    """Take off *headers* what a library put there from the environment, of which no row says where it may go."""
    for name, variables in _NAMED_BY_VARIABLES.items():
        given = [os.environ[variable] for variable in variables if variable in os.environ]
        if given and headers.get(name) in given:
            del headers[name]
    for variable in _HEADERS_OF_VARIABLES:
        for line in filter(None, os.environ.get(variable, "").split("\n")):
            name, _, value = line.partition(":")
            if headers.get(name.strip()) == value.strip():
                del headers[name.strip()]


def _is_local(url: str) -> bool:
    """Tell whether *url* is this machine's."""
    return is_loopback(origin_of(url))


def _never(url: str) -> bool:
    """Tell that *url* does not leave by a proxy: others go by a transport of their own."""
    del url
    return False


def _leaves_by_proxy(url: str) -> bool:
    """Tell whether *url* is this machine's, and yet the environment has a proxy for it."""
    parts = urlsplit(url)
    if not _is_local(url) or urllib.request.getproxies().keys().isdisjoint({parts.scheme, "all"}):
        return False
    return not urllib.request.proxy_bypass(parts.hostname or "")


def _asks_for_stream(request: Any) -> bool:
    """Tell whether the answer to *request* is to be a stream: by Google's path, or by a member of the body."""
    if b":stream" in request.url.raw_path:
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
    """Return *response* anew, with *status* and *content*; *more* are headers that replace its own of their names."""
    replaced = {name for name, _ in more}
    headers = [(name, value) for name, value in _headers(response) if name.lower() not in replaced]
    return type(response)(status, headers=[*headers, *more], content=content, extensions=response.extensions)


def _headers(response: Any) -> list[tuple[bytes, bytes]]:
    """Return the headers of *response* to hand on.

    The charset goes: JSON is UTF-8, and a charset may name any codec of Python.
    """
    return [
        (name, value.partition(b";")[0] if name.lower() == b"content-type" else value)
        for name, value in response.headers.raw
        if name.lower() not in _OURS
    ]


async def _error(response: Any, request: Any) -> bytes:
    """Return the body of an error as far as it comes: in time, within the bound, and unbroken."""
    parts: list[bytes] = []
    limit_s = min(_ERROR_S, (read_timeout_s(request) or 2 * _ERROR_S) / 2)
    with contextlib.suppress(Exception):  # its status says enough
        async with asyncio.timeout(limit_s), contextlib.aclosing(body_pieces(response, MAX_ERROR)) as pieces:
            async for piece in pieces:
                parts.append(piece)  # noqa: PERF401 - what came before an error counts
    return _legible(b"".join(parts))


def _legible(content: bytes) -> bytes:
    """Return the body of an error as every library reads it: in UTF-8, and JSON only where Python's parser takes it.

    Google's library lets the parser's own error through for any other, and with it the status is lost.
    """
    content = content.decode(errors="replace").encode()
    try:
        json.loads(content)
    except json.JSONDecodeError:
        pass  # no JSON: each library shows the text
    except (ValueError, RecursionError):  # a number of thousands of digits, a bad UTF-16, lists in lists without end
        return b"not readable: " + content
    return content

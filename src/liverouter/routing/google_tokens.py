"""Google's access tokens, fetched through `guard`: within a bound, in time, no redirect followed.

google-auth asks with `requests`, in a thread that nothing cancels, and the timeout of `requests` is that of one read. A
server that trickles its answer would hold that thread, every later token and the end of the process for ever.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from liverouter.routing.clock import leave_clock
from liverouter.routing.guard import guarded
from liverouter.routing.unreached import lost_by
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LONGEST_LIFE_S: Final = 366 * 86_400  # seconds
_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # those of `requests`, beside httpx's own


class TokenAnswer(NamedTuple):
    """What google-auth wants of an answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class TokenRequest:
    """google-auth's transport: called in a thread without an event loop, it blocks for *timeout_s* at most."""

    def __init__(self, timeout_s: float) -> None:
        """Give each request *timeout_s* seconds in all."""
        self._timeout_s = timeout_s

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> TokenAnswer:
        """Return the answer to one request.

        Raises:
            TransportError: there is none, or not in time.
        """
        del timeout, options
        from google.auth.exceptions import TransportError

        try:
            return asyncio.run(self._ask(httpx.Request(method, url, headers=headers, content=body)))
        except httpx.NetworkError as exc:
            raise TransportError(lost_by(exc, url).text) from exc  # type: ignore[no-untyped-call]
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as exc:
            raise TransportError(brief(exc)) from exc  # type: ignore[no-untyped-call]  # google-auth has no types

    async def _ask(self, request: httpx.Request) -> TokenAnswer:
        """Return the answer to *request*, asked for on a loop of its own; raises TimeoutError and httpx's errors."""
        leave_clock()
        async with asyncio.timeout(self._timeout_s), guarded(httpx.AsyncClient(verify=_trusted())) as client:
            request.extensions["timeout"] = httpx.Timeout(self._timeout_s).as_dict()
            answer = await client.send(request, follow_redirects=False)
            return TokenAnswer(answer.status_code, answer.headers, _body(request, answer))


def _body(request: httpx.Request, answer: httpx.Response) -> bytes:
    """Return the body of *answer* as google-auth can take it: it expects an object of JSON where it posts.

    Raises:
        DecodingError: the answer should hold a token, and is no object or has members that cannot be read.
    """
    if request.method != "POST":
        return answer.content
    if (token := _object(answer.content)) is not None:
        is_read = isinstance(token.get("access_token", ""), str) and _is_time(token.get("expires_in"))
        if answer.status_code == httpx.codes.OK and not is_read:
            raise httpx.DecodingError("the answer's token, or how long it lives, cannot be read", request=request)
        return answer.content
    if answer.status_code == httpx.codes.OK:
        raise httpx.DecodingError("the answer holds no token: it is no JSON object", request=request)
    return json.dumps(answer.text).encode()  # an error's text, which becomes that of a RefreshError


def _object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object that *content* is, None where Python's parser takes it for none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_time(seconds: object) -> bool:
    """Tell whether google-auth can read *seconds*, the life of a token: none, a number or one as a text."""
    try:
        return seconds is None or 0 <= int(seconds) <= _LONGEST_LIFE_S  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return False


def _trusted() -> ssl.SSLContext | bool:
    """Return the certificates that `requests` would trust."""
    path = next((Path(os.environ[name]) for name in _CA_VARIABLES if os.environ.get(name)), None)
    if path is None:
        return True
    return ssl.create_default_context(capath=path) if path.is_dir() else ssl.create_default_context(cafile=path)


class ShortTimeout:
    """Google's credentials, whose token is fetched within *timeout_s* seconds; litellm calls their `refresh`."""

    def __init__(self, credentials: Any, timeout_s: float) -> None:
        self._credentials, self._timeout_s = credentials, timeout_s

    def refresh(self, request: Callable[..., Any]) -> None:
        """Fetch a token by a transport of ours in place of *request*."""
        del request
        self._credentials.refresh(TokenRequest(self._timeout_s))

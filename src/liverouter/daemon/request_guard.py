"""What every request passes before a route sees it: Host, Origin, token, body size and type. And answers' headers."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers, MutableHeaders

from liverouter.daemon.connections import connection_of
from liverouter.daemon.problem_details import ApiError, from_error, unforeseen
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from liverouter.daemon.auth import AdminToken, LoginLimiter

MAX_BODY_BYTES: Final = 256 * 1024
_MOST_READ_BYTES: Final = 8 * 1024 * 1024  # of a body that is too long: a client that still sends reads no answer
_SAFE: Final = ("GET", "HEAD", "OPTIONS")  # methods that change nothing and have no body
# What needs no token. Every other path does, also one that no route has.
_OPEN_PATHS: Final = frozenset({"/", "/livez", "/readyz", "/api/session", "/api/openapi.json"})
_OPEN_FOLDER: Final = "/page/"

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the request guard admits.

    Attributes:
        any_host: whether the Host header may have any name.
        hosts: the names that it may have beside localhost, in lower case.
    """

    admin_token: AdminToken
    login_limiter: LoginLimiter
    any_host: bool
    hosts: frozenset[str] = field(default=frozenset())

    def admits_host(self, host: str) -> bool:
        """Tell whether the Host header *host* may name us: a known name, or an address, which no DNS record forges."""
        name = (host if host.endswith("]") else host.rsplit(":", 1)[0]).lower()
        return self.any_host or name == "localhost" or name in self.hosts or _is_address(name)


class RequestGuard:
    """ASGI middleware around the whole application; the only place that knows of tokens, origins and limits."""

    def __init__(self, app: ASGIApp, *, policy: Policy, report: Callable[[str, str], None]) -> None:
        """Guard *app*; *report* is told the path and the masked error of a request that failed unforeseen."""
        self._app, self._policy, self._report = app, policy, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, connection = False, connection_of(scope)
        connection.begin()

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(scope, message)
            await send(message)

        try:
            self._check(scope)
            receive = await _with_whole_body(scope, receive, connection.deadline)
            connection.arrived()
            await self._app(scope, receive, send_with_headers)
        except ApiError as exc:
            await from_error(exc)(scope, receive, send_with_headers)
        except Exception as exc:  # noqa: BLE001 - the top of a request: reported, masked, and answered with 500
            path = scope["raw_path"].decode("ascii", "backslashreplace")  # not unquoted: a log line must stay one
            self._report(path, brief(exc))
            if not started:
                await unforeseen()(scope, receive, send_with_headers)
        finally:
            connection.end()

    def _check(self, scope: Scope) -> None:
        """Return when Host, Origin and token of a request are in order.

        Raises:
            ApiError: one is not (401, 403 or 429).
        """
        headers, path = Headers(scope=scope), scope["path"]
        if not self._policy.admits_host(headers.get("host", "")):
            raise ApiError(
                HTTPStatus.FORBIDDEN,
                "the Host header names somebody else",
                code="LR602",
                where="header Host",
                hint="Open it as localhost, or name the host in LIVEROUTER_ALLOWED_HOSTS",
            )
        if path.startswith("/api/"):
            _check_origin(scope["method"], headers)
        if path not in _OPEN_PATHS and not path.startswith(_OPEN_FOLDER):
            self._check_token(scope, headers)

    def _check_token(self, scope: Scope, headers: Headers) -> None:
        """Return when a request needs no token, or has a session or the token.

        Raises:
            ApiError: it has neither (401), or its sender sent too many wrong tokens (429).
        """
        policy = self._policy
        if not policy.admin_token.required or policy.admin_token.knows(headers.get("cookie", "")):
            return
        kind, _, token = headers.get("authorization", "").partition(" ")
        challenge = {"WWW-Authenticate": 'Bearer realm="liverouter"'}
        hint = "Send `Authorization: Bearer <LIVEROUTER_ADMIN_TOKEN>`, or sign in on the page"
        if kind.lower() != "bearer":
            raise ApiError(HTTPStatus.UNAUTHORIZED, "no token was sent", code="LR601", hint=hint, headers=challenge)
        check_token(policy, token.strip(), scope, where="header Authorization", hint=hint, headers=challenge)


def check_token(
    policy: Policy, token: str, scope: Scope, *, where: str, hint: str, headers: Mapping[str, str] | None = None
) -> None:
    """Return when *token* is right, however many wrong ones came before: many people may share one address.

    Raises:
        ApiError: it is wrong (401), or it is wrong and its sender sent too many wrong ones already (429).
    """
    if policy.admin_token.admits(token):
        return
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if (wait_s := policy.login_limiter.wait_s(address)) > 0:
        raise ApiError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too many wrong tokens",
            code="LR606",
            where=where,
            hint=f"Send the right one, or try again in {wait_s:.0f} s",
            headers={"Retry-After": str(int(wait_s) + 1)},
        )
    policy.login_limiter.add_failure(address)
    raise ApiError(HTTPStatus.UNAUTHORIZED, "the token is wrong", code="LR601", where=where, hint=hint, headers=headers)


def _check_origin(method: str, headers: Headers) -> None:
    """Refuse what another site's page makes a browser send, by Sec-Fetch-Site and Origin; programs send neither.

    Raises:
        ApiError: another site's page sent it (403).
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = site not in (None, "same-origin", "none")
    if origin is not None and origin.lower().partition("://")[2] != headers.get("host", "").lower():
        foreign = foreign or method not in _SAFE
    if foreign:
        raise ApiError(
            HTTPStatus.FORBIDDEN,
            "another site's page sent this",
            code="LR602",
            where="header Origin",
            hint="Call the API from a server, or from the page here; a proxy in between must pass the Host header on",
        )


async def _with_whole_body(scope: Scope, receive: Receive, deadline: float) -> Receive:
    """Read the body until *deadline*, in the loop's time, and return a `receive` that gives it again, whole.

    Raises:
        ApiError: it did not arrive in time (408), is longer than MAX_BODY_BYTES (413), or is not said to be JSON (415).
    """
    if scope["method"] in _SAFE:
        return receive
    headers = Headers(scope=scope)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout_at(deadline):
            while size < _MOST_READ_BYTES:
                message = await receive()
                if message["type"] != "http.request":
                    break  # the client left; the application's own `receive` says so again
                size += len(message.get("body", b""))
                if size <= MAX_BODY_BYTES:
                    chunks.append(message.get("body", b""))
                if not message.get("more_body", False):
                    break
    except TimeoutError as exc:
        hint = "Send it at once; a proxy in between should collect it first"
        said, close = "the body did not arrive in time", {"Connection": "close"}
        raise ApiError(HTTPStatus.REQUEST_TIMEOUT, said, code="LR603", hint=hint, headers=close) from exc
    if size > MAX_BODY_BYTES:
        raise _too_large()
    if size and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body is not said to be JSON",
            code="LR605",
            where="header Content-Type",
            hint="Send Content-Type: application/json",
        )
    whole: list[Message] = [{"type": "http.request", "body": b"".join(chunks), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay


def _too_large() -> ApiError:
    return ApiError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is longer than {MAX_BODY_BYTES} bytes",
        code="LR604",
        hint="Settings are small: is this the right file?",
        headers={"Connection": "close"},  # the rest of it is not read
    )


def _add_headers(scope: Scope, message: Any) -> None:
    """Add the security headers to *message*, the start of an answer; what a route has set stays."""
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if scope["path"].startswith("/api/"):
        headers.setdefault("Cache-Control", "no-store")

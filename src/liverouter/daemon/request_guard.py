"""What every request passes before it is read: Host, Origin, token, body size and type. And the answers' headers."""

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
_MOST_READ_BYTES: Final = 8 * 1024 * 1024  # of a longer body: who is still sending does not hear the answer
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
# What needs no token: everything else does, whatever a route, or the lack of one, would make of its path.
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
    """What the request guard admits."""

    gate: AdminToken
    tries: LoginLimiter
    any_host: bool
    hosts: frozenset[str] = field(default=frozenset())  # names beside localhost

    def admits_host(self, host: str) -> bool:
        """Tell whether the Host header *host* may name us: an address, which no DNS makes up, or a known name."""
        name = (host if host.endswith("]") else host.rsplit(":", 1)[0]).lower()
        return self.any_host or name == "localhost" or name in self.hosts or _is_address(name)


class RequestGuard:
    """ASGI middleware around the whole application; the only place that knows of tokens, origins and limits."""

    def __init__(self, app: ASGIApp, *, policy: Policy, report: Callable[[str, str], None]) -> None:
        """Guard *app*; *report* is told path and error of a request that failed in a way nobody foresaw."""
        self._app, self._policy, self._report = app, policy, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, connection = False, connection_of(scope)
        connection.begin()

        async def send_shielded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(scope, message)
            await send(message)

        try:
            self._check(scope)
            receive = await _with_whole_body(scope, receive, connection.deadline)
            connection.arrived()
            await self._app(scope, receive, send_shielded)
        except ApiError as exc:
            await from_error(exc)(scope, receive, send_shielded)
        except Exception as exc:  # noqa: BLE001 - the top of a request; what it says may hold a secret, so it is masked
            path = scope["raw_path"].decode("ascii", "backslashreplace")  # as it was sent: escaped
            self._report(path, brief(exc))
            if not started:
                await unforeseen()(scope, receive, send_shielded)
        finally:
            connection.end()

    def _check(self, scope: Scope) -> None:
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
        policy = self._policy
        if not policy.gate.closed or policy.gate.knows(headers.get("cookie", "")):
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
    """Return when *token* is right, whatever was sent before: an address may be that of many.

    Raises:
        ApiError: it is wrong (401), and its sender sent too many that were (429).
    """
    if policy.gate.admits(token):
        return
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if (wait_s := policy.tries.wait_s(address)) > 0:
        raise ApiError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too many wrong tokens",
            code="LR606",
            where=where,
            hint=f"Send the right one, or try again in {wait_s:.0f} s",
            headers={"Retry-After": str(int(wait_s) + 1)},
        )
    policy.tries.add_failure(address)
    raise ApiError(HTTPStatus.UNAUTHORIZED, "the token is wrong", code="LR601", where=where, hint=hint, headers=headers)


def _check_origin(method: str, headers: Headers) -> None:
    """Refuse what another site's page makes a browser send; programs send neither header."""
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
    """Read the body, within its limits and until *deadline*, and return a `receive` that gives it again."""
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
                    break  # the client left; the application finds out by itself
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
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if scope["path"].startswith("/api/"):
        headers.setdefault("Cache-Control", "no-store")

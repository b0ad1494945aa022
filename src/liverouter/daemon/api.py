"""The daemon's web application: its routes, one shape for all errors, an OpenAPI document with every answer."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from liverouter.daemon import api_config, api_fleet, api_process
from liverouter.daemon.auth import COOKIE
from liverouter.daemon.problem_details import MEDIA_TYPE, from_error, from_status, from_validation
from liverouter.daemon.request_guard import RequestGuard
from liverouter.errors import LiveRouterError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from liverouter.daemon.context import Context

_DESCRIPTION = """
Settings, fleet and health of liverouter. Every error is an RFC 9457 problem: `code`, `where` and `hint` say what
happened, where, and how to mend it. Everything but the probes, this document and the signing in wants
`Authorization: Bearer` with the admin token, or the session cookie that `POST /api/session` trades for it.
"""
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}
_OPEN = ("/livez", "/readyz", "/api/session")  # of the documented paths, those that need no token


def create_app(context: Context) -> ASGIApp:
    """Return the whole application, inside its request guard."""
    app = FastAPI(
        title="liverouter",
        version=version("liverouter"),
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # this page and the next one load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = context
    for routes in (api_config, api_fleet, api_process):
        app.include_router(routes.router)
    app.add_exception_handler(LiveRouterError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return RequestGuard(app, policy=context.policy, report=context.report)


async def _on_error(_: Request, exc: Exception) -> Response:
    return from_error(cast("LiveRouterError", exc))


async def _on_invalid(_: Request, exc: Exception) -> Response:
    return from_validation(cast("RequestValidationError", exc))


async def _on_http_error(_: Request, exc: Exception) -> Response:
    error = cast("HTTPException", exc)
    return from_status(error.status_code, error.detail, error.headers)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document; it is made at the first call and kept in *app*."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document["components"]["securitySchemes"] = _SECURITY
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _finish(path, method, operation)
        app.openapi_schema = document
    return app.openapi_schema


def _finish(path: str, method: str, operation: dict[str, Any]) -> None:
    """Say in *operation* what FastAPI does not: a required If-Match, the token, and errors as problem+json."""
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "if-match":
            parameter["schema"].pop("anyOf")  # "or null": a header is there or not
            # The route takes it as optional, to answer its absence with 428 instead of 422.
            parameter["required"] = method == "put"
    if path not in _OPEN:
        operation["security"] = [{"token": []}, {"session": []}]
    for answer in operation["responses"].values():
        content = answer.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if schema.get("$ref", "").endswith("/ProblemDetails"):
            content[MEDIA_TYPE] = content.pop("application/json")

"""Routes that operate the process: probes, metrics, signing in, and the page itself."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from liverouter.daemon import models, models_fleet as shapes
from liverouter.daemon.assets import load_assets
from liverouter.daemon.auth import COOKIE, SESSION_S
from liverouter.daemon.context import Using
from liverouter.daemon.problem_details import documented, from_status
from liverouter.daemon.request_guard import check_token
from liverouter.engine.status import State

_ASSETS: Final = load_assets()
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {"model": shapes.Readiness, "description": "No config is live yet, or the daemon's own database is down"}
}


router = APIRouter(tags=["process"])


@router.get("/livez", response_model=shapes.Liveness)
async def livez() -> shapes.Liveness:
    """Whether the event loop answers. Needs no token."""
    return shapes.Liveness(status="alive")


@router.get("/readyz", response_model=shapes.Readiness, responses=_NOT_READY)
async def readyz(context: Using, response: Response) -> shapes.Readiness:
    """Whether this process serves calls, and runs its database if that is its own. Needs no token, tells but codes."""
    status, down = context.live.status(), context.own_database()
    wrong = [status.error.code] if status.error else []
    if down is not None:
        wrong.insert(0, down.code)
    if status.state is State.POLL_ONLY:
        wrong.append("LR210")
    if context.live.store.current is None or down is not None:
        response.status_code = 503
        return shapes.Readiness(status="not_ready", state=status.state, revision=status.revision, degraded=wrong)
    return shapes.Readiness(
        status="degraded" if wrong or status.state is not State.LIVE else "ready",
        state=status.state,
        revision=status.revision,
        degraded=wrong,
    )


@router.get("/metrics", response_class=PlainTextResponse, responses=documented())
async def metrics(context: Using) -> Response:
    """Prometheus' text format: this process's config and listener, the fleet's calls."""
    return Response(await context.metrics.scrape(), media_type=CONTENT_TYPE_LATEST)


@router.get("/api/session", response_model=models.Session, responses=documented())
async def read_session(context: Using, request: Request) -> models.Session:
    """Whether a token is needed, and whether this browser is signed in. Needs no token."""
    admin_token = context.policy.admin_token
    signed_in = not admin_token.required or admin_token.knows(request.headers.get("cookie", ""))
    return models.Session(token_needed=admin_token.required, signed_in=signed_in)


@router.post("/api/session", status_code=204, responses=documented(400, 413, 415, 422))
async def sign_in(context: Using, body: models.TokenBody, request: Request) -> Response:
    """Trade the admin token for a session cookie, for browsers."""
    token = body.token.get_secret_value().strip()
    if context.policy.admin_token.required:
        hint = "It is LIVEROUTER_ADMIN_TOKEN, or stands in the address that `liverouter serve` prints"
        check_token(context.policy, token, request.scope, where="body.token", hint=hint)
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        context.policy.admin_token.new_session(),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.delete("/api/session", status_code=204, responses=documented())
async def sign_out(context: Using, request: Request) -> Response:
    """End this browser's session: no copy of its cookie opens anything any more."""
    context.policy.admin_token.end_session(request.headers.get("cookie", ""))
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """Return the settings page."""
    return _ASSETS["index.html"].answer(request)


@router.get("/page/{name}", include_in_schema=False)
async def page_file(name: str, request: Request) -> Response:
    """Return one file of the settings page."""
    asset = _ASSETS.get(name)
    return asset.answer(request) if asset else from_status(404, "there is no such file")

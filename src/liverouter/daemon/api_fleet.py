"""Routes that show the fleet: who runs what, what is wrong, what was called; once, or as a stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from liverouter.daemon import models_fleet as shapes
from liverouter.daemon.context import Context, Using
from liverouter.daemon.fleet import USAGE_MINUTES
from liverouter.daemon.models import MAX_REVISION
from liverouter.daemon.problem_details import UNFORESEEN, ApiError, ProblemModel, documented
from liverouter.daemon.sse import MAX_STREAMS, encode
from liverouter.errors import DatabaseError
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events: hello, head, instances, serving, problems, usage, status, database, event, ping",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


router = APIRouter(prefix="/api", tags=["fleet"])


@router.get("/status", response_model=shapes.OwnStatus, responses=documented())
async def read_status(context: Using) -> shapes.OwnStatus:
    """Where this process stands; answers without the database."""
    return context.own_status()


@router.get("/instances", response_model=list[shapes.Instance], responses=documented(503))
async def read_instances(context: Using) -> list[dict[str, Any]]:
    """Every process that runs a client, and those that died within a day without saying goodbye."""
    return await context.fleet.instances(await context.fleet.head())


@router.get("/serving", response_model=list[shapes.Serving], responses=documented(503))
async def read_serving(context: Using) -> list[dict[str, Any]]:
    """Each deployment that serves anywhere."""
    return await context.fleet.serving()


@router.get("/rollout/{revision}", response_model=shapes.RolloutRow, responses=documented(404, 422, 503))
async def read_rollout(context: Using, revision: Annotated[int, Path(ge=0, le=MAX_REVISION)]) -> dict[str, Any]:
    """How one of the newest 1000 revisions came to the processes."""
    if (row := await context.fleet.rollout(revision)) is None:
        raise ApiError(404, f"there is no revision {revision}", code="LR213", hint="See GET /api/revisions")
    return row


@router.get("/problems", response_model=list[ProblemModel], responses=documented(503))
async def read_problems(context: Using) -> list[dict[str, Any]]:
    """Everything that is wrong, as the database sees it; empty means that all is well."""
    return await context.fleet.problems()


@router.get("/usage", response_model=list[shapes.UsagePoint], responses=documented(422, 503))
async def read_usage(
    context: Using, minutes: Annotated[int, Query(ge=1, le=1440)] = USAGE_MINUTES
) -> list[dict[str, Any]]:
    """Calls, failures, failovers, tokens and cost per minute and deployment, oldest first."""
    return await context.fleet.usage(minutes)


@router.get("/events", response_class=StreamingResponse, responses=documented(503) | _STREAM)
async def read_events(context: Using, request: Request) -> StreamingResponse:
    """Server-sent events: `hello` with everything, then what changes, as it changes, while the session lasts."""
    admin_token, cookie = context.policy.admin_token, request.headers.get("cookie", "")
    by_session = admin_token.required and admin_token.knows(cookie)
    if context.hub.streams >= MAX_STREAMS:
        hint = "Close a page, or ask again later"
        raise ApiError(503, "too many streams", code="LR609", hint=hint, headers={"Retry-After": "10"})

    async def hello() -> bytes:
        return encode("hello", await _everything(context))

    stream = context.hub.stream(hello, may_hear=lambda: not by_session or admin_token.knows(cookie))
    begun = await anext(stream)  # counts the stream; no other request runs between the comparison above and this
    return StreamingResponse(
        _chained(begun, stream),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield *first*, then *rest*."""
    yield first
    async for message in rest:
        yield message


async def _everything(context: Context) -> dict[str, Any]:
    """Return the data of `hello`: all that a page shows; without the database this process's status and the Problem."""
    fleet = context.fleet
    known: dict[str, Any] = {"status": context.own_status().model_dump(mode="json"), "database": None}
    try:
        head = await fleet.head()
        instances, serving, problems, usage = await asyncio.gather(
            fleet.instances(head), fleet.serving(), fleet.problems(), fleet.usage_if_read()
        )
    except Exception as exc:  # noqa: BLE001 - a stream that ends without an event is opened again for ever
        context.watch.forget()  # so that this page, too, is told everything once it can be read
        if not isinstance(exc, DatabaseError):
            context.report("/api/events", brief(exc))
        problem = context.own_database() or (exc.problem if isinstance(exc, DatabaseError) else UNFORESEEN)
        return known | {"database": problem.as_dict()}
    return known | {"head": head, "instances": instances, "serving": serving, "problems": problems, "usage": usage}

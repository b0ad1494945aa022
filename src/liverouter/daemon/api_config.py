"""Routes that show, check, change and try the config."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from liverouter.config.params import PARAMS
from liverouter.config.settings import SETTINGS
from liverouter.daemon import models as shapes
from liverouter.daemon.context import Context, Using
from liverouter.daemon.problem_details import ApiError, answer, documented
from liverouter.daemon.trial import answered, streamed
from liverouter.errors import ConflictError
from liverouter.providers import NO_HOSTS, PROVIDERS, ProviderSpec
from liverouter.providers.parameters import KINDS
from liverouter.routing.model_map import model_names

IfMatch = Annotated[
    str | None,
    Header(
        description='The revision that is edited, `"7"`; `*`: whichever it is.',
        json_schema_extra={"type": "string", "pattern": r'^("\d{1,18}"|\*)$'},
    ),
]

_suggested: Final = cache(model_names)
_ETAG: Final = re.compile(r'"(\d{1,18})"')
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The answer; with `stream` as events: text, then answer (an Answer) or error (ProblemDetails)",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {"event": {"enum": ["text", "answer", "error"]}, "data": {"type": "string"}},
                    "required": ["event", "data"],
                }
            }
        },
    }
}


router = APIRouter(prefix="/api", tags=["config"])


@router.get("/config", response_model=shapes.Config, responses=documented(503))
async def read_config(context: Using, response: Response) -> shapes.Config:
    """The stored config. `ETag` is its revision, for `If-Match`."""
    config = await context.desired.read()
    response.headers["ETag"] = _etag(config.revision)
    return config


@router.put("/config", response_model=shapes.Saved, responses=documented(400, 409, 412, 413, 415, 422, 428, 503))
async def save_config(context: Using, edit: shapes.Edit, response: Response, if_match: IfMatch = None) -> Any:
    """Change settings and secrets in one transaction; what is not named stays as it is.

    `If-Match` is required (428): the revision that was edited. Somebody else's newer one is 412, with `current` and
    `changes`, and nothing is changed. A config that is not valid yet is stored, and its problems are returned:
    processes keep their last-known-good, and may have credentials that this one does not know of.
    """
    expected = _expected(if_match, required=True)
    try:
        saved = await context.desired.save(edit, expected_revision=expected)
    except ConflictError as exc:
        return await _conflict(context, exc, expected)
    return _saved(context, saved, response)


@router.post("/rollback", response_model=shapes.Saved, responses=documented(400, 404, 412, 413, 415, 422, 503))
async def roll_back(context: Using, body: shapes.RollbackBody, response: Response, if_match: IfMatch = None) -> Any:
    """Restore settings and secrets as they were at a revision, as a new revision. `If-Match` is optional here."""
    expected = _expected(if_match, required=False)
    try:
        saved = await context.desired.rollback(body, expected_revision=expected)
    except ConflictError as exc:
        return await _conflict(context, exc, expected)
    return _saved(context, saved, response)


@router.post("/check", response_model=shapes.Checked, responses=documented(400, 409, 413, 415, 422, 503))
async def check_config(context: Using, body: shapes.CheckBody) -> shapes.Checked:
    """Say whether the stored config with this draft over it would serve. Stores and activates nothing.

    It is judged with the daemon's environment. `live` calls each deployment once, with a few tokens; with `name` those
    of one model.
    """
    async with context.checking:
        return await context.desired.check(body, context.live.io)


@router.post("/try", response_model=shapes.Answer, responses=documented(400, 404, 413, 415, 422, 502, 503) | _STREAM)
async def try_model(context: Using, body: shapes.TryBody) -> Any:
    """Ask a model that this process serves, or one of its deployments alone, and say who answered."""
    if body.stream:
        return StreamingResponse(await streamed(context, body), media_type="text/event-stream")
    return await answered(context, body)


@router.get("/providers", response_model=shapes.Catalog, responses=documented())
async def read_providers() -> shapes.Catalog:
    """What can be configured: providers with their fields, and all settings."""
    return _CATALOG


@router.get("/models", response_model=shapes.Models, responses=documented())
async def read_models() -> shapes.Models:
    """Model names to choose from, by provider."""
    return shapes.Models(models=await asyncio.to_thread(_suggested))


@router.get("/revisions", response_model=list[shapes.RevisionRow], responses=documented(422, 503))
async def read_revisions(context: Using, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> list[dict[str, Any]]:
    """The newest revisions: who changed what, when, through which application, and why."""
    return await context.desired.history(limit)


@router.get(
    "/diff",
    response_model=list[shapes.Change],
    response_model_exclude_unset=True,
    responses=documented(404, 422, 503),
)
async def read_diff(context: Using, a: shapes.Revision, b: shapes.Revision) -> list[dict[str, Any]]:
    """What differs between two revisions; of a secret the fingerprint."""
    return await context.desired.diff(a, b)


def _etag(revision: int) -> str:
    return f'"{revision}"'


def _expected(if_match: str | None, *, required: bool) -> int | None:
    """Return the revision that the header *if_match* names; None for any, where it is `*` or not *required*.

    Raises:
        ApiError: it is missing and *required* (428), or holds no revision (400).
    """
    if if_match is None:
        if not required:
            return None
        hint = "Send If-Match with the ETag of GET /api/config, or `*` to overwrite whatever is there"
        raise ApiError(428, "If-Match is missing", code="LR608", where="header If-Match", hint=hint)
    if if_match.strip() == "*":
        return None
    if (found := _ETAG.fullmatch(if_match.strip())) is None:
        hint = 'Write the revision in double quotes: If-Match: "7"'
        raise ApiError(400, "If-Match holds no revision", code="LR603", where="header If-Match", hint=hint)
    return int(found[1])


def _saved(context: Context, saved: shapes.Saved, response: Response) -> shapes.Saved:
    """Return *saved*, with its revision as the ETag of *response*; open pages look for it at once."""
    response.headers["ETag"] = _etag(saved.revision)
    context.watch.wake()
    return saved


async def _conflict(context: Context, exc: ConflictError, expected: int | None) -> Response:
    """Return the 412 for *exc*: the newest revision, its ETag, and what changed since *expected*."""
    members = await context.desired.conflict(expected)
    headers = {"ETag": _etag(members["current"]["revision"])}
    return answer(412, [exc.problem], headers=headers, **members)


def _provider(spec: ProviderSpec) -> shapes.Provider:
    """Return *spec* for people; of its parameters those that any of its models takes."""
    return shapes.Provider(
        name=spec.name,
        label=spec.label,
        fields=[shapes.ProviderField.model_validate(field, from_attributes=True) for field in spec.fields],
        needs=[list(group) for group in spec.needs],
        own_hosts=f"^({(NO_HOSTS if spec.vendors else spec.own_hosts).pattern})$",
        own_fields=[name for name in (spec.deployment_field, spec.base_model_field) if name],
        params=[name for name in PARAMS if name in spec.ever_takes],
    )


_CATALOG: Final = shapes.Catalog(
    params=[
        shapes.ParamSpec(name=param.name, kind=KINDS[param.name], wanted=param.wanted, words=list(param.words))
        for param in PARAMS.values()
    ],
    providers=[_provider(spec) for spec in PROVIDERS.values()],
    settings=[shapes.SettingSpec.model_validate(setting, from_attributes=True) for setting in SETTINGS.values()],
)

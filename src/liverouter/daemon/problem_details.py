"""Errors as RFC 9457 problem details: one shape for every answer from 400 on."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse

from liverouter.errors import CODES, MOST_PROBLEMS, ConfigError, DatabaseError, LiveRouterError, NotReadyError, Problem
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fastapi.exceptions import RequestValidationError

MEDIA_TYPE: Final = "application/problem+json"

UNFORESEEN: Final = Problem("LR699", "an error nobody foresaw", "daemon", "Look at the log of `liverouter serve`")
_STATUS: Final = {  # of an error that names no HTTP status itself
    "LR211": 412,
    "LR212": 422,
    "LR213": 404,
    "LR307": 504,
    "LR403": 409,
    "LR404": 409,
}
_STATUS_OF_GROUP: Final = {"LR1": 422, "LR2": 503, "LR3": 502, "LR4": 503, "LR5": 409}


class ProblemModel(BaseModel):
    """One thing that is wrong, where, and how to mend it."""

    severity: str
    code: str
    where: str
    message: str
    hint: str


class ProblemDetails(BaseModel):
    """RFC 9457. `code`, `where` and `hint` are those of the first of `problems`."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    where: str
    hint: str
    problems: list[ProblemModel]


class ApiError(LiveRouterError):
    """An error that knows its HTTP status and the headers of its answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        where: str = "request",
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep *status* and *headers* for the answer; the rest is as in LiveRouterError."""
        super().__init__(message, code=code, where=where, hint=hint)
        self.status, self.headers = status, dict(headers or {})


def newest(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the first of *rows*, of the history or of what came of each revision, newest first.

    Raises:
        DatabaseError: there is none, as somebody has emptied the history (LR214).
    """
    if rows:
        return rows[0]
    hint = "Make the rows a revision: liverouter repair"
    raise DatabaseError("the history is empty", code="LR214", where="liverouter.revision_log", hint=hint)


def problem_models(rows: Iterable[dict[str, Any]]) -> list[ProblemModel]:
    """Return rows of the view `problems` in the shape that all Problems have here."""
    return [
        ProblemModel(
            severity=row["severity"],
            code=row["code"],
            where=row["object"] or "",
            message=row["message"] or "",
            hint=row["hint"] or "",
        )
        for row in rows
    ]


def answer(
    status: int, problems: Sequence[Problem], *, headers: Mapping[str, str] | None = None, **members: Any
) -> JSONResponse:
    """Return the answer for *problems*, at least one; *members* are added to the problem object."""
    first = problems[0]
    body = {
        "type": f"urn:liverouter:{first.code}",
        "title": CODES[first.code],
        "status": status,
        "detail": first.message,
        "code": first.code,
        "where": first.where,
        "hint": first.hint,
        "problems": [p.as_dict() for p in problems],
        **members,
    }
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def from_error(exc: LiveRouterError) -> JSONResponse:
    """Return the answer for an error of liverouter's own."""
    if isinstance(exc, ApiError):
        return answer(exc.status, [exc.problem], headers=exc.headers)
    status = _STATUS.get(exc.code) or _STATUS_OF_GROUP.get(exc.code[:3], 500)
    problems = exc.problems if isinstance(exc, ConfigError | NotReadyError) and exc.problems else (exc.problem,)
    return answer(status, problems, headers={"Retry-After": "2"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None)


def from_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer for an error that the framework found: no such path, no such method, an unreadable body."""
    code = "LR607" if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED) else "LR603"
    hint = "GET /api/openapi.json lists what there is" if code == "LR607" else "See GET /api/openapi.json"
    return answer(status, [Problem(code, detail, "request", hint)], headers=headers)


def from_validation(exc: RequestValidationError) -> JSONResponse:
    """Return the answer for a request whose parts have the wrong shape. It repeats no value: one may be a secret."""
    problems = [
        Problem("LR603", mask(str(error["msg"])), _place(error["loc"]), "See GET /api/openapi.json")
        for error in exc.errors()[:MOST_PROBLEMS]
    ]
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, problems)


def unforeseen() -> JSONResponse:
    """Return the answer for an error that nobody foresaw; the log says more."""
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, [UNFORESEEN])


def _place(loc: Sequence[Any]) -> str:
    """Return pydantic's location as ``body.settings.llm_model``; a member's name is the sender's, so it is masked."""
    return ".".join(mask(str(part), 80) for part in loc[:6])


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI error responses of a route under /api: those of the request guard, and *statuses*.

    A route with a body names 413 among them.
    """
    of_guard = (401, 403, 429, *((408,) if HTTPStatus.REQUEST_ENTITY_TOO_LARGE in statuses else ()))
    return {
        status: {"model": ProblemDetails, "description": HTTPStatus(status).phrase}
        for status in sorted({*of_guard, *statuses})
    }

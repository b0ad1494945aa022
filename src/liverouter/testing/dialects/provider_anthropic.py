"""Anthropic's HTTP surface: paths, credentials, errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_anthropic import VERSIONS
from liverouter.testing.dialects.wire_anthropic import Messages
from liverouter.testing.standin.checks import bearer
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import (
    Ask,
    ChatEndpoint,
    Endpoint,
    HttpReply,
    Incoming,
    JsonObject,
    Provider,
    RejectedError,
    SideEndpoint,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# error type and message of each HTTP failure; {model} and {tokens} are filled in
_SCRIPTED: Mapping[Failure, tuple[str, str]] = {
    Failure.BAD_REQUEST: ("invalid_request_error", "The stand-in was told to refuse this request."),
    Failure.CONTEXT_WINDOW: ("invalid_request_error", "prompt is too long: {tokens} tokens > 200000 maximum"),
    Failure.CONTENT_POLICY: ("invalid_request_error", "Output blocked by content filtering policy"),
    Failure.UNAUTHORIZED: ("authentication_error", "invalid x-api-key"),
    Failure.FORBIDDEN: ("permission_error", "Your API key does not have permission to use the specified resource."),
    Failure.NOT_FOUND: ("not_found_error", "model: {model}"),
    Failure.TIMEOUT: ("timeout_error", "Request timed out"),
    Failure.TOO_LARGE: ("request_too_large", "Request exceeds the maximum size"),
    Failure.UNPROCESSABLE: ("invalid_request_error", "The request could not be processed."),
    Failure.RATE_LIMIT: (
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute.",
    ),
    Failure.SERVER_ERROR: ("api_error", "Internal server error"),
    Failure.BAD_GATEWAY: ("api_error", "Bad gateway"),
    Failure.UNAVAILABLE: ("api_error", "Service unavailable"),
    Failure.OVERLOADED: ("overloaded_error", "Overloaded"),
    Failure.OUT_OF_MONEY: (
        "invalid_request_error",
        (
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits."
        ),
    ),
    Failure.DISABLED: ("invalid_request_error", "This organization has been disabled."),
    Failure.UNKNOWN_MODEL: ("not_found_error", "model: {model}"),
}
_STATUS: Mapping[Failure, int] = {Failure.UNKNOWN_MODEL: 404}  # of failures that providers give several


def anthropic_error(rejected: RejectedError) -> HttpReply:
    """Write `{"type": "error", "error": {"type", "message"}, "request_id"}`."""
    kind, _ = _SCRIPTED[rejected.failure]
    message = rejected.message
    match rejected.failure, rejected.code:
        case Failure.UNAUTHORIZED, "missing":
            message = "x-api-key header is required"
        case Failure.UNAUTHORIZED, "wrong":
            message = "invalid x-api-key"
    body: JsonObject = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_standin"}
    return HttpReply(rejected.status, json.dumps(body).encode(), headers=(("request-id", "req_standin"),))


def anthropic_words(failure: Failure, ask: Ask) -> RejectedError:
    """Return Anthropic's wording of *failure*."""
    _, message = _SCRIPTED[failure]
    text = message.format(model=ask.model, tokens=ask.input_tokens + 200_000)
    return RejectedError(failure, text, status=_STATUS.get(failure))


class Anthropic(Provider):
    """Anthropic's HTTP surface."""

    name = "anthropic"
    api_path = ""

    def __init__(self) -> None:
        """Know the paths."""
        self._chat = {version: ChatEndpoint(Messages(version=version)) for version in VERSIONS}
        self._models = SideEndpoint("models", _models)

    def find(self, request: Incoming) -> Endpoint | None:
        """Return what the path serves."""
        match request.method, request.path:
            case "POST", "/v1/messages":
                return self._chat.get(request.headers.get("anthropic-version", ""), self._chat[VERSIONS[0]])
            case "GET", "/v1/models":
                return self._models
            case _:
                return None

    def credential(self, request: Incoming) -> str | None:
        """Return the API key: `x-api-key`, which wins, or a bearer token, as Anthropic's SDK sends it since version 2.

        Raises:
            RejectedError: the API version is not named, or there is none of that name.
        """
        key = request.headers.get("x-api-key") or bearer(request)
        version = request.headers.get("anthropic-version")
        if key and not version:
            raise RejectedError(Failure.BAD_REQUEST, "anthropic-version: header is required")
        if key and version not in VERSIONS:
            raise RejectedError(Failure.BAD_REQUEST, f'anthropic-version: "{version}" is not a valid version')
        return key

    def error(self, rejected: RejectedError, endpoint: Endpoint | None) -> HttpReply:
        """Write an error in Anthropic's shape."""
        del endpoint
        return anthropic_error(rejected)

    def scripted(self, failure: Failure, endpoint: ChatEndpoint, ask: Ask) -> RejectedError:
        """Return Anthropic's wording of *failure*."""
        del endpoint
        return anthropic_words(failure, ask)


def _models(request: Incoming) -> HttpReply:
    del request
    model = {"type": "model", "id": "stand-in", "display_name": "Stand-in", "created_at": "2026-01-01T00:00:00Z"}
    listed = {"data": [model], "has_more": False, "first_id": "stand-in", "last_id": "stand-in"}
    return HttpReply(200, json.dumps(listed).encode())

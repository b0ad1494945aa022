"""OpenAI's HTTP surface: paths, credentials, errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from liverouter.testing.dialects.wire_openai import CREATED, ChatCompletions
from liverouter.testing.dialects.wire_openai_responses import Responses
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

# type, code, message of each HTTP failure; {model} and {tokens} are filled in
_SCRIPTED: Mapping[Failure, tuple[str, str | None, str]] = {
    Failure.BAD_REQUEST: ("invalid_request_error", None, "Invalid request: the stand-in was told to say so."),
    Failure.CONTEXT_WINDOW: (
        "invalid_request_error",
        "context_length_exceeded",
        (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in {tokens} tokens. "
            "Please reduce the length of the messages."
        ),
    ),
    Failure.CONTENT_POLICY: (
        "invalid_request_error",
        "invalid_prompt",
        (
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy. "
            "Please try again with a different prompt."
        ),
    ),
    Failure.UNAUTHORIZED: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sk-****."),
    Failure.FORBIDDEN: (
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    Failure.NOT_FOUND: (
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    Failure.TIMEOUT: ("timeout", "request_timeout", "Request timed out."),
    Failure.TOO_LARGE: ("invalid_request_error", "request_too_large", "Request body is too large."),
    Failure.UNPROCESSABLE: ("invalid_request_error", None, "The request could not be processed."),
    Failure.RATE_LIMIT: (
        "requests",
        "rate_limit_exceeded",
        (
            "Rate limit reached for {model} in organization org-standin on requests per min (RPM): Limit 3, Used 3, "
            "Requested 1. Please try again in 20s."
        ),
    ),
    Failure.SERVER_ERROR: (
        "server_error",
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    Failure.BAD_GATEWAY: ("cf_bad_gateway", None, "Bad gateway."),
    Failure.UNAVAILABLE: ("server_error", None, "The engine is currently overloaded, please try again later."),
    Failure.OVERLOADED: ("server_error", "overloaded", "The engine is currently overloaded, please try again later."),
    Failure.OUT_OF_MONEY: (
        "invalid_request_error",
        "billing_hard_limit_reached",
        "Billing hard limit has been reached.",
    ),
    Failure.DISABLED: (
        "invalid_request_error",
        "account_deactivated",
        (
            "The OpenAI account associated with this API key has been deactivated. Please check your email for more "
            "information."
        ),
    ),
    Failure.UNKNOWN_MODEL: (
        "invalid_request_error",
        "model_not_found",
        "The requested model '{model}' does not exist.",
    ),
}
_STATUS: Mapping[Failure, int] = {Failure.DISABLED: 401}  # of failures that providers give several


class OpenAI(Provider):
    """OpenAI's HTTP surface."""

    name = "openai"
    api_path = "/v1"

    def __init__(self) -> None:
        """Know the paths."""
        self._chat = ChatEndpoint(ChatCompletions())
        self._responses = ChatEndpoint(Responses())
        self._models = SideEndpoint("models", _models)

    def find(self, request: Incoming) -> Endpoint | None:
        """Return what the path serves."""
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                return self._chat
            case "POST", "/v1/responses":
                return self._responses
            case "GET", "/v1/models":
                return self._models
            case _:
                return None

    def credential(self, request: Incoming) -> str | None:
        """Return the bearer token."""
        return bearer(request)

    def error(self, rejected: RejectedError, endpoint: Endpoint | None) -> HttpReply:
        """Write `{"error": {"message", "type", "param", "code"}}`."""
        del endpoint
        kind, code, message = _SCRIPTED[rejected.failure]
        match rejected.failure, rejected.code:
            case Failure.UNAUTHORIZED, "missing":
                kind, code, message = "invalid_request_error", None, "You didn't provide an API key."
            case Failure.UNAUTHORIZED, "wrong":
                pass
            case Failure.NOT_FOUND, "path":
                kind, code, message = "invalid_request_error", None, f"Invalid URL ({rejected.message})"
            case _:
                message, code = rejected.message, rejected.code or code
        return error_reply(
            rejected.status,
            {"error": {"message": message, "type": kind, "param": rejected.param, "code": code}},
            request_id="x-request-id",
        )

    def scripted(self, failure: Failure, endpoint: ChatEndpoint, ask: Ask) -> RejectedError:
        """Return OpenAI's wording of *failure*."""
        del endpoint
        _, code, message = _SCRIPTED[failure]
        text = message.format(model=ask.model, tokens=ask.input_tokens + 128_000)
        return RejectedError(failure, text, code=code, status=_STATUS.get(failure))


def error_reply(status: int, body: JsonObject, *, request_id: str) -> HttpReply:
    """Return an error with the header that carries a provider's request id."""
    return HttpReply(status, json.dumps(body).encode(), headers=((request_id, "req_standin"),))


def _models(request: Incoming) -> HttpReply:
    del request
    model = {"id": "stand-in", "object": "model", "created": CREATED, "owned_by": "liverouter"}
    return HttpReply(200, json.dumps({"object": "list", "data": [model]}).encode())

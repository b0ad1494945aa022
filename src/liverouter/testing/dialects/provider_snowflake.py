"""Snowflake Cortex's HTTP surface: both body formats, tokens of three types, flat errors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_anthropic_parameters import check_model as check_claude_model
from liverouter.testing.dialects.checks_openai_parameters import (
    CORTEX_PARAMETERS,
    check_cortex_model,
    check_parameters,
)
from liverouter.testing.dialects.checks_snowflake import check_history
from liverouter.testing.dialects.models import claude_model, cortex_model
from liverouter.testing.dialects.provider_anthropic import anthropic_words
from liverouter.testing.dialects.provider_openai import OpenAI, error_reply
from liverouter.testing.dialects.wire_anthropic import Messages, event
from liverouter.testing.dialects.wire_openai import ChatCompletions
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
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = "/api/v2/cortex/v1"
_TOKEN_TYPES = frozenset({"KEYPAIR_JWT", "OAUTH", "PROGRAMMATIC_ACCESS_TOKEN"})
_JWT_DOTS = 2
# code and message where Snowflake answers itself; the rest is worded by the model's service
_SCRIPTED: Mapping[Failure, tuple[str, str]] = {
    Failure.UNAUTHORIZED: ("390303", "Invalid OAuth access token."),
    Failure.FORBIDDEN: (
        "003001",
        "This account is not allowed to access this endpoint. Please contact Snowflake support.",
    ),
    Failure.NOT_FOUND: ("370001", 'unknown model "{model}"'),
    Failure.TIMEOUT: ("000408", "The request timed out."),
    Failure.TOO_LARGE: ("000413", "The request body is too large."),
    Failure.UNPROCESSABLE: ("000422", "The request could not be processed."),
    Failure.RATE_LIMIT: ("000429", "too many requests: the account's limit was reached."),
    Failure.SERVER_ERROR: ("370000", "Internal error."),
    Failure.BAD_GATEWAY: ("000502", "Bad gateway."),
    Failure.UNAVAILABLE: ("390503", "The service is temporarily unavailable."),
    Failure.OVERLOADED: ("000529", "The model is overloaded."),
    Failure.OUT_OF_MONEY: ("000402", "budget exceeded"),
    Failure.DISABLED: ("003001", "Trial accounts are not allowed to access this endpoint."),
    Failure.UNKNOWN_MODEL: ("370001", 'unknown model "{model}"'),
}
_STATUS: Mapping[Failure, int] = {Failure.OUT_OF_MONEY: 402}  # of failures that providers give several
_BAD_REQUEST_CODE = "390142"


class CortexCompletions(ChatCompletions):
    """Chat completions as Cortex serves them: with the parameters that it documents."""

    def check(self, body: JsonObject, model: str | None) -> None:
        """Raise for parameters that Cortex or the model does not take."""
        check_parameters(body, CORTEX_PARAMETERS, model=model)
        check_cortex_model(body, body["model"])

    def check_history(self, messages: list[JsonObject], *, model: str) -> None:
        """Raise for a history that Cortex does not take."""
        check_history(messages, model=model)


class CortexMessages(Messages):
    """Anthropic's messages as Cortex serves them: shorter, and inside a stream, errors keep Anthropic's shape."""

    def check_model(self, body: JsonObject, name: str) -> None:
        """Raise for parameters that the model *name* does not take, or not so much of."""
        check_claude_model(body, replace(claude_model(name), max_output=cortex_model(name).max_output))

    def error_frame(self, error: HttpReply) -> bytes:
        """Write *error*, which has Snowflake's flat shape, as Anthropic's `error` event."""
        message = json.loads(error.body)["message"]
        return event({"type": "error", "error": {"type": "api_error", "message": message}})


class SnowflakeCortex(Provider):
    """Snowflake Cortex's HTTP surface."""

    name = "snowflake-cortex"
    api_path = "/api/v2"

    def __init__(self) -> None:
        """Know the body formats."""
        self._chat = ChatEndpoint(CortexCompletions())
        self._messages = ChatEndpoint(CortexMessages())
        self._openai = OpenAI()

    def find(self, request: Incoming) -> Endpoint | None:
        """Return what the path serves."""
        match request.method, request.path.removeprefix(_ROOT):
            case "POST", "/chat/completions":
                return self._chat
            case "POST", "/messages":
                return self._messages
            case _:
                return None

    def credential(self, request: Incoming) -> str | None:
        """Return the bearer token.

        Raises:
            RejectedError: the token type is none of Snowflake's, or not that of the token.
        """
        token = bearer(request)
        kind = request.headers.get("x-snowflake-authorization-token-type")
        if token and kind is not None:
            if kind not in _TOKEN_TYPES:
                raise RejectedError(Failure.UNAUTHORIZED, f"Unknown token type {kind}.", code="390101")
            if kind == "KEYPAIR_JWT" and token.count(".") != _JWT_DOTS:
                raise RejectedError(Failure.UNAUTHORIZED, "JWT token is invalid.", code="390144")
            if kind == "PROGRAMMATIC_ACCESS_TOKEN" and token.startswith("pat/"):
                raise RejectedError(Failure.UNAUTHORIZED, "Programmatic access token is invalid.", code="394400")
        return token

    def error(self, rejected: RejectedError, endpoint: Endpoint | None) -> HttpReply:
        """Write `{"code", "message", "request_id", "error_code"}`."""
        del endpoint
        code, message = _SCRIPTED.get(rejected.failure, (_BAD_REQUEST_CODE, rejected.message))
        match rejected.failure, rejected.code:
            case Failure.UNAUTHORIZED, "missing":
                code, message = "390101", "Authorization header not found in the request data."
            case Failure.UNAUTHORIZED, "wrong":
                pass
            case Failure.UNAUTHORIZED, str(own):
                code, message = own, rejected.message
            case _:
                message = rejected.message
        body = {"code": code, "message": message, "request_id": "standin-request", "error_code": code}
        return error_reply(rejected.status, body, request_id="x-snowflake-request-id")

    def scripted(self, failure: Failure, endpoint: ChatEndpoint, ask: Ask) -> RejectedError:
        """Return Snowflake's wording of *failure*, or that of the model's service."""
        if failure in _SCRIPTED:
            _, message = _SCRIPTED[failure]
            return RejectedError(failure, message.format(model=ask.model), status=_STATUS.get(failure))
        if endpoint is self._messages:
            return anthropic_words(failure, ask)
        return self._openai.scripted(failure, endpoint, ask)

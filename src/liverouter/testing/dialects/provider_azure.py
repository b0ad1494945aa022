"""Azure OpenAI's HTTP surface: deployments in the path, an API version in the query, its own errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from liverouter.testing.dialects.provider_openai import error_reply
from liverouter.testing.dialects.wire_openai import ChatCompletions, sse
from liverouter.testing.standin.checks import bearer
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import (
    Answer,
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

_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/chat/completions")
_V1 = "/openai/v1/chat/completions"
_API_VERSION = re.compile(r"\d{4}-\d\d-\d\d(-preview)?|preview|latest|v1")
_CATEGORIES = ("hate", "self_harm", "sexual", "violence")
_HARMLESS: JsonObject = {category: {"filtered": False, "severity": "safe"} for category in _CATEGORIES}


class AzureChatCompletions(ChatCompletions):
    """Chat completions with Azure's content-filter results, and its opening event without choices."""

    def __init__(self) -> None:
        """Accept what Azure adds to OpenAI's parameters."""
        super().__init__(more_parameters={"data_sources": (list,), "user_security_context": (dict,)})

    def body_extras(self) -> JsonObject:
        """Return the prompt's filter results."""
        return {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _HARMLESS}]}

    def choice_extras(self) -> JsonObject:
        """Return the answer's filter results."""
        return {"content_filter_results": _HARMLESS}

    def stream_preamble(self, answer: Answer) -> bytes:
        """Return the event that carries the prompt's filter results."""
        head = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
        return sse({**head, **self.body_extras()}) + super().stream_preamble(answer)


# code and message of each HTTP failure; {model} and {tokens} are filled in
_SCRIPTED: Mapping[Failure, tuple[str | None, str]] = {
    Failure.BAD_REQUEST: ("BadRequest", "The stand-in was told to refuse this request."),
    Failure.CONTEXT_WINDOW: (
        "context_length_exceeded",
        (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in {tokens} tokens. "
            "Please reduce the length of the messages."
        ),
    ),
    Failure.CONTENT_POLICY: (
        "content_filter",
        (
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
            "Please modify your prompt and retry."
        ),
    ),
    Failure.UNAUTHORIZED: (
        "401",
        (
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for "
            "an active subscription and use a correct regional API endpoint for your resource."
        ),
    ),
    Failure.FORBIDDEN: ("403", "Access denied due to Virtual Network/Firewall rules."),
    Failure.NOT_FOUND: (
        "DeploymentNotFound",
        (
            "The API deployment for this resource does not exist. If you created the deployment within the last "
            "5 minutes, please wait a moment and try again."
        ),
    ),
    Failure.TIMEOUT: ("Timeout", "The operation was timeout."),
    Failure.TOO_LARGE: ("RequestEntityTooLarge", "The request body is too large."),
    Failure.UNPROCESSABLE: ("UnprocessableEntity", "The request could not be processed."),
    Failure.RATE_LIMIT: (
        "429",
        (
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded the call rate limit "
            "of your current pricing tier. Please retry after 20 seconds."
        ),
    ),
    Failure.SERVER_ERROR: (
        "InternalServerError",
        "The server had an error while processing your request. Sorry about that!",
    ),
    Failure.BAD_GATEWAY: ("BadGateway", "Bad gateway."),
    Failure.UNAVAILABLE: ("ServiceUnavailable", "The service is temporarily unable to process your request."),
    Failure.OVERLOADED: ("Overloaded", "The service is temporarily overloaded."),
    Failure.OUT_OF_MONEY: (
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Failure.DISABLED: ("403", "Public access is disabled. Please configure private endpoint."),
    Failure.UNKNOWN_MODEL: (
        "OperationNotSupported",
        (
            "The chatCompletion operation does not work with the specified model, {model}. Please choose different "
            "model and try again."
        ),
    ),
}
_STATUS: Mapping[Failure, int] = {Failure.OUT_OF_MONEY: 429, Failure.DISABLED: 403}  # where providers differ


class AzureOpenAI(Provider):
    """Azure OpenAI's HTTP surface."""

    name = "azure-openai"
    api_path = ""

    def __init__(self) -> None:
        """Know the body format."""
        self._wire = AzureChatCompletions()

    def find(self, request: Incoming) -> Endpoint | None:
        """Return what the path serves; a deployment is served as the model of its name."""
        if request.method != "POST":
            return None
        if request.path == _V1:
            return ChatEndpoint(self._wire)
        found = _DEPLOYMENT.fullmatch(request.path)
        return ChatEndpoint(self._wire, model=found[1]) if found else None

    def credential(self, request: Incoming) -> str | None:
        """Return the API key or the Entra ID token.

        Raises:
            RejectedError: the API version is missing or malformed; the /openai/v1 path needs none.
        """
        version = request.query.get("api-version", "v1" if request.path == _V1 else "")
        if not _API_VERSION.fullmatch(version):
            raise RejectedError(Failure.NOT_FOUND, "Resource not found", code="path")
        return request.headers.get("api-key") or bearer(request)

    def error(self, rejected: RejectedError, endpoint: Endpoint | None) -> HttpReply:
        """Write `{"error": {"code", "message", …}}`."""
        del endpoint
        code, words = _SCRIPTED[rejected.failure]
        error: JsonObject
        match rejected.failure, rejected.code:
            case Failure.UNAUTHORIZED, _:
                error = {"code": code, "message": words}
            case Failure.NOT_FOUND, "path":
                error = {"code": "404", "message": "Resource not found"}
            case Failure.CONTENT_POLICY, _:
                error = {
                    "message": rejected.message,
                    "type": None,
                    "param": "prompt",
                    "code": code,
                    "status": 400,
                    "innererror": {
                        "code": "ResponsibleAIPolicyViolation",
                        "content_filter_result": {**_HARMLESS, "violence": {"filtered": True, "severity": "high"}},
                    },
                }
            case Failure.BAD_REQUEST | Failure.CONTEXT_WINDOW, _:
                error = {
                    "message": rejected.message,
                    "type": "invalid_request_error",
                    "param": rejected.param,
                    "code": rejected.code or code,
                }
            case _:
                error = {"code": code, "message": rejected.message}
        return error_reply(rejected.status, {"error": error}, request_id="apim-request-id")

    def scripted(self, failure: Failure, endpoint: ChatEndpoint, ask: Ask) -> RejectedError:
        """Return Azure's wording of *failure*."""
        del endpoint
        code, message = _SCRIPTED[failure]
        text = message.format(model=ask.model, tokens=ask.input_tokens + 128_000)
        return RejectedError(failure, text, code=code, status=_STATUS.get(failure))

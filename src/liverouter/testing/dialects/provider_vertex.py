"""Vertex AI's HTTP surface: Gemini and Claude by path, bearer tokens from its own token endpoint, Google's errors.

Gemini answers at the paths of Google AI Studio's API as well, where a key is its credential.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_anthropic import LATEST
from liverouter.testing.dialects.google_token import TOKEN_PATH, TokenDesk
from liverouter.testing.dialects.provider_anthropic import anthropic_error, anthropic_words
from liverouter.testing.dialects.wire_anthropic import Messages
from liverouter.testing.dialects.wire_gemini import GenerateContent
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

_MODEL = re.compile(r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/publishers/(google|anthropic)/models/([^/:]+):(\w+)")
_OF_STUDIO = re.compile(r"/v1beta/models/([^/:]+):(\w+)")
_ANTHROPIC_VERSIONS = ("vertex-2023-10-16", LATEST)
_CLAUDE_ITSELF = frozenset(  # failures that the model's own service words; Google words the rest
    {
        Failure.BAD_REQUEST,
        Failure.CONTEXT_WINDOW,
        Failure.CONTENT_POLICY,
        Failure.TOO_LARGE,
        Failure.UNPROCESSABLE,
        Failure.SERVER_ERROR,
        Failure.OVERLOADED,
    }
)


class VertexMessages(Messages):
    """Anthropic's messages as Vertex takes them: the model in the path, the version in the body."""

    def __init__(self) -> None:
        """Expect a version and no model."""
        super().__init__(
            more_parameters=("anthropic_version", "anthropic_beta"),
            fewer_parameters=("model",),
            required=("anthropic_version", "messages", "max_tokens"),
        )

    def version_of(self, body: JsonObject) -> str:
        """Return the API version that the body names."""
        version = str(body["anthropic_version"])
        if version not in _ANTHROPIC_VERSIONS:
            raise RejectedError(Failure.BAD_REQUEST, f"anthropic_version: Input should be '{_ANTHROPIC_VERSIONS[0]}'")
        return version


# status and message of each HTTP failure; {model} and {tokens} are filled in
_SCRIPTED: Mapping[Failure, tuple[str, str]] = {
    Failure.BAD_REQUEST: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    Failure.CONTEXT_WINDOW: (
        "INVALID_ARGUMENT",
        "The input token count ({tokens}) exceeds the maximum number of tokens allowed (1048576).",
    ),
    Failure.CONTENT_POLICY: (
        "INVALID_ARGUMENT",
        "The response was blocked. The prompt could not be submitted as it contains prohibited content.",
    ),
    Failure.UNAUTHORIZED: (
        "UNAUTHENTICATED",
        (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential."
        ),
    ),
    Failure.FORBIDDEN: (
        "PERMISSION_DENIED",
        "Permission 'aiplatform.endpoints.predict' denied on resource '{model}' (or it may not exist).",
    ),
    Failure.NOT_FOUND: (
        "NOT_FOUND",
        "Publisher Model `{model}` was not found or your project does not have access to it.",
    ),
    Failure.TIMEOUT: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
    Failure.TOO_LARGE: ("INVALID_ARGUMENT", "Request payload size exceeds the limit: 524288000 bytes."),
    Failure.UNPROCESSABLE: ("FAILED_PRECONDITION", "The request could not be processed."),
    Failure.RATE_LIMIT: ("RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."),
    Failure.SERVER_ERROR: ("INTERNAL", "Internal error encountered."),
    Failure.BAD_GATEWAY: ("UNAVAILABLE", "Bad gateway."),
    Failure.UNAVAILABLE: ("UNAVAILABLE", "The service is currently unavailable."),
    Failure.OVERLOADED: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    Failure.OUT_OF_MONEY: (
        "PERMISSION_DENIED",
        "This API method requires billing to be enabled. Please enable billing on project #standin-project.",
    ),
    Failure.DISABLED: ("FAILED_PRECONDITION", "User location is not supported for the API use."),
    Failure.UNKNOWN_MODEL: (
        "FAILED_PRECONDITION",
        "The publisher model `{model}` is not servable in region us-east5.",
    ),
}
_STATUS: Mapping[Failure, int] = {Failure.OUT_OF_MONEY: 403}  # of failures that providers give several
_REASONS: Mapping[Failure, str] = {Failure.OUT_OF_MONEY: "BILLING_DISABLED"}


class VertexAI(Provider):
    """Vertex AI's HTTP surface."""

    name = "vertex-ai"
    api_path = ""

    def __init__(self) -> None:
        """Know the body formats and open the token desk."""
        self._gemini = GenerateContent()
        self._claude = VertexMessages()
        self._desk = TokenDesk()
        self._token = SideEndpoint("token", self._desk.serve, needs_key=False)

    def find(self, request: Incoming) -> Endpoint | None:
        """Return what the path serves."""
        if (request.method, request.path) == ("POST", TOKEN_PATH):
            return self._token
        found, studio = _MODEL.fullmatch(request.path), _OF_STUDIO.fullmatch(request.path)
        parts = found.groups() if found else ("google", *studio.groups()) if studio else ()
        match (request.method, *parts):
            case "POST", "google", model, "generateContent":
                return ChatEndpoint(self._gemini, model=model, stream=False)
            case "POST", "google", model, "streamGenerateContent" if request.query.get("alt") == "sse":
                return ChatEndpoint(self._gemini, model=model, stream=True)
            case "POST", "anthropic", model, "rawPredict" | "streamRawPredict":
                return ChatEndpoint(self._claude, model=model)  # the body says whether to stream
            case _:
                return None

    def credential(self, request: Incoming) -> str | None:
        """Return the bearer token, or Google AI Studio's key."""
        return bearer(request) or (request.headers.get("x-goog-api-key") if _OF_STUDIO.match(request.path) else None)

    def vouches_for(self, credential: str) -> bool:
        """Whether the token desk gave this token."""
        return self._desk.vouches_for(credential)

    def error(self, rejected: RejectedError, endpoint: Endpoint | None) -> HttpReply:
        """Write `{"error": {"code", "message", "status"}}`, or Anthropic's shape where Claude's service answers."""
        if self._words_itself(endpoint, rejected.failure):
            return anthropic_error(rejected)
        status, words = _SCRIPTED[rejected.failure]
        message = words if rejected.failure is Failure.UNAUTHORIZED else rejected.message
        error: JsonObject = {"code": rejected.status, "message": message, "status": status}
        if reason := _REASONS.get(rejected.failure):
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": reason, "domain": "googleapis.com"}]
        return HttpReply(rejected.status, json.dumps({"error": error}).encode())

    def scripted(self, failure: Failure, endpoint: ChatEndpoint, ask: Ask) -> RejectedError:
        """Return the wording of *failure*: Google's, or Anthropic's where Claude's service answers."""
        if self._words_itself(endpoint, failure):
            return anthropic_words(failure, ask)
        _, message = _SCRIPTED[failure]
        text = message.format(model=ask.model, tokens=ask.input_tokens + 1_048_576)
        return RejectedError(failure, text, status=_STATUS.get(failure))

    def _words_itself(self, endpoint: Endpoint | None, failure: Failure) -> bool:
        """Whether Claude's own service, and not Google, words *failure*."""
        return isinstance(endpoint, ChatEndpoint) and endpoint.wire is self._claude and failure in _CLAUDE_ITSELF

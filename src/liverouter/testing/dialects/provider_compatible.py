"""Servers that speak OpenAI's chat completions as vLLM and Ollama do: fewer parameters, and a key where one is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_openai_parameters import COMPATIBLE_PARAMETERS, check_parameters, invalid
from liverouter.testing.dialects.provider_openai import OpenAI, error_reply
from liverouter.testing.dialects.wire_openai import ChatCompletions
from liverouter.testing.standin.checks import bearer
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import ChatEndpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.testing.standin.wire import Ask, Endpoint, HttpReply, Incoming, JsonObject, RejectedError

_ANONYMOUS = "nobody"  # the credential of a request that has none
_TYPES: Mapping[int, str] = {  # of an error, by its status
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
}
_STATUS: Mapping[Failure, int] = {Failure.OUT_OF_MONEY: 402, Failure.DISABLED: 403, Failure.UNKNOWN_MODEL: 404}


class CompatibleCompletions(ChatCompletions):
    """Chat completions as such servers take them."""

    def check(self, body: JsonObject, model: str | None) -> None:
        """Raise for parameters that they do not document; `max_completion_tokens` is one."""
        check_parameters(body, COMPATIBLE_PARAMETERS, model=model)

    def check_history(self, messages: list[JsonObject], *, model: str) -> None:
        """Raise for what chat templates refuse: other roles, a system message behind others, two turns of a user."""
        del model
        for at, message in enumerate(messages):
            where, role = f"messages[{at}].role", message["role"]
            if role not in ("system", "user", "assistant", "tool"):
                raise invalid(f"Unexpected message role: {role}", where)
            if at and role == "system":
                raise invalid("System message must be at the beginning.", where)
            if role == "user" and at and messages[at - 1]["role"] == "user":
                raise invalid("Conversation roles must alternate user/assistant/user/assistant/...", where)


class OpenAICompatible(OpenAI):
    """Such a server's HTTP surface."""

    name = "openai-compatible"

    def __init__(self) -> None:
        """Know the paths."""
        super().__init__()
        self._chat = ChatEndpoint(CompatibleCompletions())

    def find(self, request: Incoming) -> Endpoint | None:
        """Return what the path serves; there is no Responses API."""
        return None if request.path == "/v1/responses" else super().find(request)

    def credential(self, request: Incoming) -> str | None:
        """Return the bearer token, or that of nobody: a server without a key asks for none."""
        return bearer(request) or _ANONYMOUS

    def error(self, rejected: RejectedError, endpoint: Endpoint | None) -> HttpReply:
        """Write `{"error": {"message", "type", "param", "code"}}`, whose code is the status."""
        del endpoint
        kind = _TYPES.get(rejected.status, "InternalServerError")
        error = {"message": rejected.message, "type": kind, "param": rejected.param, "code": rejected.status}
        return error_reply(rejected.status, {"error": error}, request_id="x-request-id")

    def scripted(self, failure: Failure, endpoint: ChatEndpoint, ask: Ask) -> RejectedError:
        """Return such a server's answer for *failure*."""
        rejected = super().scripted(failure, endpoint, ask)
        rejected.status = _STATUS.get(failure, rejected.status)
        return rejected

"""What Anthropic's Messages API refuses of parameters, in its words."""

from __future__ import annotations

from liverouter.testing.standin.checks import objects, text_of
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import JsonObject, RejectedError

LATEST = "2026-10-21"  # the API version that the official SDKs send; litellm sends 2023-06-01
VERSIONS = ("2023-01-01", "2023-06-01", LATEST)
SIGNATURE = "standin-signature-"  # begins the signature of every thinking block given; others are refused

_REMOVED = frozenset({"temperature", "top_k", "top_p"})  # by the latest version, with any value


def invalid(message: str) -> RejectedError:
    """Return the refusal of a request, as 400."""
    return RejectedError(Failure.BAD_REQUEST, message)


def is_user_turn(message: JsonObject) -> bool:
    """Whether a person speaks here, not a tool."""
    return message["role"] == "user" and (isinstance(message["content"], str) or bool(text_of(message["content"])))


def check_latest(body: JsonObject, messages: list[JsonObject]) -> None:
    """Refuse what API version 2026-10-21 removed."""
    for key in body:
        if key in _REMOVED:
            raise invalid(f"{key}: Extra inputs are not permitted")
    for at, message in enumerate(messages):
        for spot, block in enumerate(objects(message["content"])):
            where = f"messages.{at}.content.{spot}"
            if message["role"] == "user" and block["type"] == "text" and block.get("citations"):
                raise invalid(f"{where}.text.citations: Extra inputs are not permitted")

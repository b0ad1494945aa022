"""What Anthropic's Messages API refuses of parameters, in its words."""

from __future__ import annotations

from liverouter.testing.standin.checks import are_texts, objects, text_of
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import (
    JsonObject,
    RejectedError,
)

LATEST = "2026-10-21"  # the API version that the official SDKs send; litellm sends 2023-06-01
VERSIONS = ("2023-01-01", "2023-06-01", LATEST)
SIGNATURE = "standin-signature-"  # begins the signature of every thinking block given; others are refused

_REMOVED = frozenset({"temperature", "top_k", "top_p"})  # by the latest version, with any value
_THINKING = ("adaptive", "disabled", "enabled")
_MIN_BUDGET = 1024  # tokens; the least that thinking takes


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


def _check_integer(value: object, where: str, least: int) -> None:
    """Raise where *value* is no integer or is below *least*; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(f"{where}: Input should be a valid integer")
    if value < least:
        raise invalid(f"{where}: Input should be greater than or equal to {least}")


def check_parameters(body: JsonObject) -> None:
    """Raise for a parameter that the stand-in reads and that has a wrong type or is out of its range."""
    for key in ("output_config", "output_format", "thinking"):
        if not isinstance(body.get(key), dict | None):
            raise invalid(f"{key}: Input should be a valid dictionary")
    stop = body.get("stop_sequences")
    if not isinstance(stop, list | None) or not are_texts(stop or ()):
        raise invalid("stop_sequences: Input should be a valid list of strings")
    _check_integer(body["max_tokens"], "max_tokens", 1)
    for key in ("temperature", "top_p"):
        if (value := body.get(key)) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(f"{key}: Input should be a valid number")
        if not 0 <= value <= 1:
            raise invalid(f"{key}: range: 0..1")


def check_thinking(body: JsonObject, messages: list[JsonObject], *, forced: bool) -> None:
    """Raise for thinking that is malformed or that the other parameters rule out.

    *forced* says that `tool_choice` forces a tool. The rules are those of the public guide to extended thinking.
    """
    thinking = body.get("thinking")
    if thinking is None:
        return
    if thinking.get("type") not in _THINKING:
        raise invalid(f"thinking: Input tag does not match any of the expected tags: {', '.join(map(repr, _THINKING))}")
    if thinking["type"] != "enabled":
        return
    if "budget_tokens" not in thinking:
        raise invalid("thinking.enabled.budget_tokens: Field required")
    _check_integer(thinking["budget_tokens"], "thinking.enabled.budget_tokens", _MIN_BUDGET)
    if thinking["budget_tokens"] >= body["max_tokens"]:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature", 1) != 1:
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if forced:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    in_loop = bool(objects(messages[-1]["content"])) and objects(messages[-1]["content"])[0]["type"] == "tool_result"
    if (
        in_loop
        and (blocks := objects(messages[-2]["content"]))
        and blocks[0]["type"] not in {"thinking", "redacted_thinking"}
    ):
        raise invalid(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{blocks[0]['type']}`. When `thinking` is enabled, a final `assistant` message must start with a "
            "thinking block."
        )

"""What Anthropic's Messages API refuses, in its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liverouter.testing.standin.checks import objects, text_of, unknown_keys
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import (
    JsonObject,
    RejectedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LATEST = "2026-10-21"  # the API version that the official SDKs send; litellm sends 2023-06-01
VERSIONS = ("2023-01-01", "2023-06-01", LATEST)
SIGNATURE = "standin-signature-"  # begins the signature of every thinking block given; others are refused

_BLOCKS: Mapping[str, frozenset[str]] = {  # content blocks whose keys are checked; the API takes no others
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "image": frozenset({"type", "source", "cache_control"}),
    "document": frozenset({"type", "source", "cache_control", "citations", "context", "title"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control", "caller"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
}
_TEXTS = frozenset({"id", "name", "text", "tool_use_id"})  # required keys of a block that hold a string
_REMOVED = frozenset({"temperature", "top_k", "top_p"})  # by the latest version, with any value


def invalid(message: str) -> RejectedError:
    """Return the refusal of a request, as 400."""
    return RejectedError(Failure.BAD_REQUEST, message)


def is_user_turn(message: JsonObject) -> bool:
    """Whether a person speaks here, not a tool."""
    return message["role"] == "user" and (isinstance(message["content"], str) or bool(text_of(message["content"])))


def checked_messages(messages: Any) -> list[JsonObject]:
    """Return *messages*; raise for what the API does not take as a conversation."""
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    used: list[str] = []
    for at, message in enumerate(messages):
        where = f"messages.{at}"
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise invalid(f"{where}.role: Input should be 'user' or 'assistant'")
        for key in unknown_keys(message, frozenset({"role", "content"})):
            raise invalid(f"{where}.{key}: Extra inputs are not permitted")
        content = message.get("content")
        if not isinstance(content, str | list):
            raise invalid(f"{where}.content: Input should be a valid list")
        if content in ("", []) and not (message["role"] == "assistant" and at == len(messages) - 1):
            raise invalid(
                f"{where}: all messages must have non-empty content except for the optional final assistant message"
            )
        for spot, block in enumerate(objects(content)):
            _check_block(block, f"{where}.content.{spot}")
        answered = {block["tool_use_id"] for block in objects(content) if block["type"] == "tool_result"}
        if missing := [name for name in used if name not in answered]:
            found = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}"
            raise invalid(
                f"messages.{at - 1}: {found}. Each `tool_use` block must have a corresponding `tool_result` block "
                "in the next message."
            )
        if stray := answered.difference(used):
            raise invalid(
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(sorted(stray))}"
            )
        used = [block["id"] for block in objects(content) if block["type"] == "tool_use"]
    return messages


def _check_block(block: JsonObject, where: str) -> None:
    """Raise for a content block with an unknown, missing or mistyped key, or with a signature that was not given here.

    Blocks of a type that is not in `_BLOCKS` pass; *where* is the block's place in the body.
    """
    kind = block.get("type")
    if not isinstance(kind, str):
        raise invalid(f"{where}.type: Field required")
    known = _BLOCKS.get(kind)
    if known is None:
        return
    for key in unknown_keys(block, known):
        raise invalid(f"{where}.{kind}.{key}: Extra inputs are not permitted")
    needed = {"text": ("text",), "tool_use": ("id", "name", "input"), "tool_result": ("tool_use_id",)}.get(kind, ())
    for key in needed:
        if key not in block:
            raise invalid(f"{where}.{kind}.{key}: Field required")
        if key in _TEXTS and not isinstance(block[key], str):
            raise invalid(f"{where}.{kind}.{key}: Input should be a valid string")
    if kind == "text" and not block["text"]:
        raise invalid("messages: text content blocks must be non-empty")
    if kind == "thinking" and not str(block.get("signature")).startswith(SIGNATURE):
        raise invalid(f"{where}: Invalid `signature` in `thinking` block")


def check_latest(body: JsonObject, messages: list[JsonObject]) -> None:
    """Refuse what API version 2026-10-21 removed."""
    for key in body:
        if key in _REMOVED:
            raise invalid(f"{key}: Extra inputs are not permitted")
    for at, message in enumerate(messages):
        for spot, block in enumerate(objects(message["content"])):
            where = f"messages.{at}.content.{spot}"
            if message["role"] == "assistant" and block["type"] == "document":
                raise invalid(f"{where}: `document` blocks are not permitted in `assistant` messages")
            if message["role"] == "user" and block["type"] == "text" and block.get("citations"):
                raise invalid(f"{where}.text.citations: Extra inputs are not permitted")

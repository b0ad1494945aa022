"""What Anthropic's Messages API refuses of messages, content blocks and tools, in its words."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from liverouter.testing.dialects.checks_anthropic import SIGNATURE, invalid
from liverouter.testing.standin.checks import objects, unknown_keys
from liverouter.testing.standin.schemas import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from liverouter.testing.standin.wire import JsonObject

_MARKED: Final = frozenset({"type", "cache_control"})
_USE: Final = _MARKED | {"id", "name", "input", "caller"}
_RESULT: Final = _MARKED | {"tool_use_id", "content", "caller"}
_BLOCKS: Final[Mapping[str, frozenset[str]]] = {  # the types of content blocks -> their members
    "text": _MARKED | {"text", "citations"},
    "image": _MARKED | {"source"},
    "document": _MARKED | {"source", "citations", "context", "title"},
    "search_result": _MARKED | {"source", "title", "content", "citations"},
    "tool_use": _USE,
    "tool_result": _RESULT | {"is_error"},
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "compaction": _MARKED | {"content"},
    "container_upload": _MARKED | {"file_id"},
    "server_tool_use": _USE,
    "mcp_tool_use": _USE | {"server_name"},
    "mcp_tool_result": _RESULT | {"is_error"},
    "web_search_tool_result": _RESULT,
    "web_fetch_tool_result": _RESULT,
    "code_execution_tool_result": _RESULT,
    "bash_code_execution_tool_result": _RESULT,
    "text_editor_code_execution_tool_result": _RESULT,
    "tool_search_tool_result": _RESULT,
}
_OF_USER: Final = frozenset({"text", "image", "document", "search_result", "tool_result", "container_upload"})
_OF_RESULT: Final = frozenset({"text", "image", "document", "search_result", "tool_reference"})
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
    "redacted_thinking": ("data",),
}
_TEXTS: Final = frozenset({"id", "name", "text", "tool_use_id"})  # required members of a block that hold a string
_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_SERVER_TOOL: Final = re.compile(r"[a-z_]{1,64}_\d{8}|mcp_toolset")
_TOP_LEVEL: Final = ("oneOf", "allOf", "anyOf")
# Models that end no turn which others began.
_NO_PREFILL: Final = re.compile(r"claude-(?:[a-z]+-)?(?:4-[6-9]|[5-9])(?!\d)")


def checked_messages(messages: Any, model: str) -> list[JsonObject]:
    """Return *messages*; raise for what the API does not take as a conversation with *model*."""
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    used: list[str] = []
    ever: set[str] = set()
    for at, message in enumerate(messages):
        where = f"messages.{at}"
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise invalid(f"{where}.role: Input should be 'user' or 'assistant'")
        for key in unknown_keys(message, frozenset({"role", "content"})):
            raise invalid(f"{where}.{key}: Extra inputs are not permitted")
        _check_content(message, where, is_last=at == len(messages) - 1)
        blocks = objects(message["content"])
        _check_results(blocks, used, at)
        used = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(set(used) - ever) < len(used):
            raise invalid(f"{where}: `tool_use` ids must be unique")
        ever.update(used)
    if used:
        raise invalid(f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks after")
    if messages[0]["role"] != "user":
        raise invalid("messages: first message must use the user role")
    _check_end(messages[-1], model)
    return messages


def _check_results(blocks: Sequence[JsonObject], used: Sequence[str], at: int) -> None:
    """Raise where the results in message *at* are not first in it, and one for each of the calls *used* before."""
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    is_first = all(block["type"] == "tool_result" for block in blocks[: len(results)])
    if missing := [name for name in used if name not in results or not is_first]:
        found = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}"
        raise invalid(
            f"messages.{at - 1}: {found}. Each `tool_use` block must have a corresponding `tool_result` block "
            "in the next message."
        )
    if stray := set(results).difference(used):
        raise invalid(
            f"messages.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(sorted(stray))}"
        )
    if len(results) > len(used):
        raise invalid(f"messages.{at}: each tool_use must have a single result. Found multiple `tool_result` blocks")


def check_system(system: object) -> None:
    """Raise for a system prompt that is neither a text nor a list of text blocks."""
    if not isinstance(system, str | list | None):
        raise invalid("system: Input should be a valid string or list")
    for spot, block in enumerate(system if isinstance(system, list) else ()):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise invalid(f"system.{spot}.type: Input should be 'text'")
        _check_block(block, f"system.{spot}", frozenset({"text"}))


def check_tools(body: JsonObject) -> None:
    """Raise for a tool of an unknown type, one that is malformed, and a choice among none."""
    if body.get("tool_choice") is not None and not body.get("tools"):
        raise invalid("tool_choice: may only be specified while providing tools")
    names: list[str] = []
    for at, tool in enumerate(objects(body.get("tools"))):
        where, kind = f"tools.{at}", tool.get("type") or "custom"
        if kind != "custom":
            if not _SERVER_TOOL.fullmatch(str(kind)):
                raise invalid(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
            continue
        _check_tool(tool, f"{where}.custom")
        names.append(tool["name"])
    if any(count > 1 for count in Counter(names).values()):
        raise invalid("tools: Tool names must be unique.")


def _check_tool(tool: JsonObject, where: str) -> None:
    """Raise for a tool of the caller's with a malformed name or schema, and for one that is strict and open."""
    if not isinstance(tool.get("name"), str) or not _NAME.fullmatch(tool["name"]):
        raise invalid(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise invalid(f"{where}.input_schema: Field required")
    if schema.get("type") != "object":
        raise invalid(f"{where}.input_schema.type: Field required")
    if any(key in schema for key in _TOP_LEVEL):
        raise invalid(f"{where}.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level")
    inner = (part for part in parts_of(schema) if part.get("type") == "object")
    if tool.get("strict") and any(part.get("additionalProperties") is not False for part in inner):
        raise invalid(f"{where}.input_schema: 'additionalProperties' of an object must be set to false")


def _check_content(message: JsonObject, where: str, *, is_last: bool) -> None:
    """Raise for content that is empty, or has blocks that no message of this role has."""
    content = message.get("content")
    if not isinstance(content, str | list):
        raise invalid(f"{where}.content: Input should be a valid list")
    if content in ("", []) and not (message["role"] == "assistant" and is_last):
        raise invalid(
            f"{where}: all messages must have non-empty content except for the optional final assistant message"
        )
    if isinstance(content, str):
        if content and not content.strip():
            raise invalid("messages: text content blocks must contain non-whitespace text")
        return
    taken = _OF_USER if message["role"] == "user" else _BLOCKS.keys() - (_OF_USER - {"text"})
    for spot, block in enumerate(content):
        if not isinstance(block, dict):
            raise invalid(f"{where}.content.{spot}: Input should be a valid dictionary")
        _check_block(block, f"{where}.content.{spot}", taken)


def _check_block(block: JsonObject, where: str, taken: frozenset[str] | set[str]) -> None:
    """Raise for a block of a type that is not *taken*, or with members unknown, missing or mistyped.

    *where* is the block's place in the body.
    """
    kind = block.get("type")
    if not isinstance(kind, str):
        raise invalid(f"{where}.type: Field required")
    if kind not in taken:
        raise invalid(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    for key in unknown_keys(block, _BLOCKS.get(kind, frozenset(block))):
        raise invalid(f"{where}.{kind}.{key}: Extra inputs are not permitted")
    for key in _NEEDED.get(kind, ()):
        if key not in block:
            raise invalid(f"{where}.{kind}.{key}: Field required")
        if key in _TEXTS and not isinstance(block[key], str):
            raise invalid(f"{where}.{kind}.{key}: Input should be a valid string")
    for key in ("id", "tool_use_id"):
        if key in block and not _ID.fullmatch(block[key]):
            raise invalid(f"{where}.{kind}.{key}: String should match pattern '^[a-zA-Z0-9_-]+$'")
    _check_value(block, kind, where)


def _check_value(block: JsonObject, kind: str, where: str) -> None:
    """Raise for a block with all its members whose content is blank, mistyped or a stranger's."""
    match kind:
        case "text" if not block["text"].strip():
            raise invalid("messages: text content blocks must be non-empty and contain non-whitespace text")
        case "tool_use" if not isinstance(block["input"], dict):
            raise invalid(f"{where}.tool_use.input: Input should be a valid dictionary")
        case "thinking" if not str(block.get("signature")).startswith(SIGNATURE):
            raise invalid(f"{where}: Invalid `signature` in `thinking` block")
        case "tool_result" if isinstance(block.get("content"), list):
            for spot, inner in enumerate(objects(block["content"])):
                _check_block(inner, f"{where}.content.{spot}", _OF_RESULT)


def _check_end(message: JsonObject, model: str) -> None:
    """Raise for an answer that the caller has begun, where *model* takes none, or where it ends in white space."""
    if message["role"] != "assistant":
        return
    if _NO_PREFILL.search(model):
        raise invalid("This model does not support assistant message prefill. It must end with a user message.")
    content = message["content"]
    text = content if isinstance(content, str) else (content[-1].get("text") or "") if content else ""
    if text != text.rstrip():
        raise invalid("messages: final assistant content cannot end with trailing whitespace")

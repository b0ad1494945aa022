"""What OpenAI's chat completions refuse of messages and tools, with its parameter names and codes."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from liverouter.testing.dialects.checks_openai_parameters import invalid
from liverouter.testing.standin.checks import objects, unknown_keys
from liverouter.testing.standin.schemas import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from liverouter.testing.standin.wire import JsonObject

_ROLES: Final[Mapping[str, frozenset[str]]] = {  # each role -> the members of its messages
    "assistant": frozenset(  # with what an answer has, which may be given back as it is
        {"role", "content", "name", "refusal", "annotations", "audio", "function_call", "tool_calls"}
    ),
    "developer": frozenset({"role", "content", "name"}),
    "function": frozenset({"role", "content", "name"}),
    "system": frozenset({"role", "content", "name"}),
    "tool": frozenset({"role", "content", "tool_call_id"}),
    "user": frozenset({"role", "content", "name"}),
}
_PARTS: Final[Mapping[str, frozenset[str]]] = {  # the types of content parts -> their members
    "text": frozenset({"type", "text", "prompt_cache_breakpoint"}),
    "refusal": frozenset({"type", "refusal"}),
    "image_url": frozenset({"type", "image_url"}),
    "input_audio": frozenset({"type", "input_audio"}),
    "file": frozenset({"type", "file"}),
}
_PARTS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "assistant": ("text", "refusal"),
    "user": ("text", "image_url", "input_audio", "file"),
}
_OBJECTS: Final = ("image_url", "input_audio", "file")  # parts whose own member is one
_TOOL_TYPES: Final = ("function", "custom")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # of a function or a schema
_SPEAKER: Final = re.compile(r"[^\s<|\\/>]{1,64}")
_LONGEST_ID: Final = 40
_TOP_LEVEL: Final = ("oneOf", "anyOf", "allOf", "enum", "not")  # a function's parameters have none of these


def checked_messages(messages: list[Any]) -> list[JsonObject]:
    """Return *messages*; raise for one that is malformed, and for tool calls and results that do not match."""
    if not messages:
        raise invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages", "empty_array"
        )
    unanswered: set[str] = set()
    for at, item in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(item, dict) or item.get("role") not in tuple(_ROLES):
            supported = ", ".join(sorted(_ROLES))
            raise invalid(f"Invalid value. Supported values are: {supported}.", f"{where}.role", "invalid_value")
        _check_message(item, where)
        if item["role"] == "tool":
            if item.get("tool_call_id") not in tuple(unanswered):
                raise invalid(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
                    "'tool_calls'.",
                    f"{where}.role",
                )
            unanswered.discard(item["tool_call_id"])
        else:
            _refuse_unanswered(unanswered, f"{where}.role")
        if item["role"] == "assistant":
            unanswered = {str(call.get("id")) for call in objects(item.get("tool_calls"))}
    _refuse_unanswered(unanswered, "messages")
    return messages


def check_tools(body: JsonObject) -> None:
    """Raise for a tool that is no function or custom tool, one that is malformed, and what needs tools without any."""
    tools = body.get("tools")
    if tools == []:
        raise invalid("Invalid 'tools': empty array. Expected an array with minimum length 1.", "tools", "empty_array")
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not tools and not body.get("functions"):
            raise invalid(f"'{name}' is only allowed when 'tools' are specified.", name)
    names = [_checked_tool(tool, f"tools[{at}]") for at, tool in enumerate(tools or ())]
    for name, count in Counter(names).items():
        if count > 1:
            raise invalid(f"Invalid 'tools': the name '{name}' is given to {count} tools.", "tools")


def _checked_tool(tool: Any, where: str) -> str:
    """Return the name of *tool*; raise where it is no function or custom tool, or malformed."""
    if not isinstance(tool, dict) or tool.get("type") not in _TOOL_TYPES:
        kind = tool.get("type") if isinstance(tool, dict) else tool
        supported = " and ".join(f"'{name}'" for name in _TOOL_TYPES)
        raise invalid(f"Invalid value: '{kind}'. Supported values are: {supported}.", where, "invalid_value")
    described = tool.get(tool["type"])
    if not isinstance(described, dict):
        raise invalid(f"Missing required parameter: '{where}.{tool['type']}'.", where, "missing_required_parameter")
    name = _checked_name(described.get("name"), f"{where}.{tool['type']}.name")
    parameters = described.get("parameters")
    if isinstance(parameters, dict):
        _check_parameters(parameters, name, f"{where}.function.parameters")
        if described.get("strict"):
            check_strict(parameters, name, f"{where}.function.parameters")
    return name


def check_response_format(response_format: JsonObject | None, messages: Sequence[JsonObject]) -> None:
    """Raise for JSON that no message speaks of, a schema without a name, and one that is strict and not closed."""
    if (response_format or {}).get("type") == "json_object" and "json" not in str(messages).lower():
        raise invalid(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            "messages",
        )
    described = (response_format or {}).get("json_schema")
    if not isinstance(described, dict):
        return
    _checked_name(described.get("name"), "response_format.json_schema.name")
    if described.get("strict") and isinstance(described.get("schema"), dict):
        check_strict(described["schema"], described["name"], "response_format")


def check_strict(schema: JsonObject, name: str, where: str) -> None:
    """Raise where an object in *schema* leaves a property out of `required`, or allows others than its own."""
    for part in parts_of(schema):
        if part.get("type") != "object" and "properties" not in part:
            continue
        if part.get("additionalProperties") is not False:
            raise invalid(
                f"Invalid schema for '{name}': 'additionalProperties' is required to be supplied and to be false.",
                where,
                "invalid_function_parameters",
            )
        if missing := set(part.get("properties") or ()).difference(part.get("required") or ()):
            raise invalid(
                f"Invalid schema for '{name}': 'required' must include every key in properties. Missing: "
                f"{', '.join(sorted(missing))}.",
                where,
                "invalid_function_parameters",
            )


def _check_parameters(schema: JsonObject, name: str, where: str) -> None:
    if schema.get("type", "object") != "object" or any(key in schema for key in _TOP_LEVEL):
        raise invalid(
            f"Invalid schema for function '{name}': it must have type 'object' and none of {', '.join(_TOP_LEVEL)} at "
            "the top level.",
            where,
            "invalid_function_parameters",
        )


def _checked_name(name: object, where: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(
            f"Invalid '{where}': expected a string of 1 to 64 characters of [a-zA-Z0-9_-].", where, "invalid_value"
        )
    return name


def _check_message(item: JsonObject, where: str) -> None:
    """Raise for a message with unknown members, content that its role has not, or malformed tool calls."""
    for key in unknown_keys(item, _ROLES[item["role"]]):
        raise invalid(f"Unknown parameter: '{where}.{key}'.", f"{where}.{key}", "unknown_parameter")
    name = item.get("name")
    if name is not None and not (isinstance(name, str) and _SPEAKER.fullmatch(name)):
        raise invalid(f"Invalid '{where}.name': it has characters that a name may not have.", f"{where}.name")
    calls = item.get("tool_calls")
    if calls is not None:
        _check_calls(calls, f"{where}.tool_calls")
    content = item.get("content")
    if content is None:
        if item["role"] == "assistant" and any(item.get(key) for key in ("tool_calls", "function_call", "refusal")):
            return
        raise invalid("Invalid value for 'content': expected a string, got null.", f"{where}.content")
    if isinstance(content, list):
        _check_parts(content, item["role"], f"{where}.content")
    elif not isinstance(content, str):
        raise invalid("Invalid type for 'content': expected a string or an array.", f"{where}.content", "invalid_type")


def _check_calls(calls: object, where: str) -> None:
    if not isinstance(calls, list) or not calls:
        raise invalid(f"Invalid '{where}': empty array. Expected an array with minimum length 1.", where, "empty_array")
    for at, call in enumerate(objects(calls)):
        if len(str(call.get("id"))) > _LONGEST_ID:
            raise invalid(
                f"Invalid '{where}[{at}].id': string too long. Expected a string with maximum length {_LONGEST_ID}.",
                f"{where}[{at}].id",
                "string_above_max_length",
            )
        if not isinstance(call.get("id"), str) or not call["id"]:
            raise invalid(f"Invalid '{where}[{at}].id': expected a string.", f"{where}[{at}].id", "invalid_type")
        if call.get("type") == "function":
            function = call.get("function")
            name = function.get("name") if isinstance(function, dict) else None
            _checked_name(name, f"{where}[{at}].function.name")


def _check_parts(parts: list[Any], role: str, where: str) -> None:
    """Raise for no parts at all, and for one of a type that messages of *role* do not have, or with unknown members."""
    if not parts:
        raise invalid(f"Invalid '{where}': empty array. Expected an array with minimum length 1.", where, "empty_array")
    taken = _PARTS_OF.get(role, ("text",))
    for at, part in enumerate(parts):
        spot = f"{where}[{at}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in taken:
            supported = ", ".join(f"'{name}'" for name in taken)
            raise invalid(f"Invalid value: '{kind}'. Supported values are: {supported}.", spot, "invalid_value")
        for key in unknown_keys(part, _PARTS[kind]):
            raise invalid(f"Unknown parameter: '{spot}.{key}'.", f"{spot}.{key}", "unknown_parameter")
        if kind == "text" and not isinstance(part.get("text"), str):
            raise invalid(f"Invalid type for '{spot}.text': expected a string.", f"{spot}.text", "invalid_type")
        if kind in _OBJECTS and not isinstance(part.get(kind), dict):
            raise invalid(f"Invalid type for '{spot}.{kind}': expected an object.", f"{spot}.{kind}", "invalid_type")


def _refuse_unanswered(calls: set[str], where: str) -> None:
    if calls:
        raise invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(sorted(calls))}",
            where,
        )

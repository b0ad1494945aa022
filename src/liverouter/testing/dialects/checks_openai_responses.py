"""What OpenAI's Responses API refuses: unknown members, items that do not belong together, what the model lacks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from liverouter.testing.dialects.checks_openai_messages import check_strict
from liverouter.testing.dialects.checks_openai_parameters import check_model, invalid
from liverouter.testing.standin.checks import objects, unknown_keys
from liverouter.testing.standin.wire import JsonObject, Tool

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_NUMBER: Final = (int, float)
_PARAMETERS: Final[Mapping[str, tuple[type, ...]]] = {  # of the public API reference, with their JSON types
    "background": (bool,),
    "conversation": (str, dict),
    "include": (list,),
    "input": (str, list),
    "instructions": (str,),
    "max_output_tokens": (int,),
    "max_tool_calls": (int,),
    "metadata": (dict,),
    "model": (str,),
    "parallel_tool_calls": (bool,),
    "previous_response_id": (str,),
    "prompt": (dict,),
    "prompt_cache_key": (str,),
    "prompt_cache_retention": (str,),
    "reasoning": (dict,),
    "safety_identifier": (str,),
    "service_tier": (str,),
    "store": (bool,),
    "stream": (bool,),
    "stream_options": (dict,),
    "temperature": _NUMBER,
    "text": (dict,),
    "tool_choice": (str, dict),
    "tools": (list,),
    "top_logprobs": (int,),
    "top_p": _NUMBER,
    "truncation": (str,),
    "user": (str,),
}
_PARTS: Final[Mapping[str, frozenset[str]]] = {  # each role -> the parts that its messages may have
    "assistant": frozenset({"output_text", "refusal"}),
    "developer": frozenset({"input_text", "input_image", "input_file"}),
    "system": frozenset({"input_text", "input_image", "input_file"}),
    "user": frozenset({"input_text", "input_image", "input_file"}),
}
_IDS: Final[Mapping[str, str]] = {  # the types of items -> how their ids begin
    "message": "msg",
    "function_call": "fc",
    "reasoning": "rs",
    "web_search_call": "ws",
    "file_search_call": "fs",
    "code_interpreter_call": "ci",
    "image_generation_call": "ig",
    "computer_call": "cu",
    "mcp_call": "mcp",
}
_STORED: Final = frozenset(_IDS) - {"message", "function_call"}  # known by their id alone
_WITHOUT_ID: Final = frozenset({"function_call_output", "computer_call_output"})
_TOOL: Final = re.compile(
    r"function|custom|web_search(_preview)?(_\d{4}_\d\d_\d\d)?|file_search|code_interpreter|image_generation|mcp"
    r"|computer|computer_use_preview|local_shell|shell|apply_patch|tool_search"
)
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_LONGEST_ID: Final = 64
_LEAST_TOKENS: Final = 16


def check_request(body: JsonObject) -> None:
    """Raise for a parameter that is unknown, missing or of the wrong type, and for what the model does not take."""
    for key in unknown_keys(body, frozenset(_PARAMETERS)):
        raise invalid(f"Unknown parameter: '{key}'.", key, "unknown_parameter")
    for key in ("model", "input"):
        if body.get(key) is None:
            raise invalid(f"Missing required parameter: '{key}'.", key, "missing_required_parameter")
    for key, value in body.items():
        types = _PARAMETERS[key]
        is_typed = bool in types if isinstance(value, bool) else isinstance(value, types)
        if value is not None and not is_typed:
            raise invalid(f"Invalid type for '{key}': got {type(value).__name__} instead.", key, "invalid_type")
    if (limit := body.get("max_output_tokens")) is not None and limit < _LEAST_TOKENS:
        raise invalid(f"Invalid 'max_output_tokens': expected a value >= {_LEAST_TOKENS}.", "max_output_tokens")
    same = {"temperature", "top_p", "service_tier"} & body.keys()
    effort = (body.get("reasoning") or {}).get("effort")
    check_model({name: body[name] for name in same} | {"reasoning_effort": effort}, body["model"])
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_object" and "json" not in str(body["input"]).lower():
        raise invalid(
            "Response input messages must contain the word 'json' to use 'text.format' of type 'json_object'.", "input"
        )
    if form.get("type") == "json_schema" and form.get("strict"):
        check_strict(form["schema"], form["name"], "text.format.schema")


def checked_items(given: str | list[Any], made: Collection[str]) -> list[JsonObject]:
    """Return the items of an input; raise for one that is malformed, alone or none of those *made*.

    An item without its text is looked up by its id, and is there where this API made it.
    """
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    calls: set[str] = set()
    for at, item in enumerate(items):
        where = f"input[{at}]"
        kind = str(item.get("type", "message")) if isinstance(item, dict) else ""
        if kind not in _IDS and kind not in _WITHOUT_ID:
            raise invalid(f"Invalid value: '{kind}'.", f"{where}.type", "invalid_value")
        _check_id(item, kind, where, made)
        if kind == "message":
            _check_message(item, where)
        elif kind == "function_call":
            _check_call(item, where)
            calls.add(item["call_id"])
        elif kind == "function_call_output" and item.get("call_id") not in calls:
            raise invalid(f"No tool call found for function call output with call_id {item.get('call_id')}.", "input")
        elif kind == "reasoning" and at + 1 == len(items):
            raise invalid(
                f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.", "input"
            )
    answered = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    for identifier in sorted(calls - answered):
        raise invalid(f"No tool output found for function call {identifier}.", "input")
    return list(items)


def checked_tools(body: JsonObject) -> tuple[Tool, ...]:
    """Return the functions among the tools; raise for a tool of an unknown type, and one that is malformed or open."""
    functions: list[Tool] = []
    for at, tool in enumerate(body.get("tools") or ()):
        where, kind = f"tools[{at}]", tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str) or not _TOOL.fullmatch(kind):
            raise invalid(f"Invalid value: '{kind}'.", f"{where}.type", "invalid_value")
        if kind != "function":
            continue
        if "function" in tool or not _NAME.fullmatch(str(tool.get("name"))):
            raise invalid(f"Missing required parameter: '{where}.name'.", f"{where}.name", "missing_required_parameter")
        schema = tool.get("parameters") or {}
        if tool.get("strict"):
            check_strict(schema, tool["name"], f"{where}.parameters")
        functions.append(Tool(tool["name"], schema))
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not body.get("tools"):
            raise invalid(f"'{name}' is only allowed when 'tools' are specified.", name)
    return tuple(functions)


def _check_id(item: JsonObject, kind: str, where: str, made: Collection[str]) -> None:
    """Raise for an id that is none of this kind, and for one that says all and is nobody's."""
    identifier = item.get("id")
    if identifier is None:
        if kind in _STORED:
            raise invalid(f"Missing required parameter: '{where}.id'.", f"{where}.id", "missing_required_parameter")
        return
    start = _IDS.get(kind, "")
    if not isinstance(identifier, str) or not identifier.startswith(start) or len(identifier) > _LONGEST_ID:
        raise invalid(
            f"Invalid '{where}.id': '{identifier}'. Expected an ID that begins with '{start}'.", f"{where}.id"
        )
    if kind in _STORED and identifier not in made and not item.get("encrypted_content"):
        raise invalid(f"Item with id '{identifier}' not found.", "input")


def _check_message(item: JsonObject, where: str) -> None:
    role, content = str(item.get("role")), item.get("content")
    if role not in _PARTS:
        raise invalid(f"Invalid value: '{role}'.", f"{where}.role", "invalid_value")
    for key in unknown_keys(item, frozenset({"type", "role", "content", "id", "status", "phase"})):
        raise invalid(f"Unknown parameter: '{where}.{key}'.", f"{where}.{key}", "unknown_parameter")
    if not isinstance(content, str | list):
        raise invalid(f"Invalid type for '{where}.content'.", f"{where}.content", "invalid_type")
    for part in objects(content):
        if part.get("type") not in _PARTS[role]:
            supported = ", ".join(f"'{name}'" for name in sorted(_PARTS[role]))
            raise invalid(
                f"Invalid value: '{part.get('type')}'. Supported values are: {supported}.", where, "invalid_value"
            )


def _check_call(item: JsonObject, where: str) -> None:
    for key in ("call_id", "name", "arguments"):
        if not isinstance(item.get(key), str) or not item[key]:
            raise invalid(
                f"Missing required parameter: '{where}.{key}'.", f"{where}.{key}", "missing_required_parameter"
            )
    if len(item["call_id"]) > _LONGEST_ID or not _NAME.fullmatch(item["name"]):
        raise invalid(f"Invalid '{where}.call_id' or '{where}.name'.", where, "invalid_value")

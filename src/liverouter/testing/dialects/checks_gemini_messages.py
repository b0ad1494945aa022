"""What Gemini's generateContent refuses of turns, parts and function declarations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from liverouter.testing.dialects.checks_gemini import (
    camel,
    invalid,
    known_fields,
    list_at,
    object_at,
    wrong_value,
)
from liverouter.testing.standin.checks import objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.testing.standin.wire import JsonObject

_DATA: Final = frozenset(  # of a part exactly one has a value
    {
        "codeExecutionResult",
        "executableCode",
        "fileData",
        "functionCall",
        "functionResponse",
        "inlineData",
        "text",
    }
)
_PART: Final = _DATA | {"mediaResolution", "thought", "thoughtSignature", "videoMetadata"}
_SCHEMA: Final = frozenset(  # the members of an OpenAPI schema
    {
        "anyOf",
        "default",
        "description",
        "enum",
        "example",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "propertyOrdering",
        "required",
        "title",
        "type",
    }
)
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_PARAMETERS: Final = ("parameters", "response")


def checked_contents(contents: object) -> list[JsonObject]:
    """Return the turns, each as `{"role", "parts"}` with camel-case names.

    Raises:
        RejectedError: an unknown name or role, a turn without parts, function calls that are not answered next or not
            by a user asked for, or a last turn of the model.
    """
    turns: list[JsonObject] = []
    calls: list[str] = []
    for at, turn in enumerate(list_at(contents, "contents")):
        named = known_fields(turn, frozenset({"role", "parts"}), f"contents[{at}]")
        role = named.get("role", "user")
        if role not in ("user", "model"):
            raise invalid("Please use a valid role: user, model.")
        parts = [
            _checked_part(part, f"contents[{at}].parts[{spot}]")
            for spot, part in enumerate(list_at(named.get("parts"), f"contents[{at}].parts"))
        ]
        if not parts:
            raise invalid("Unable to submit request because it must include at least one parts field.")
        answers = [part["functionResponse"].get("name") for part in parts if "functionResponse" in part]
        if len(answers) != len(calls):
            raise invalid(
                "Please ensure that the number of function response parts is equal to the number of function call "
                f"parts of the function call turn. ({len(answers)} for {len(calls)})"
            )
        if sorted(map(str, answers)) != sorted(calls):
            raise invalid("Please ensure that each function response has the name of its function call.")
        calls = [str(part["functionCall"].get("name")) for part in parts if "functionCall" in part]
        if calls and (role != "model" or not turns or turns[-1]["role"] != "user"):
            raise invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a function "
                "response turn."
            )
        turns.append({"role": role, "parts": parts})
    if calls:
        raise invalid("Please ensure that function response turn comes immediately after a function call turn.")
    if turns and turns[-1]["role"] == "model":
        raise invalid("Please ensure that multiturn requests end with a user role or a function response.")
    return turns


def check_declarations(tools: object) -> None:
    """Raise for a function without a good name or with another's, and for a schema that is no OpenAPI schema."""
    names: set[str] = set()
    for group in map(camel, objects(tools)):
        for at, one in enumerate(map(camel, objects(group.get("functionDeclarations")))):
            name = one.get("name")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise invalid(f"Invalid function name '{name}' at 'tools[0].function_declarations[{at}].name'.")
            if name in names:
                raise invalid(f"Duplicate function declaration found: {name}")
            names.add(name)
            for member in _PARAMETERS:
                check_schema(one.get(member), f"tools[0].function_declarations[{at}].{member}")


def check_schema(schema: object, where: str) -> None:
    """Raise for a schema with a member that OpenAPI's have not, or with several types."""
    if schema is None:
        return
    named = known_fields(schema, _SCHEMA, where)
    if not isinstance(named.get("type"), str | None):
        raise invalid(f"Proto field is not repeating, cannot start list at '{where}.type'.")
    properties: Mapping[str, object] = object_at(named.get("properties"), f"{where}.properties")
    for name, inner in properties.items():
        check_schema(inner, f"{where}.properties[{name}]")
    check_schema(named.get("items"), f"{where}.items")
    for at, inner in enumerate(list_at(named.get("anyOf"), f"{where}.any_of")):
        check_schema(inner, f"{where}.any_of[{at}]")


def _checked_part(part: object, where: str) -> JsonObject:
    """Return a part under camel-case names; raise for an unknown name, a wrong type, or no data or more than one."""
    named = known_fields(part, _PART, where)
    for name in ("functionCall", "functionResponse", "inlineData", "fileData"):
        object_at(named.get(name), f"{where}.{name}")
    if not isinstance(named.get("text", ""), str):
        raise wrong_value(f"{where}.text")
    data = [name for name in named if name in _DATA]
    if len(data) != 1 or (data == ["text"] and not named["text"] and "thoughtSignature" not in named):
        raise invalid(f"{where}: required oneof field 'data' must have one initialized field.")
    return named

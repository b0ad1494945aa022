"""Schemas as providers take them: one object at the top, closed where they are strict."""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest

from liverouter.chat.schemas import closed, flat, format_of, function_of, has_options

A: Final = {"type": "object", "properties": {"a": {"type": "string"}, "x": {"type": "integer"}}, "required": ["a", "x"]}
B: Final = {"type": "object", "properties": {"b": {"type": "string"}, "x": {"type": "string"}}, "required": ["x"]}


def function(parameters: dict[str, Any], *, strict: bool | None = None) -> dict[str, Any]:
    """Return OpenAI's tool."""
    return {"type": "function", "function": {"name": "f", "parameters": parameters, "strict": strict}}


@pytest.mark.parametrize("name", ["anyOf", "oneOf"])
def test_options_at_the_top_become_one_object(name: str) -> None:
    """It has the properties of all, each as any of them has it, and needs what all need."""
    schema = {name: [{"$ref": "#/$defs/A"}, B], "$defs": {"A": A}}
    passed = copy.deepcopy(schema)
    assert has_options(schema)
    made = flat(schema)
    assert made["type"] == "object"
    assert set(made["properties"]) == {"a", "b", "x"}
    assert made["properties"]["x"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert made["required"] == ["x"]
    assert not has_options(made)
    assert schema == passed


def test_all_parts_at_the_top_become_one_object() -> None:
    """It needs what any of them needs, and what it needed itself."""
    made = flat({"type": "object", "properties": {"c": {}}, "required": ["c"], "allOf": [A, B]})
    assert set(made["properties"]) == {"a", "b", "c", "x"}
    assert sorted(made["required"]) == ["a", "c", "x"]


def test_an_ordinary_schema_stays() -> None:
    """Equal, and a copy."""
    made = flat(A)
    assert made == A
    assert made["properties"] is not A["properties"]


def test_a_strict_schema_is_closed_everywhere() -> None:
    """Each object has all its properties and no others: inside lists, options and definitions too."""
    inner = {"type": "object", "properties": {"n": {"type": "integer"}}}
    schema = {
        "type": "object",
        "properties": {"list": {"type": "array", "items": inner}, "or": {"anyOf": [inner, {"type": "null"}]}},
        "required": ["list"],
        "$defs": {"d": inner},
    }
    passed = copy.deepcopy(schema)
    made = closed(schema)
    shut = {**inner, "required": ["n"], "additionalProperties": False}
    assert made["required"] == ["list", "or"]
    assert made["properties"]["list"]["items"] == made["properties"]["or"]["anyOf"][0] == made["$defs"]["d"] == shut
    assert schema == passed


@pytest.mark.parametrize("free", [{"type": "object"}, {"type": "object", "additionalProperties": {"type": "integer"}}])
def test_what_cannot_be_closed_is_not_strict(free: dict[str, Any]) -> None:
    """A free part would lose its values."""
    schema = {"type": "object", "properties": {"free": free}}
    assert function_of(function(schema, strict=True))["function"] == {
        "name": "f",
        "parameters": schema,
        "strict": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert format_of(form)["json_schema"] == {"name": "x", "schema": schema, "strict": False}
    assert form["json_schema"]["strict"] is True  # type: ignore[index]


def test_only_strict_tools_are_closed() -> None:
    """Another tool keeps its optional arguments."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert function_of(function(schema))["function"]["parameters"] == schema
    assert function_of(function(schema, strict=True))["function"]["parameters"]["required"] == ["a"]

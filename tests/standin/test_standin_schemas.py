"""A stand-in's arguments and structured answers match the schema they were asked for."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import jsonschema_rs
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from liverouter.testing.standin.schemas import minimal_object


class Colour(StrEnum):
    """One of two."""

    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    """Something small."""

    name: str = Field(min_length=3, max_length=5)
    size: float = Field(gt=1, le=2)


class Tree(BaseModel):
    """Something of everything."""

    colour: Colour
    kind: Literal["oak"]
    leaves: list[Leaf] = Field(min_length=2)
    age: int = Field(ge=10)
    nickname: str | None
    parent: Tree | None = None
    flags: dict[str, bool]
    evergreen: bool


def scalars() -> st.SearchStrategy[dict[str, Any]]:
    """Schemas without parts."""
    whole = st.integers(-5, 5)
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.builds(lambda low: {"type": "integer", "minimum": low}, whole),
        st.builds(lambda high: {"type": "integer", "maximum": high}, whole),
        st.builds(lambda low: {"type": "number", "exclusiveMinimum": low}, whole),
        st.builds(lambda size: {"type": "string", "minLength": size, "maxLength": size}, st.integers(0, 9)),
        st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=3), min_size=1, max_size=3)),
        st.builds(lambda value: {"const": value}, st.text(max_size=3)),
    )


def composed(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas of parts."""
    named = st.dictionaries(st.sampled_from(["a", "b", "c"]), part, min_size=1)
    return st.one_of(
        st.builds(lambda items, size: {"type": "array", "items": items, "minItems": size}, part, st.integers(0, 2)),
        st.builds(lambda parts: {"type": "object", "properties": parts, "required": sorted(parts)}, named),
        st.builds(lambda parts: {"type": "object", "properties": parts, "additionalProperties": False}, named),
        st.builds(lambda one, other: {"anyOf": [one, other]}, part, part),
    )


class TestMinimalObject:
    @settings(max_examples=40)
    @given(properties=st.dictionaries(st.text(min_size=1, max_size=3), st.recursive(scalars(), composed, max_leaves=8)))
    def test_it_is_an_instance_of_its_schema(self, properties: dict[str, Any]) -> None:
        """Whatever the parts are."""
        schema = {"type": "object", "properties": properties, "required": sorted(properties)}
        assert jsonschema_rs.is_valid(schema, minimal_object(schema, "take 3 of them"))

    def test_it_is_an_instance_of_a_pydantic_schema(self) -> None:
        """References, recursion, unions, enums, bounds."""
        made = minimal_object(Tree.model_json_schema(), "an oak of 40 years")
        assert TypeAdapter(Tree).validate_python(made).age == 40
        assert jsonschema_rs.is_valid(Tree.model_json_schema(), made)

    def test_required_properties_are_enough(self) -> None:
        """The others are left out; where none is required all are made."""
        properties = {"a": {"type": "string"}, "b": {"type": "string"}}
        assert minimal_object({"properties": properties, "required": ["b"]}) == {"b": "b"}
        assert minimal_object({"properties": properties}) == {"a": "a", "b": "b"}

    def test_a_number_in_the_question_is_used_where_it_fits(self) -> None:
        """The first one; out of bounds the bound is taken."""
        schema = {"properties": {"n": {"type": "integer", "minimum": 2, "maximum": 9}}}
        assert [minimal_object(schema, hint)["n"] for hint in ("take 3 or 4", "take 77", "take 1", "take some")] == [
            3,
            2,
            2,
            2,
        ]

    def test_formats_are_kept(self) -> None:
        """A time looks like one."""

        class Event(BaseModel):
            at: datetime
            id: UUID

        made = Event.model_validate(minimal_object(Event.model_json_schema()))
        assert (made.at.year, made.id.version) == (2026, 4)

    def test_parts_of_all_are_merged(self) -> None:
        """As `allOf` wants it."""
        schema = {
            "allOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}, {"properties": {"b": {"const": 1}}}]
        }
        assert minimal_object(schema) == {"a": None}

    def test_an_endless_schema_ends(self) -> None:
        """A type that requires itself has no instance; what is made is cut off."""
        schema = {"$ref": "#/$defs/Loop", "$defs": {"Loop": {"properties": {"next": {"$ref": "#/$defs/Loop"}}}}}
        assert list(minimal_object(schema)) == ["next"]

    @pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "string"}, {"$ref": "#/nowhere"}])
    def test_a_schema_that_says_little_gives_an_object(self, schema: dict[str, Any]) -> None:
        """Arguments are always an object."""
        assert isinstance(minimal_object(schema), dict)

    def test_gemini_writes_types_in_capitals(self) -> None:
        """And means the same."""
        assert minimal_object({"type": "OBJECT", "properties": {"on": {"type": "BOOLEAN"}}}) == {"on": True}

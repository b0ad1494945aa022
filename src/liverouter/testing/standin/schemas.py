"""The smallest instance of a JSON schema, so that a stand-in can answer tools and structured output."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from liverouter.testing.standin.wire import JsonObject

_MAX_DEPTH = 12  # of nested or recursive schemas; below it optional parts are left out
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_BY_FORMAT: Mapping[str, str] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def minimal_object(schema: Mapping[str, Any], hint: str = "") -> JsonObject:
    """Return an object that matches *schema*: required properties only, or all where none is required.

    A number takes the first number in *hint* where the schema allows it, else its minimum; a string takes its
    property's name. `pattern` is not honoured.
    """
    made = _Maker(schema, hint).make(schema, "value", 0)
    return made if isinstance(made, dict) else {"value": made}


def parts_of(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield *schema* and every schema in it: of properties, items, options and definitions."""
    yield schema
    for name in ("properties", "$defs", "definitions"):
        inner = schema.get(name)
        for part in inner.values() if isinstance(inner, Mapping) else ():
            if isinstance(part, Mapping):
                yield from parts_of(part)
    for name in ("items", "additionalProperties", "anyOf", "oneOf", "allOf", "prefixItems"):
        inner = schema.get(name)
        for part in inner if isinstance(inner, list) else (inner,):
            if isinstance(part, Mapping):
                yield from parts_of(part)


class _Maker:
    """Makes an instance of one schema; knows the whole of it, to which `$ref` points."""

    def __init__(self, root: Mapping[str, Any], hint: str) -> None:
        self._root = root
        found = _NUMBER.search(hint)
        self._number = float(found.group()) if found else None

    def make(self, schema: Mapping[str, Any], name: str, depth: int) -> object:
        """Return the smallest instance of *schema*, a part at *depth* that the property *name* holds."""
        schema = self._resolved(schema, depth)
        given = [schema[key] for key in ("const", "default") if key in schema] or list(schema.get("enum") or ())
        if given:
            return given[0]
        made: object
        match self._type(schema):
            case "object":
                made = self._object(schema, depth)
            case "array":
                items = schema.get("items")
                one = self.make(items if isinstance(items, Mapping) else {}, name, depth + 1)
                made = [one] * int(schema.get("minItems", depth < _MAX_DEPTH))
            case "integer" | "number" as kind:
                made = self._amount(schema, whole=kind == "integer")
            case "boolean":
                made = True
            case "null":
                made = None
            case _:
                made = self._text(schema, name)
        return made

    def _resolved(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """Return *schema* without `$ref`, `anyOf`, `oneOf` (its first option) and `allOf` (merged)."""
        if depth > _MAX_DEPTH:
            return {"type": "null"}
        if isinstance(ref := schema.get("$ref"), str):
            target: Any = self._root
            for step in ref.removeprefix("#/").split("/"):
                target = target.get(step, {}) if isinstance(target, Mapping) else {}
            return self._resolved(target, depth + 1)
        for union in ("anyOf", "oneOf"):
            if options := [option for option in schema.get(union, ()) if isinstance(option, Mapping)]:
                return self._resolved(options[0], depth + 1)
        if parts := [part for part in schema.get("allOf", ()) if isinstance(part, Mapping)]:
            merged: JsonObject = {key: value for key, value in schema.items() if key != "allOf"}
            for part in (self._resolved(part, depth + 1) for part in parts):
                merged = {
                    **merged,
                    **part,
                    "properties": {**merged.get("properties", {}), **part.get("properties", {})},
                    "required": [*merged.get("required", ()), *part.get("required", ())],
                }
            return merged
        return schema

    @staticmethod
    def _type(schema: Mapping[str, Any]) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[0] if kind else None
        if isinstance(kind, str):
            return kind.lower()  # Gemini writes OBJECT
        return "object" if "properties" in schema else "string"

    def _object(self, schema: Mapping[str, Any], depth: int) -> JsonObject:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        wanted = schema.get("required") or properties
        return {key: self.make(properties.get(key) or {}, key, depth + 1) for key in wanted}

    def _amount(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        """Return the hint's number where the schema's range allows it, else the end of the range, else 1."""
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1 if "exclusiveMinimum" in schema else None)
        high = schema.get("maximum")
        value = self._number if self._number is not None else low if low is not None else 1
        if (low is not None and value < low) or (high is not None and value > high):
            value = low if low is not None else high
        return int(value or 0) if whole else float(value or 0)

    @staticmethod
    def _text(schema: Mapping[str, Any], name: str) -> str:
        text = _BY_FORMAT.get(str(schema.get("format")), name)
        text = text.ljust(int(schema.get("minLength", 0)), "x")
        return text[: int(schema["maxLength"])] if "maxLength" in schema else text

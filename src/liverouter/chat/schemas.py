"""JSON schemas as providers take them. Pure: nothing that is passed is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from liverouter.chat.history.copies import fresh

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OPTIONS: Final = ("anyOf", "oneOf")
_INNER: Final = ("properties", "$defs", "definitions")
_PARTS: Final = ("items", "anyOf", "allOf", "oneOf", "prefixItems", "additionalProperties")


def function_of(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of *tool*, OpenAI's, as every provider takes it: see `flat`, and `closed` where it is strict."""
    made: dict[str, Any] = fresh(tool)
    function = made.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("parameters"), dict):
        return made
    function["parameters"] = flat(function["parameters"])
    if function.get("strict"):
        function |= _strict(function["parameters"], "parameters")
    return made


def format_of(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of *form*, OpenAI's `response_format`, whose schema is closed where it is strict."""
    made: dict[str, Any] = fresh(form)
    described = made.get("json_schema")
    if isinstance(described, dict) and described.get("strict") and isinstance(described.get("schema"), dict):
        described |= _strict(described["schema"], "schema")
    return made


def flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return *schema*, that of a tool's arguments, as one object: no provider takes options at the top.

    Of several options the object has the properties of all, and needs what each of them needs.
    """
    made: dict[str, Any] = fresh(schema)
    for name in (*_OPTIONS, "allOf"):
        options = [_resolved(option, made) for option in made.pop(name, None) or () if isinstance(option, dict)]
        if not options:
            continue
        needed = [set(option.get("required") or ()) for option in options]
        common = set.union(*needed) if name == "allOf" else set.intersection(*needed)
        properties = dict(made.get("properties") or {})
        for option in options:
            for key, value in (option.get("properties") or {}).items():
                known = properties.setdefault(key, value)
                if known != value and name != "allOf":
                    properties[key] = {"anyOf": [*_alternatives(known), value]}
        required = [key for key in properties if key in common or key in (made.get("required") or ())]
        made |= {"type": "object", "properties": properties, "required": required}
    return made


def has_options(schema: Mapping[str, Any] | None) -> bool:
    """Tell whether `flat` would change *schema*."""
    return any(name in (schema or {}) for name in (*_OPTIONS, "allOf"))


def _alternatives(schema: Any) -> list[Any]:
    """Return the options of *schema* where it is nothing but options, else itself."""
    return list(schema["anyOf"]) if isinstance(schema, dict) and schema.keys() == {"anyOf"} else [schema]


def _resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    """Return what *schema* refers to in *root*, itself where it is no reference."""
    found: Any = schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found = root
        for step in reference.removeprefix("#/").split("/"):
            found = found.get(step, {}) if isinstance(found, dict) else {}
    return found


def _strict(schema: Mapping[str, Any], member: str) -> dict[str, Any]:
    """Return *schema* closed, as *member*; with `strict` off where it cannot be: a strict schema has no free part."""
    if any(_is_free(part) for part in _parts(schema)):
        return {"strict": False}
    return {member: closed(schema)}


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return *schema* in which each object has all its properties, and no others."""
    made: dict[str, Any] = fresh(schema)
    for part in _parts(made):
        if part.get("type") == "object" or "properties" in part:
            part["additionalProperties"] = False
            part["required"] = list(part.get("properties") or {})
    return made


def _is_free(part: Mapping[str, Any]) -> bool:
    """Tell whether *part* is an object whose properties nobody names."""
    is_object = part.get("type") == "object" or "properties" in part
    return is_object and (bool(part.get("additionalProperties")) or "properties" not in part)


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield *schema* and every schema in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for name in _INNER:
        inner = schema.get(name)
        for part in list(inner.values()) if isinstance(inner, dict) else ():
            yield from _parts(part)
    for name in _PARTS:
        inner = schema.get(name)
        for part in list(inner) if isinstance(inner, list) else [inner]:
            yield from _parts(part)

"""What a handle is bound to: tools and schemas, kept as the caller gave them and as OpenAI's API has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool

from liverouter.chat.built_in import is_built_in
from liverouter.chat.history.copies import fresh
from liverouter.chat.schemas import format_of, function_of, has_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from liverouter.providers import NativeModel


class BoundTools(list[dict[str, Any]]):
    """Tools in OpenAI's format, as traces and caches want to see them.

    Attributes:
        raw: the tools as the caller gave them, which a provider's own class converts.
        loosened: one is to be strict, and has a part in which anything may stand.
    """

    raw: tuple[Any, ...]
    loosened: bool

    def __init__(self, tools: Sequence[Any], *, strict: bool | None = None) -> None:
        self.raw = tuple(tools)
        found = [fresh(tool if is_built_in(tool) else convert_to_openai_tool(tool)) for tool in tools]
        for tool in found if strict is not None else ():
            if "function" in tool:
                tool["function"] = {"strict": strict, **tool["function"]}
        super().__init__(map(function_of, found))
        functions = [
            (tool["function"], made["function"]) for tool, made in zip(found, self, strict=True) if "function" in tool
        ]
        self.loosened = any(asked.get("strict") and not made["strict"] for asked, made in functions)
        self._mended = tuple(
            "function" in tool
            and (has_options(tool["function"].get("parameters")) or tool["function"].get("strict") is True)
            for tool in found
        )

    def for_class(self, native: NativeModel) -> list[Any]:
        """Return the tools for a provider's own class: as the caller gave them, a copy where that can be changed.

        They are in OpenAI's format where that is the class's own, and those that are strict or had to be mended.
        """
        if native.takes_openai_format:
            return fresh(list(self))  # type: ignore[no-any-return]  # a list
        return [made if mended else fresh(raw) for raw, made, mended in zip(self.raw, self, self._mended, strict=True)]

    def only(self, indices: Sequence[int]) -> BoundTools:
        """Return those of *indices*."""
        some = BoundTools(())
        some.loosened = self.loosened
        some.raw = tuple(self.raw[index] for index in indices)
        some._mended = tuple(self._mended[index] for index in indices)
        some.extend(self[index] for index in indices)
        return some

    @property
    def is_strict(self) -> bool:
        """Tell whether one of them is."""
        return any(tool.get("function", {}).get("strict") for tool in self)

    def loose(self) -> BoundTools:
        """Return them for a model that binds no arguments to their schema."""
        some = self.only(range(len(self)))
        some[:] = [
            {**tool, "function": _without_strict(tool["function"])} if "function" in tool else tool for tool in self
        ]
        return some


class BoundFormat(dict[str, Any]):
    """A response format as OpenAI takes it.

    Attributes:
        schema: the JSON schema that it stands for.
        tool: that schema as a tool, for a model that promises no JSON to a schema.
    """

    schema: dict[str, Any]
    tool: BoundTools

    def __init__(self, form: Mapping[str, Any], *, schema: Any) -> None:
        super().__init__(format_of(form))
        self.schema, self.tool = convert_to_json_schema(schema), BoundTools([schema])

    def by_schema(self) -> BoundFormat:
        """Return the format that asks for its schema, as something to follow where it can be."""
        return schema_format(self.tool.raw[0], strict=False)


def json_format(schema: Any) -> BoundFormat:
    """Return the format that asks for JSON of any shape; *schema* is what the caller expects."""
    return BoundFormat({"type": "json_object"}, schema=schema)


def schema_format(schema: Any, *, strict: bool | None) -> BoundFormat:
    """Return the format that asks for *schema*, which is strict unless *strict* is False."""
    function = convert_to_openai_tool(schema)["function"]
    described = {"name": function["name"], "schema": function["parameters"], "strict": strict is not False}
    return BoundFormat({"type": "json_schema", "json_schema": described}, schema=schema)


def _without_strict(function: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in function.items() if name != "strict"}

"""Tools and schemas, bound early and converted late: each provider wants its own format, and calls may change it."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.output_parsers import (
    JsonOutputKeyToolsParser,
    JsonOutputParser,
    PydanticOutputParser,
    PydanticToolsParser,
)
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from liverouter.store import Generation

Method = Literal["json_schema", "function_calling", "json_mode"]


class BoundTools(list[dict[str, Any]]):
    """Tools in OpenAI's format, as traces and caches want to see them, and `raw`, as the caller gave them."""

    raw: tuple[Any, ...]

    def __init__(self, tools: Sequence[Any], *, strict: bool | None = None) -> None:
        self.raw = tuple(tools)
        super().__init__(convert_to_openai_tool(tool, strict=strict) for tool in tools)


def tool_request(generation: Generation, request: dict[str, Any]) -> dict[str, Any]:
    """Return *request* with its tools and its schema in the format of *generation*'s model."""
    tools = request.pop("tools", None)
    if generation.router is None:
        return _plain_request(generation, request, tools)
    strict = request.pop("strict", None)  # belongs into the tools; as a parameter providers refuse it
    if tools is None:
        return request
    ours = tools if isinstance(tools, BoundTools) else BoundTools(tools, strict=strict)
    choice = request.pop("tool_choice", None)
    bound = generation.chat.bind_tools(list(ours), tool_choice=choice, **request)
    return {name: value for name, value in bound.kwargs.items() if value is not None}  # type: ignore[attr-defined]


def _plain_request(generation: Generation, request: dict[str, Any], tools: Sequence[Any] | None) -> dict[str, Any]:
    if tools is None:
        return request
    raw = tools.raw if isinstance(tools, BoundTools) else tools
    bound = generation.chat.bind_tools(raw, **request)
    return dict(bound.kwargs)  # type: ignore[attr-defined]


def structured(
    model: BaseChatModel,
    schema: Any,
    *,
    method: Method,
    include_raw: bool,
    strict: bool | None,
    tools: Sequence[Any] | None = None,
    **kwargs: Any,
) -> Runnable[Any, Any]:
    """Return *model* bound to *schema* and followed by its parser."""
    is_pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
    traced = {"kwargs": {"method": method, "strict": strict}, "schema": convert_to_json_schema(schema)}
    parser: Runnable[Any, Any]
    if method == "function_calling":
        name = convert_to_openai_tool(schema)["function"]["name"]
        bound = model.bind_tools(
            [schema, *(tools or ())], tool_choice=name, strict=strict, ls_structured_output_format=traced, **kwargs
        )
        parser = (
            PydanticToolsParser(tools=[schema], first_tool_only=True)
            if is_pydantic
            else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        )
    elif method in ("json_schema", "json_mode"):
        if method == "json_mode" and strict is not None:
            raise ValueError("json_mode takes no 'strict': it promises JSON, not a schema")
        extra = {} if tools is None else {"tools": BoundTools(tools, strict=strict)}
        bound = model.bind(
            response_format=_response_format(schema, method, strict=strict),
            ls_structured_output_format=traced,
            **extra,
            **kwargs,
        )
        parser = PydanticOutputParser(pydantic_object=schema) if is_pydantic else JsonOutputParser()
    else:
        raise ValueError(f"method is 'json_schema', 'function_calling' or 'json_mode', not {method!r}")
    if not include_raw:
        return bound | parser
    parse = RunnablePassthrough.assign(parsed=operator.itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parse.with_fallbacks([failed], exception_key="parsing_error")


def _response_format(schema: Any, method: Method, *, strict: bool | None) -> Mapping[str, Any]:
    if method == "json_mode":
        return {"type": "json_object"}
    function = convert_to_openai_tool(schema, strict=strict is not False)["function"]
    return {
        "type": "json_schema",
        "json_schema": {"name": function["name"], "schema": function["parameters"], "strict": strict is not False},
    }

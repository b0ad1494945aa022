"""Answers to a schema: a handle bound to it, followed by what reads the answer, however the model in force gives it."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.output_parsers import (
    BaseCumulativeTransformOutputParser,
    JsonOutputKeyToolsParser,
    JsonOutputParser,
    PydanticOutputParser,
    PydanticToolsParser,
)
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from liverouter.chat.bound import BoundTools, json_format, schema_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import Generation as ModelGeneration

Method = Literal["json_schema", "function_calling", "json_mode"]


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
    """Return *model* bound to *schema* and followed by its parser.

    *tools* may be called beside it, *kwargs* are bound as well; `LiveChatModel.with_structured_output` has the rest.

    Raises:
        ValueError: an unknown *method*, or json_mode with *strict*.
    """
    is_pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
    traced = {"kwargs": {"method": method, "strict": strict}, "schema": convert_to_json_schema(schema)}
    parser: Runnable[Any, Any]
    if method == "function_calling":
        name = convert_to_openai_tool(schema)["function"]["name"]
        bound = model.bind_tools(
            [schema, *(tools or ())], tool_choice=name, strict=strict, ls_structured_output_format=traced, **kwargs
        )
        parser = _tool_parser(schema)
    elif method in ("json_schema", "json_mode"):
        if method == "json_mode" and strict is not None:
            raise ValueError("json_mode takes no 'strict': it promises JSON, not a schema")
        extra = {} if tools is None else {"tools": BoundTools(tools, strict=strict)}
        bound = model.bind(
            response_format=json_format(schema) if method == "json_mode" else schema_format(schema, strict=strict),
            ls_structured_output_format=traced,
            **extra,
            **kwargs,
        )
        content = PydanticOutputParser(pydantic_object=schema) if is_pydantic else JsonOutputParser()
        parser = _AnswerParser(content=content, tool=_tool_parser(schema))
    else:
        raise ValueError(f"method is 'json_schema', 'function_calling' or 'json_mode', not {method!r}")
    if not include_raw:
        return bound | parser
    parse = RunnablePassthrough.assign(parsed=operator.itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | parse.with_fallbacks([failed], exception_key="parsing_error")


def _tool_parser(schema: Any) -> BaseCumulativeTransformOutputParser[Any]:
    """Return what reads *schema* from a tool call: an instance of a pydantic class, else a dict."""
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        return PydanticToolsParser(tools=[schema], first_tool_only=True)
    return JsonOutputKeyToolsParser(key_name=convert_to_openai_tool(schema)["function"]["name"], first_tool_only=True)


class _AnswerParser(BaseCumulativeTransformOutputParser[Any]):
    """Reads an answer to a schema, whether it came as text or as a tool call: the model in force decides."""

    content: BaseCumulativeTransformOutputParser[Any]
    tool: BaseCumulativeTransformOutputParser[Any]

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's name
        return self.content.OutputType

    def get_format_instructions(self) -> str:
        return self.content.get_format_instructions()

    def parse(self, text: str) -> Any:
        return self.content.parse(text)

    def parse_result(self, result: list[ModelGeneration], *, partial: bool = False) -> Any:
        message = getattr(result[0], "message", None)
        came_as_tool = getattr(message, "tool_calls", None) or getattr(message, "tool_call_chunks", None)
        return (self.tool if came_as_tool else self.content).parse_result(result, partial=partial)

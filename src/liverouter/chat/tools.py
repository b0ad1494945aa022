"""Tools and schemas, bound early and converted late: each provider wants its own format, and calls may change it."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
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

from liverouter.chat import schema_tool
from liverouter.chat.built_in import carried, is_built_in, spelt
from liverouter.chat.history.copies import fresh
from liverouter.chat.schemas import format_of, function_of, has_options
from liverouter.providers import api_of, native_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import Generation as ModelGeneration

    from liverouter.generation import Generation
    from liverouter.providers import NativeModel
    from liverouter.revision import Deployment

Method = Literal["json_schema", "function_calling", "json_mode"]


class BoundTools(list[dict[str, Any]]):
    """Tools in OpenAI's format, as traces and caches want to see them.

    Attributes:
        raw: the tools as the caller gave them, which a provider's own class converts.
    """

    raw: tuple[Any, ...]

    def __init__(self, tools: Sequence[Any], *, strict: bool | None = None) -> None:
        self.raw = tuple(tools)
        found = [fresh(tool if is_built_in(tool) else convert_to_openai_tool(tool)) for tool in tools]
        for tool in found if strict is not None else ():
            if "function" in tool:
                tool["function"] = {"strict": strict, **tool["function"]}
        super().__init__(map(function_of, found))
        self._mended = tuple("function" in tool and has_options(tool["function"].get("parameters")) for tool in found)

    def for_class(self, native: NativeModel) -> list[Any]:
        """Return the tools for a provider's own class: as the caller gave them, a copy where that can be changed.

        They are in OpenAI's format where that is the class's own, and those whose arguments had to be mended.
        """
        if native.takes_openai_format:
            return fresh(list(self))  # type: ignore[no-any-return]  # a list
        return [made if mended else fresh(raw) for raw, made, mended in zip(self.raw, self, self._mended, strict=True)]

    def only(self, indices: Sequence[int]) -> BoundTools:
        """Return those of *indices*."""
        some = BoundTools(())
        some.raw = tuple(self.raw[index] for index in indices)
        some._mended = tuple(self._mended[index] for index in indices)
        some.extend(self[index] for index in indices)
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


def tool_request(generation: Generation, deployment: Deployment, request: dict[str, Any]) -> dict[str, Any]:
    """Return *request* with its tools and its schema in the format of *generation*'s model of *deployment*.

    Nothing in what it returns is the caller's, or another attempt's: libraries change what they are given.

    Raises:
        ValueError: it asks for JSON in a way that the provider does not know.
    """
    return dict(fresh(_made(generation, deployment, {name: _copied(value) for name, value in request.items()})))


def _copied(value: Any) -> Any:
    """Return a copy of a parameter of the caller's; what is bound is copied where it is made for the deployment."""
    return value if isinstance(value, BoundTools | BoundFormat) else fresh(value)


def _made(generation: Generation, deployment: Deployment, request: dict[str, Any]) -> dict[str, Any]:
    """Return *request* as `tool_request` does; what it holds may still be the caller's."""
    by_tool = _asks_by_tool(generation, deployment, request)
    tools, chat = request.pop("tools", None) or None, generation.chats[deployment.id]
    if by_tool:
        form = request.pop("response_format")
        if tools is None:
            tools, request["tool_choice"] = form.tool, "any"
        else:
            tools = _beside(tools, schema_tool.tool_of(form), request)
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            request.pop(name, None)  # says nothing without tools, and is refused
    form = request.get("response_format")
    if isinstance(form, Mapping) and not isinstance(form, BoundFormat):
        request["response_format"] = format_of(form)
    if generation.router is None:
        return _native_request(chat, native_model(deployment), request, tools)
    strict = request.pop("strict", None)  # belongs into the tools; as a parameter providers refuse it
    if tools is None:
        return request
    ours = tools if isinstance(tools, BoundTools) else BoundTools(tools, strict=strict)
    choice, functions = request.pop("tool_choice", None), [tool for tool in ours if "function" in tool]
    bound = chat.bind_tools(functions, tool_choice=choice, **request)
    given = {name: value for name, value in bound.kwargs.items() if value is not None}  # type: ignore[attr-defined]
    return given | {"tools": list(ours)}  # with the built-in ones, which the binding would make functions of


def tools_for(
    generation: Generation, deployment: Deployment, request: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return *request* with the tools that *deployment* can be sent, and the kinds of built-in ones that it cannot.

    Raises:
        MissingToolError: the call is about one of these.
    """
    if not (tools := request.get("tools")):
        return request, ()
    native, strict = generation.router is None, request.get("strict")
    bound = tools if isinstance(tools, BoundTools) else BoundTools(tools, strict=strict)
    api = api_of(deployment, native=native)
    kept, strangers = carried(bound, request.get("tool_choice"), api, deployment, native=native)
    if not kept:
        return {name: value for name, value in request.items() if name not in ("tools", "tool_choice")}, strangers
    return {**request, "tools": bound.only(kept)}, strangers


def is_forced(generation: Generation, deployment: Deployment, request: Mapping[str, Any]) -> bool:
    """Tell whether *generation*'s model of *deployment* must call a tool to answer *request*."""
    choice = request.get("tool_choice")
    said = choice.get("type") if isinstance(choice, dict) else choice
    if not request.get("tools") or said in (None, "auto"):
        return _asks_by_tool(generation, deployment, request)
    return said not in (False, "none")


def _asks_by_tool(generation: Generation, deployment: Deployment, request: Mapping[str, Any]) -> bool:
    """Tell whether the schema of *request* is asked for as a tool: the model there promises no JSON to a schema.

    litellm would drop the format, and prose come back, or force the model to it, so that it uses no other tool; Claude
    would refuse it.
    """
    form, chat = request.get("response_format"), generation.chats[deployment.id]
    if form is None or generation.profiles[deployment.id].get("structured_output") is not False:
        return False
    if request.get("tools"):
        return schema_tool.tool_of(form) is not None
    return isinstance(form, BoundFormat) and (
        generation.router is not None or not native_model(deployment).promises(chat)
    )


def _beside(tools: Sequence[Any], tool: Any, request: dict[str, Any]) -> BoundTools:
    """Return *tools* and *tool*, which is the schema's; *request* is told its name, and to have one called."""
    raw = tools.raw if isinstance(tools, BoundTools) else tuple(tools)
    request[schema_tool.KEY] = tool["function"]["name"]
    if request.get("tool_choice") in (None, "auto"):
        request["tool_choice"] = "any"
    return BoundTools((*raw, tool), strict=request.get("strict"))


def deployment_named(generation: Generation, model: str) -> Deployment | None:
    """Return the deployment that a call names by its id, its model, or ``provider/model``.

    None for the logical name, which stands for all.

    Raises:
        ValueError: there is none.
    """
    deployments = generation.deployments
    for deployment in deployments:
        if model in (deployment.id, deployment.label, deployment.model):
            return deployment
    if model == generation.logical_name:
        return None
    known = ", ".join(d.label for d in deployments)
    raise ValueError(f"no deployment serves {model!r}; revision {generation.snapshot.revision} has {known}")


def _native_request(
    chat: BaseChatModel, native: NativeModel, request: dict[str, Any], tools: Sequence[Any] | None
) -> dict[str, Any]:
    """Return *request* with its tools and its schema as the provider's own class converts them.

    Raises:
        ValueError: it asks for JSON in a way that the provider does not know.
    """
    response_format = request.get("response_format")
    if response_format is not None and not native.takes_openai_format:
        del request["response_format"]
        request |= _own_format(chat, response_format)
    if tools is None:
        return request
    strict = request.get("strict")
    if native.takes_openai_format or "strict" not in inspect.signature(chat.bind_tools).parameters:
        request.pop("strict", None)
    if request.get("tool_choice") in ("required", True):
        request["tool_choice"] = "any"
    named = {schema_tool.KEY: request.pop(schema_tool.KEY)} if schema_tool.KEY in request else {}
    ours = tools if isinstance(tools, BoundTools) else BoundTools(tools, strict=strict)
    given = [spelt(tool) for tool in ours.for_class(native)]
    bound = chat.bind_tools(given, **request)
    made: dict[str, Any] = dict(bound.kwargs)  # type: ignore[attr-defined]  # a RunnableBinding
    if native.takes_anthropic_blocks:  # its class forgets the mark of a tool in OpenAI's format
        for tool, own in zip(given, made["tools"], strict=False):
            if isinstance(tool, Mapping) and "cache_control" in tool:
                own["cache_control"] = tool["cache_control"]
    form = made.get("response_format")
    if form is not None and native.takes_openai_format and not native.remembers_in(chat, made):
        del made["response_format"]  # with which OpenAI's package would read the calls, and refuse tools that are loose
        made["extra_body"] = {**(made.get("extra_body") or {}), "response_format": form}
    return made | named


def _own_format(chat: BaseChatModel, response_format: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters by which *chat*'s class asks for a schema.

    Raises:
        ValueError: *response_format* has no schema.
    """
    schema = response_format.schema if isinstance(response_format, BoundFormat) else None
    schema = fresh(schema) or (response_format.get("json_schema") or {}).get("schema")
    if schema is None:
        raise ValueError("this provider promises JSON only to a schema: use with_structured_output, or 'json_schema'")
    bound = chat.with_structured_output(schema, method="json_schema").first  # type: ignore[attr-defined]  # a sequence
    return {name: value for name, value in bound.kwargs.items() if name != "ls_structured_output_format"}


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
            response_format=_response_format(schema, method, strict=strict),
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


def _response_format(schema: Any, method: Method, *, strict: bool | None) -> BoundFormat:
    """Return the response format for "json_mode" or "json_schema", which is strict unless *strict* is False."""
    if method == "json_mode":
        return BoundFormat({"type": "json_object"}, schema=schema)
    function = convert_to_openai_tool(schema)["function"]
    described = {"name": function["name"], "schema": function["parameters"], "strict": strict is not False}
    return BoundFormat({"type": "json_schema", "json_schema": described}, schema=schema)

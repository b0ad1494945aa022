"""Tools and schemas, bound early and converted late: each provider wants its own format, and calls may change it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from liverouter.chat import schema_tool
from liverouter.chat.bound import BoundFormat, BoundTools
from liverouter.chat.built_in import carried, spelt
from liverouter.chat.history.copies import fresh
from liverouter.chat.schemas import format_of
from liverouter.providers import api_of, native_model
from liverouter.routing.model_map import known_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel

    from liverouter.generation import Generation
    from liverouter.providers import NativeModel
    from liverouter.revision import Deployment


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
    if generation.is_native:
        return _native_request(chat, native_model(deployment), request, tools)
    strict = request.pop("strict", None)  # belongs into the tools; as a parameter providers refuse it
    if tools is None:
        return request
    ours = tools if isinstance(tools, BoundTools) else BoundTools(tools, strict=strict)
    choice, functions = request.pop("tool_choice", None), [tool for tool in ours if "function" in tool]
    bound = chat.bind_tools(functions, tool_choice=choice, **request)
    given = {name: value for name, value in bound.kwargs.items() if value is not None}  # type: ignore[attr-defined]
    worded = api_of(deployment, native=False).litellm_tool
    return given | {"tools": [worded(tool) for tool in ours]}  # the binding would make functions of built-in ones


def tools_for(
    generation: Generation, deployment: Deployment, request: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return *request* with the tools that *deployment* can be sent, and what is left out: kinds of built-in ones.

    Raises:
        MissingToolError: the call is about one of these.
    """
    if not (tools := request.get("tools")):
        return request, ()
    native, strict = generation.is_native, request.get("strict")
    bound = tools if isinstance(tools, BoundTools) else BoundTools(tools, strict=strict)
    api = api_of(deployment, native=native)
    kept, strangers = carried(bound, request.get("tool_choice"), api, deployment, native=native)
    left_out = tuple(f"tool {kind}" for kind in strangers)
    if not kept:
        return {name: value for name, value in request.items() if name not in ("tools", "tool_choice")}, left_out
    made = {**request, "tools": bound.only(kept)}
    if bound.is_strict and not api.is_strict(known_model(deployment)):
        made |= {"tools": made["tools"].loose()}
        made.pop("strict", None)
        return made, (*left_out, "strict")
    return made, (*left_out, "strict") if bound.loosened else left_out


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
    return isinstance(form, BoundFormat) and (not generation.is_native or not native_model(deployment).promises(chat))


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
    form = request.pop("response_format", None)  # of which OpenAI's package would make another schema
    bound = chat.bind_tools(given, **request)
    made: dict[str, Any] = dict(bound.kwargs)  # type: ignore[attr-defined]  # a RunnableBinding
    if native.takes_anthropic_blocks:  # its class forgets the mark of a tool in OpenAI's format
        for tool, own in zip(given, made["tools"], strict=False):
            if isinstance(tool, Mapping) and "cache_control" in tool:
                own["cache_control"] = tool["cache_control"]
    if form is not None and native.parameters_in(chat, made) is not None:
        made["response_format"] = form
    elif form is not None:  # else OpenAI's package would read the calls, and refuse tools that are loose
        made["extra_body"] = {**(made.get("extra_body") or {}), "response_format": form}
    return made | named


def _own_format(chat: BaseChatModel, response_format: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters by which *chat*'s class asks for a schema.

    Raises:
        ValueError: *response_format* has no schema.
    """
    schema = response_format.schema if isinstance(response_format, BoundFormat) else None
    schema = fresh(schema) or (response_format.get("json_schema") or {}).get("schema")
    if schema is None and response_format.get("type") == "json_object":
        return {"response_mime_type": "application/json"}  # only Google's class is asked so
    if schema is None:
        raise ValueError("this provider promises JSON only to a schema: use with_structured_output, or 'json_schema'")
    bound = chat.with_structured_output(schema, method="json_schema").first  # type: ignore[attr-defined]  # a sequence
    return {name: value for name, value in bound.kwargs.items() if name != "ls_structured_output_format"}

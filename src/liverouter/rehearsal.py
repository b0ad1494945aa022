"""Loads what first calls need before anybody calls: litellm imports up to three seconds of modules on its first use.

Each dialect is rehearsed once per process: a whole answer, a stream, a tool call and an error, through the same Router
and chat model as real calls, over an HTTP transport that answers from memory. Nothing is sent, no setting and no secret
is used. It runs on a loop of its own, so that calls in flight go on.
"""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any, Final

import httpx
import litellm
import openai
from langchain_core.messages import HumanMessage
from langchain_litellm import ChatLiteLLMRouter
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.utils import is_internal_call

from liverouter.cooldowns import Cooldowns, Limits
from liverouter.failover import FailoverRouter
from liverouter.inner import close_litellm_clients
from liverouter.loop_thread import LoopThread
from liverouter.providers import is_claude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from liverouter.snapshot import Deployment

_LIMIT_S: Final = 30.0
_GROUP: Final = "rehearsal"
_NOWHERE: Final = "http://rehearsal.invalid"
_DIALECTS: Final[
    dict[str, dict[str, str]]
] = {  # name -> litellm's parameters; reserved names, so that nothing resolves
    "anthropic": {"model": "anthropic/claude-sonnet-4-6", "api_base": _NOWHERE},
    "azure": {"model": "azure/gpt-4o", "api_base": _NOWHERE, "api_version": "2024-10-21"},
    "gemini": {"model": "gemini/gemini-2.5-flash", "api_base": _NOWHERE},  # Vertex would ask Google for a token
    "openai": {"model": "openai/gpt-4o", "api_base": f"{_NOWHERE}/v1"},
    "snowflake": {"model": "snowflake/llama3.1-70b", "api_base": f"{_NOWHERE}/api/v2"},
}
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "rehearse",
        "description": "Rehearse.",
        "parameters": {"type": "object", "properties": {"line": {"type": "string"}}},
    },
}
_rehearsed: Final[set[str]] = set()
_rehearsing: Final = threading.Lock()


def rehearse(deployments: Iterable[Deployment]) -> None:
    """Rehearse the dialects of *deployments* that were not yet; blocks for up to seconds the first time."""
    with _rehearsing:
        new = {_dialect(deployment) for deployment in deployments} - _rehearsed
        if not new:
            return
        loop = LoopThread("liverouter-rehearsal")
        loop.at_stop(close_litellm_clients)
        for name in new:
            with contextlib.suppress(Exception):  # what it loaded is loaded; a call will say what is wrong, if anything
                loop.call(_rehearse, name)
        loop.stop(_LIMIT_S)
        _rehearsed.update(new)


def _dialect(deployment: Deployment) -> str:
    match deployment.provider:
        case "vertex-ai":
            return "anthropic" if is_claude(deployment.model) else "gemini"
        case "azure-openai":
            return "azure"
        case "snowflake-cortex":
            return "snowflake"
        case name:
            return name


async def _rehearse(name: str) -> None:
    is_internal_call.set(True)  # litellm then tells no logger
    params = {**_DIALECTS[name], "api_key": "rehearsal"}
    router = FailoverRouter(
        group=_GROUP,
        orders={_GROUP: 1},
        cooldowns=Cooldowns(),
        limits=Limits(1, 1.0),
        tries=1,
        model_list=[{"model_name": _GROUP, "litellm_params": params, "model_info": {"id": _GROUP}}],
        timeout=_LIMIT_S,
        num_retries=0,
    )
    try:
        chat = ChatLiteLLMRouter(router=router, model=_GROUP)
        request: dict[str, Any] = {"client": _client(name, _answer), "tools": [_TOOL]}
        await chat._agenerate([HumanMessage("hi")], **request)  # noqa: SLF001 - what the handle calls
        async for _ in chat._astream([HumanMessage("hi")], **request):  # noqa: SLF001 - the same
            pass
        await chat._agenerate([HumanMessage("hi")], client=_client(name, _fail))  # noqa: SLF001 - the same; raises
    finally:
        router.discard()
        litellm.model_cost.pop(_GROUP, None)


def _client(name: str, answers: Callable[[httpx.Request], httpx.Response]) -> Any:
    """Return a client, of the kind that litellm takes for this dialect, which answers from memory."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(answers))
    match name:
        case "openai":
            return openai.AsyncOpenAI(api_key="rehearsal", base_url=f"{_NOWHERE}/v1", http_client=http)
        case "azure":
            return openai.AsyncAzureOpenAI(
                api_key="rehearsal", api_version="2024-10-21", azure_endpoint=_NOWHERE, http_client=http
            )
        case _:
            handler = AsyncHTTPHandler()
            handler.client = http
            return handler


def _fail(request: httpx.Request) -> httpx.Response:
    del request
    return httpx.Response(500, json={"error": {"type": "api_error", "message": "rehearsal", "code": 500}})


def _answer(request: httpx.Request) -> httpx.Response:
    """Answer in the dialect of the request's path."""
    path, body = request.url.path, json.loads(request.content)
    if "/messages" in path:
        whole, events, end = _ANTHROPIC, _ANTHROPIC_EVENTS, ""
    elif "enerateContent" in path:
        whole, events, end = _GEMINI, [_GEMINI], ""
    else:
        whole, events, end = _OPENAI, _OPENAI_EVENTS, "data: [DONE]\n\n"
    if not body.get("stream") and "stream" not in path:
        return httpx.Response(200, json=whole)
    names = (f"event: {event['type']}\n" if "type" in event else "" for event in events)
    text = "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(names, events, strict=True))
    return httpx.Response(200, text=text + end, headers={"content-type": "text/event-stream"})


_OPENAI_USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_OPENAI_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "rehearse", "arguments": "{}"}}
_OPENAI: Final[dict[str, Any]] = {
    "id": "rehearsal",
    "object": "chat.completion",
    "created": 1,
    "model": "rehearsal",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": "ok", "tool_calls": [_OPENAI_CALL]},
        }
    ],
    "usage": _OPENAI_USAGE,
}
_OPENAI_EVENT: Final = {"id": "rehearsal", "object": "chat.completion.chunk", "created": 1, "model": "rehearsal"}
_OPENAI_EVENTS: Final[list[dict[str, Any]]] = [
    {**_OPENAI_EVENT, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    for delta, finish in (
        ({"role": "assistant", "content": "ok"}, None),
        ({"tool_calls": [{"index": 0, **_OPENAI_CALL}]}, None),
        ({}, "tool_calls"),
    )
]
_OPENAI_EVENTS.append({**_OPENAI_EVENT, "choices": [], "usage": _OPENAI_USAGE})
_ANTHROPIC_USAGE: Final = {"input_tokens": 1, "output_tokens": 1}
_ANTHROPIC_CALL: Final = {"type": "tool_use", "id": "toolu_1", "name": "rehearse", "input": {}}
_ANTHROPIC: Final[dict[str, Any]] = {
    "id": "rehearsal",
    "type": "message",
    "role": "assistant",
    "model": "rehearsal",
    "content": [{"type": "text", "text": "ok"}, _ANTHROPIC_CALL],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": _ANTHROPIC_USAGE,
}
_ANTHROPIC_EVENTS: Final[list[dict[str, Any]]] = [
    {"type": "message_start", "message": {**_ANTHROPIC, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": _ANTHROPIC_CALL},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": _ANTHROPIC_USAGE},
    {"type": "message_stop"},
]
_GEMINI: Final[dict[str, Any]] = {
    "candidates": [
        {
            "index": 0,
            "finishReason": "STOP",
            "content": {
                "role": "model",
                "parts": [{"text": "ok"}, {"functionCall": {"name": "rehearse", "args": {}}}],
            },
        }
    ],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}

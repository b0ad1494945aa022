"""Loads what first calls need before anybody calls: litellm imports up to three seconds of modules on its first use.

Each dialect is gone through once per process: a whole answer, a stream, a tool call and an error, through the Router
and the chat model of real calls, over an HTTP transport that answers from memory. Nothing is sent; no setting and no
secret is used. It runs on a loop of its own, so that calls in flight go on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx

from liverouter.loops.thread import LoopThread
from liverouter.providers import spec_of
from liverouter.routing.cooldowns import Cooldowns, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from liverouter.providers import ProviderSpec
    from liverouter.providers.spec import Dialect
    from liverouter.revision import Deployment, Snapshot

_LATE: Final = (  # modules that a first call would import, whichever its provider
    "anyio._backends._asyncio",
    "langchain_core.messages.block_translators.langchain_v0",
    "langchain_core.tracers.langchain",
    "langchain_core.tracers.run_collector",
    "langchain_core.tracers.stdout",
    "langsmith.run_helpers",
)
_LIMIT_S: Final = 30.0
_GROUP: Final = "warmup"
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "warm_up",
        "description": "Warm up.",
        "parameters": {"type": "object", "properties": {"line": {"type": "string"}}},
    },
}
_warmed: Final[set[str]] = set()
_warming: Final = threading.Lock()


def warm_up(snapshot: Snapshot) -> None:
    """Load what the first call of *snapshot* needs, so that no caller pays; blocks for seconds the first time."""
    own = (name for deployment in snapshot.deployments for name in spec_of(deployment).preload)
    for name in dict.fromkeys((*_LATE, *own)):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if snapshot.litellm_enable:
        _warm_up_new(snapshot.deployments)


def _warm_up_new(deployments: Iterable[Deployment]) -> None:
    """Go through the dialects of *deployments* that no warm-up of this process has; blocks for up to seconds."""
    from liverouter.routing.litellm_http import close_clients

    with _warming:
        spoken = _spoken(deployments)
        new = spoken.keys() - _warmed
        if not new:
            return
        loop = LoopThread("liverouter-warmup")
        loop.at_stop(close_clients)
        for name in new:
            with contextlib.suppress(Exception):  # what it loaded is loaded; a call will say what is wrong, if anything
                loop.call(_warm_up_dialect, *spoken[name])
        loop.stop(_LIMIT_S)
        _warmed.update(new)


def _spoken(deployments: Iterable[Deployment]) -> dict[str, tuple[Dialect, ProviderSpec]]:
    """Return each dialect of *deployments* by its name, and a provider that speaks it."""
    spoken = {}
    for deployment in deployments:
        spec = spec_of(deployment)
        dialect = spec.dialect(deployment.model)
        spoken[dialect.name] = dialect, spec
    return spoken


async def _warm_up_dialect(dialect: Dialect, spec: ProviderSpec) -> None:
    """Lead litellm through *dialect* as *spec*'s client reads it.

    Raises:
        Exception: the error that is the last of its answers, or whatever litellm raises before.
    """
    import litellm
    from langchain_core.messages import HumanMessage
    from langchain_litellm import ChatLiteLLMRouter
    from litellm.utils import is_internal_call

    from liverouter.routing.failover import FailoverRouter

    is_internal_call.set(True)  # litellm then tells no logger
    params = {**dialect.params, "api_key": "warmup"}
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
    answering, failing = _client(spec, partial(_answer, dialect)), _client(spec, _fail)
    try:
        chat = ChatLiteLLMRouter(router=router, model=_GROUP)
        request: dict[str, Any] = {"client": answering, "tools": [_TOOL]}
        await chat._agenerate([HumanMessage("hi")], **request)  # noqa: SLF001 - what the chat model calls
        async for _ in chat._astream([HumanMessage("hi")], **request):  # noqa: SLF001 - what the chat model calls
            pass
        await chat._agenerate([HumanMessage("hi")], client=failing)  # noqa: SLF001 - what the chat model calls; raises
    finally:
        router.discard()
        litellm.model_cost.pop(_GROUP, None)


def _client(spec: ProviderSpec, answers: Callable[[httpx.Request], httpx.Response]) -> Any:
    """Return a client, of the kind that litellm takes for this provider, which answers from memory."""
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    http = httpx.AsyncClient(transport=httpx.MockTransport(answers))
    if spec.litellm_client is not None:
        return spec.litellm_client(http)
    handler = AsyncHTTPHandler()
    handler.client = http
    return handler


def _fail(request: httpx.Request) -> httpx.Response:
    """Answer an error that every library reads."""
    del request
    return httpx.Response(500, json={"error": {"type": "api_error", "message": "warmup", "code": 500}})


def _answer(dialect: Dialect, request: httpx.Request) -> httpx.Response:
    """Answer in *dialect*, whole or as the stream that is asked for."""
    if not json.loads(request.content).get("stream") and "stream" not in request.url.path:
        return httpx.Response(200, json=dialect.whole)
    names = (f"event: {event['type']}\n" if "type" in event else "" for event in dialect.events)
    text = "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(names, dialect.events, strict=True))
    return httpx.Response(200, text=text + dialect.end, headers={"content-type": "text/event-stream"})

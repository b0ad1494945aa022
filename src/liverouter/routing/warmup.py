"""Loads what first calls need before anybody calls: litellm imports up to three seconds of modules on its first use.

Each dialect is gone through once per process: a whole answer and a stream, with a tool, through the Router and the chat
model of real calls, over an HTTP transport that answers from memory. An error is left to the first one that comes: it
imports nothing, and litellm reads 4 MB of its own source for it. Nothing is sent; no setting and no secret is used. It
runs on a loop of its own, so that calls in flight go on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from typing import TYPE_CHECKING, Any, Final

from liverouter.loops.thread import LoopThread
from liverouter.providers import PROVIDERS, spec_of
from liverouter.routing.clock import Clock
from liverouter.routing.litellm_setup import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

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


def warm_up(snapshot: Snapshot, *, by_litellm: bool) -> None:
    """Load what the first call of *snapshot* needs, so that no caller pays; blocks for seconds the first time.

    *by_litellm*: that is the engine.
    """
    _import((*_LATE, *(name for deployment in snapshot.deployments for name in spec_of(deployment).preload)))
    if by_litellm:
        _warm_up_new(snapshot.deployments)


def preload(*, by_litellm: bool) -> None:
    """Load what first calls of any provider need, as far as that starts no thread; blocks for seconds.

    The dialects are left to `warm_up`, in a child of this process: litellm makes its calls in threads of its own.

    Raises:
        ConfigError: litellm is wanted and cannot be used.
    """
    if by_litellm:
        _preload_litellm()
    else:
        _import(filter(None, (spec.native("").package for spec in PROVIDERS.values())))
    _import((*_LATE, *(name for spec in PROVIDERS.values() for name in spec.preload)))


def _preload_litellm() -> None:
    """Load litellm, and what a Router loads beside it.

    Raises:
        ConfigError: it cannot be used.
    """
    load()
    with _router(next(filter(None, (spec.dialect("") for spec in PROVIDERS.values())))):  # any will do
        pass


def _import(names: Iterable[str]) -> None:
    """Import those of the modules that are installed."""
    for name in dict.fromkeys(names):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _warm_up_new(deployments: Iterable[Deployment]) -> None:
    """Go through the dialects of *deployments* that no warm-up of this process has; blocks for up to seconds."""
    with _warming:
        spoken = _spoken(deployments)
        new = spoken.keys() - _warmed
        if not new:
            return
        loop = LoopThread("liverouter-warmup")
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
        if (dialect := spec.dialect(deployment.model)) is not None:
            spoken[dialect.name] = dialect, spec
    return spoken


async def _warm_up_dialect(dialect: Dialect, spec: ProviderSpec) -> None:
    """Lead litellm through *dialect* as *spec*'s client reads it.

    Raises:
        Exception: whatever litellm raises where an answer is wanted.
    """
    chat_model: Any = importlib.import_module("langchain_litellm").ChatLiteLLMRouter
    engine: Any = importlib.import_module("liverouter.routing.engines.litellm")
    with _router(dialect) as (router, params):
        client = engine.client_of(spec, params, _memory(dialect))
        clock = Clock(_LIMIT_S)  # by which litellm's patches know a call of ours
        try:
            await clock.wait(
                _speak(chat_model(router=engine.OneDeployment(router, _GROUP, params, client), model=_GROUP))
            )
        finally:
            await clock.close()


async def _speak(model: BaseChatModel) -> None:
    """Have *model* answer and stream, as an attempt has."""
    from langchain_core.messages import HumanMessage

    messages: list[BaseMessage] = [HumanMessage("hi")]
    await model._agenerate(messages, tools=[_TOOL])  # noqa: SLF001 - what an attempt calls
    async for _ in model._astream(messages, tools=[_TOOL]):  # noqa: SLF001 - what an attempt calls
        pass


@contextlib.contextmanager
def _router(dialect: Dialect) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Have a Router of one deployment that speaks *dialect*, and its parameters; litellm's lists forget it."""
    litellm: Any = importlib.import_module("litellm")
    params = {**dialect.params, "api_key": "warmup"}
    entry = {"model_name": _GROUP, "litellm_params": params, "model_info": {"id": _GROUP}}
    router = litellm.Router(model_list=[entry], timeout=_LIMIT_S, num_retries=0)
    try:
        yield router, params
    finally:
        importlib.import_module("liverouter.routing.engines.router").retire(router)
        litellm.model_cost.pop(_GROUP, None)


def _memory(dialect: Dialect) -> Any:
    """Return an HTTP client that answers in *dialect*, from memory, and sends nothing."""
    import httpx

    def respond(request: httpx.Request) -> httpx.Response:
        content, content_type = _answer(dialect, request)
        return httpx.Response(200, content=content, headers={"content-type": content_type})

    return httpx.AsyncClient(transport=httpx.MockTransport(respond))


def _answer(dialect: Dialect, request: Any) -> tuple[bytes, str]:
    """Return an answer in *dialect*, whole or as the stream that is asked for, and its content type."""
    if not json.loads(request.content).get("stream") and "stream" not in request.url.path:
        return json.dumps(dialect.whole).encode(), "application/json"
    names = (f"event: {event['type']}\n" if "type" in event else "" for event in dialect.events)
    text = "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(names, dialect.events, strict=True))
    return (text + dialect.end).encode(), "text/event-stream"

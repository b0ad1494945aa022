"""Loads what first calls need before anybody calls: litellm imports up to three seconds of modules on its first use.

Each dialect is gone through once per process: a whole answer and a stream, with a tool, through the Router and the chat
model of real calls, over an HTTP transport that answers from memory. An error is left to the first one that comes: it
imports nothing, and litellm reads 4 MB of its own source for it. Nothing is sent; no secret is used. It runs on a loop
of its own, so that calls in flight go on.

The provider's own classes build the schemas of their answers as they meet them, up to a tenth of a second of work. They
are led through their dialect before a swap; at a start the first call does it, which nothing else waits for.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from liverouter.loops.thread import LoopThread
from liverouter.providers import PROVIDERS, native_model, spec_of
from liverouter.routing.clock import Clock
from liverouter.routing.litellm_setup import load
from liverouter.secrecy.sealing import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

    from liverouter.providers import ProviderSpec
    from liverouter.providers.spec import Dialect
    from liverouter.revision import Deployment, Snapshot

C = TypeVar("C")

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


def warm_up(snapshot: Snapshot, *, by_litellm: bool, first: bool) -> None:
    """Load what the first call of *snapshot* needs, so that no caller pays; blocks for seconds the first time.

    *by_litellm*: that is the engine. *first*: nothing serves calls yet.
    """
    _import((*_LATE, *(name for deployment in snapshot.deployments for name in spec_of(deployment).preload)))
    if by_litellm:
        _warm_up_new(snapshot.deployments)
    elif first:
        _warmed.update(_classes((snapshot.primary,)))  # by its first call
    else:
        spoken = _classes(snapshot.deployments)
        _rehearse({name: partial(_warm_up_class, *found) for name, found in spoken.items()})


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
    """Have litellm go through the dialects of *deployments*; blocks for up to seconds."""
    _rehearse({name: partial(_warm_up_dialect, *spoken) for name, spoken in _spoken(deployments).items()})


def _rehearse(parts: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Run those of *parts*, by their names, that no warm-up of this process has; blocks until they have ended."""
    with _warming:
        new = parts.keys() - _warmed
        if not new:
            return
        loop = LoopThread("liverouter-warmup")
        for name in new:
            # what it loaded is loaded; a call will say what is wrong, if anything
            with contextlib.suppress(Exception), _untraced():
                loop.call(parts[name])
        loop.stop(_LIMIT_S)
        _warmed.update(new)


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Have the providers' libraries tell OpenTelemetry nothing of what runs in here, as nobody called."""
    try:
        from opentelemetry import context, trace
    except ImportError:
        yield
        return
    not_sampled = trace.NonRecordingSpan(trace.SpanContext(trace_id=1, span_id=1, is_remote=False))
    token = context.attach(trace.set_span_in_context(not_sampled))
    try:
        yield
    finally:
        context.detach(token)


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
        client = engine.client_of(spec, params, _memory(dialect, importlib.import_module("httpx").AsyncClient))
        clock = Clock(_LIMIT_S)  # by which litellm's patches know a call of ours
        try:
            await clock.wait(
                _speak(chat_model(router=engine.OneDeployment(router, _GROUP, params, client), model=_GROUP))
            )
        finally:
            await clock.close()


def _classes(deployments: Iterable[Deployment]) -> dict[str, tuple[Dialect, Deployment]]:
    """Return each dialect of *deployments* by its name and the package of the class that speaks it, and one of them.

    None of a provider that fetches tokens: its class would ask the machine, or Google.
    """
    found = {}
    for deployment in deployments:
        spec, package = spec_of(deployment), native_model(deployment).package
        dialect = spec.dialect(deployment.model)
        if dialect is not None and package and not spec.token_modules:
            found[f"{package}, {dialect.name}"] = dialect, deployment
    return found


async def _warm_up_class(dialect: Dialect, deployment: Deployment) -> None:
    """Lead the provider's own class of *deployment* through its *dialect*, without its secrets.

    Raises:
        Exception: whatever the class raises where an answer is wanted.
    """
    without = replace(deployment, secrets={name: Secret("warmup") for name in deployment.secrets})
    await _speak(native_model(deployment).build(without, _MemoryHttp(dialect)))


class _MemoryHttp:
    """The `providers.Http` of a class that is warmed up: what it sends is answered in *dialect*, from memory."""

    timeout_s = _LIMIT_S

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    @property
    def token_request(self) -> NoReturn:
        """Give none: no token is fetched."""
        raise NotImplementedError

    def client(self, kind: Callable[..., C]) -> C:
        """Return a client of *kind* that sends nothing."""
        return _memory(self._dialect, kind)  # type: ignore[no-any-return]  # of the class that was asked for


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


def _memory(dialect: Dialect, kind: Any) -> Any:
    """Return a client of *kind*, httpx's or httpx2's, that answers in *dialect*, from memory, and sends nothing."""
    names = (each.__module__.partition(".")[0] for each in kind.__mro__)
    library = importlib.import_module(next(name for name in names if name.startswith("httpx")))

    def respond(request: Any) -> Any:
        content, content_type = _answer(dialect, request)
        return library.Response(200, content=content, headers={"content-type": content_type})

    return kind(transport=library.MockTransport(respond))


def _answer(dialect: Dialect, request: Any) -> tuple[bytes, str]:
    """Return an answer in *dialect*, whole or as the stream that is asked for, and its content type."""
    if not json.loads(request.content).get("stream") and "stream" not in request.url.path:
        return json.dumps(dialect.whole).encode(), "application/json"
    names = (f"event: {event['type']}\n" if "type" in event else "" for event in dialect.events)
    text = "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(names, dialect.events, strict=True))
    return (text + dialect.end).encode(), "text/event-stream"

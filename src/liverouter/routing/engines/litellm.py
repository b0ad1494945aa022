"""The engine of litellm: each deployment's chat model, over a Router of that one deployment.

litellm translates and calls, and makes one attempt. Which deployment is asked, how often and how long is ours, see
`walk` and `attempt`. Importing this module imports litellm.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import httpx
from langchain_litellm import ChatLiteLLMRouter
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.utils import get_optional_params

from liverouter.errors import ConfigError
from liverouter.providers import spec_of
from liverouter.routing import litellm_patches
from liverouter.routing.engines.left_out import missing_package
from liverouter.routing.engines.router import DirectCalls, build_router, entry_of, params_of
from liverouter.routing.http import DeploymentHttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel
    from litellm import Router

    from liverouter.errors import Problem
    from liverouter.generation import Generation
    from liverouter.loops.thread import LoopThread
    from liverouter.providers import ProviderSpec
    from liverouter.revision import Deployment, Snapshot
    from liverouter.routing.cooldowns import Cooldowns

_CREDENTIALS: Final = frozenset(
    {
        *("api_key", "azure_ad_token", "vertex_credentials"),
        *("aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
    }
)
_ONE_ATTEMPT: Final[Mapping[str, Any]] = {"num_retries": 0, "disable_fallbacks": True}
_closing: Final[WeakSet[LoopThread]] = WeakSet()


def build(
    snapshot: Snapshot, io: LoopThread, cooldowns: Cooldowns, former: Generation | None = None
) -> tuple[Callable[[], Router], dict[str, dict[str, BaseChatModel]], tuple[Problem, ...]]:
    """Return what makes the Router of *snapshot*, once, and the chat models of each name by their deployments' ids.

    Beside them a warning for each fallback that is left out: what litellm fetches its tokens by is not installed. The
    models may be called on the loop of *io* alone, the Router anywhere; its own callers share *cooldowns*. Models of
    *former* serve on where their deployments are what they were: litellm takes 5 ms for each. Nothing is sent.

    Raises:
        ConfigError: litellm refused the configuration (LR301), or would look a value of it up elsewhere (LR112), or a
            primary's package is not installed (LR109).
    """
    if io not in _closing:
        _closing.add(io)
        io.at_stop(litellm_patches.close_clients)
    chats: dict[str, dict[str, BaseChatModel]] = {name: {} for name in snapshot.models}
    built, direct = _built(former, snapshot), {}
    warnings: list[Problem] = []
    for deployment in snapshot.deployments:
        entry = entry_of(deployment)
        known, chat = built.get(entry, (None, None))
        if chat is None or known != deployment:
            try:
                chat = _build(deployment, snapshot, io)
            except ImportError as exc:
                missing = missing_package(deployment, exc, by_litellm=True)
                if deployment is snapshot.models[deployment.name].primary:
                    raise ConfigError([missing]) from exc
                warnings.append(missing)
                continue
        chats[deployment.name][deployment.id] = chat
        direct[entry] = chat.router.acompletion
    make_router = functools.cache(functools.partial(_for_callers, snapshot, direct, cooldowns, io))
    return make_router, chats, tuple(dict.fromkeys(warnings))


def _built(former: Generation | None, snapshot: Snapshot) -> dict[str, tuple[Deployment, Any]]:
    """Return deployments and chat models of *former* by their entries; none of another engine's or logical name's."""
    if former is None or former.is_native or former.snapshot.model_name != snapshot.model_name:
        return {}
    models = former.models.values()
    return {entry_of(d): (d, m.chats[d.id]) for m in models for d in m.config.deployments if d.id in m.chats}


def _build(deployment: Deployment, snapshot: Snapshot, io: LoopThread) -> ChatLiteLLMRouter:
    """Return the chat model of *deployment*.

    Raises:
        ConfigError: as `build`.
        ImportError: what its tokens are fetched by is not installed.
    """
    for module in spec_of(deployment).token_modules:
        importlib.import_module(module)
    entry, params = entry_of(deployment), params_of(deployment)
    router = build_router(snapshot, (deployment,))
    http = DeploymentHttp(deployment, deployment.timeout_s, io)
    client = client_of(spec_of(deployment), params, http.client(litellm_patches.http_client))
    one = OneDeployment(router, entry, params, client)
    chat = ChatLiteLLMRouter(router=one, model=entry)
    chat.__dict__["acompletion_with_retry"] = one.ask  # its own asks once, too, but by a library for retries
    http.belongs_to(chat)
    return chat


def _for_callers(
    snapshot: Snapshot, direct: Mapping[str, Callable[..., Awaitable[Any]]], cooldowns: Cooldowns, io: LoopThread
) -> Router:
    """Return the Router of the deployments of *direct*, by which `live.router()` has its callers ask each."""
    router = build_router(snapshot, [d for d in snapshot.deployments if entry_of(d) in direct])
    DirectCalls(snapshot, direct, cooldowns, io).serve(router)
    return router


def promises(deployment: Deployment, _: BaseChatModel) -> bool:
    """Tell whether litellm has *deployment* answer to a schema as such; else it forces a tool, or drops the schema."""
    provider, _, model = spec_of(deployment).litellm_params(deployment)["model"].partition("/")
    return _promises(provider, model)


@functools.lru_cache(maxsize=256)
def _promises(provider: str, model: str) -> bool:
    """Ask litellm what it would send to *model* of *provider*; by its names."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    try:
        sent = get_optional_params(model=model, custom_llm_provider=provider, response_format=asked, drop_params=True)
    except Exception:  # noqa: BLE001 - it raises whatever it meets; the list of models says what there is then
        return True
    return not isinstance(sent.get("tool_choice"), dict)


def client_of(spec: ProviderSpec, params: Mapping[str, Any], client: Any) -> Any:
    """Return what litellm calls *spec*'s API by, with *params*, over the HTTP client *client*."""
    by = spec.litellm_client(params, client)
    if by is not client:
        return by
    handler = AsyncHTTPHandler(transport=httpx.AsyncBaseTransport())  # which is not used
    handler.client = client
    return litellm_patches.without_resend(handler)


class OneDeployment:
    """What `ChatLiteLLMRouter` takes for a Router: it asks one deployment of a real one, once, by a client of ours.

    Attributes:
        model_list: what LangChain's model reads to tell whose reasoning it may send back: one entry.
        default_litellm_params: none.
    """

    def __init__(self, router: Router, identifier: str, params: Mapping[str, Any], client: Any) -> None:
        """Ask *router* for the deployment *identifier*, whose parameters for litellm are *params*, by *client*."""
        self._complete, self._identifier, self._client = router.acompletion, identifier, client
        shown = {name: value for name, value in params.items() if name not in _CREDENTIALS}
        self.model_list = [{"model_name": identifier, "litellm_params": shown}]
        self.default_litellm_params: dict[str, Any] = {}

    async def ask(self, *, run_manager: object = None, **request: Any) -> Any:
        """Return litellm's answer, or its stream; *run_manager* is told of retries, and there are none."""
        del run_manager
        return await self.acompletion(**request)

    async def acompletion(self, **request: Any) -> Any:
        """Return litellm's answer, or its stream."""
        litellm_patches.log_if_watched(request)
        messages = request.get("messages") or ()
        for message in messages:
            if message.get("tool_calls") and not message.get("content"):
                message["content"] = None  # of an empty text litellm makes an empty part, or one that it invents
        if _lost_its_thought(messages):
            request.pop("thinking", None)
        request = request | {"model": self._identifier, "client": self._client, **_ONE_ATTEMPT}
        return await self._complete(**request)


def _lost_its_thought(messages: Sequence[Any]) -> bool:
    """Tell whether *messages* called tools last, and LangChain's model gives no thought back before the calls.

    It checks whose thought it is, and what was said before; Claude, told to think, wants one there until it has
    answered.
    """
    caller = next((message for message in reversed(messages) if message.get("role") == "assistant"), None)
    if caller is None:
        return bool(messages) and messages[-1].get("role") == "tool"
    return bool(caller.get("tool_calls")) and not caller.get("thinking_blocks")

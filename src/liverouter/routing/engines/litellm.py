"""The engine of litellm: one Router of all deployments, and each deployment's chat model over it.

litellm translates and calls; it is asked for one deployment by its id, and makes one attempt. Which deployment is
asked, how often and how long is ours, see `walk` and `attempt`. Importing this module imports litellm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx
import litellm
from langchain_litellm import ChatLiteLLMRouter
from litellm import Router
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

from liverouter.errors import ConfigError, Problem
from liverouter.providers import spec_of
from liverouter.routing import litellm_patches
from liverouter.routing.http import DeploymentHttp
from liverouter.secrecy.literal import looked_up
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.loops.thread import LoopThread
    from liverouter.providers import ProviderSpec
    from liverouter.providers.spec import Http
    from liverouter.revision import Deployment, Snapshot

_CREDENTIALS: Final = frozenset({"api_key", "azure_ad_token", "vertex_credentials"})
retire: Final[Callable[[Router], object]] = getattr(Router, "retire", None) or Router.discard  # the latter until 1.110
_ONE_ATTEMPT: Final[Mapping[str, Any]] = {"num_retries": 0, "disable_fallbacks": True}


def build(snapshot: Snapshot, io: LoopThread) -> tuple[Router, dict[str, BaseChatModel]]:
    """Return the Router of *snapshot*, and the chat model of each deployment by its id; nothing is sent anywhere.

    The models may be called on the loop of *io* alone.

    Raises:
        ConfigError: litellm refused the configuration (LR301), or would look a value of it up elsewhere (LR112).
    """
    litellm_patches.apply_patches(name for d in snapshot.deployments for name in spec_of(d).litellm_patches(d.model))
    entries = [_entry(deployment, snapshot) for deployment in snapshot.deployments]
    try:
        router = Router(
            model_list=entries,
            timeout=snapshot.timeout_s,
            num_retries=snapshot.tries - 1,
            allowed_fails=snapshot.allowed_fails,
            cooldown_time=snapshot.cooldown_time_s,
        )
    except Exception as exc:  # noqa: BLE001 - litellm raises whatever it meets
        problem = Problem(
            "LR301",
            f"litellm refused the configuration: {brief(exc)}",
            "settings",
            "Check provider and model; `liverouter check` tries a configuration without activating it",
        )
    else:
        # takes its callbacks off litellm's process-wide lists: they hold thirty, and count every Router's failures
        retire(router)
        for deployment in snapshot.deployments:  # litellm's price list would keep an entry of every key ever used
            litellm.model_cost.pop(deployment.id, None)
        pairs = zip(snapshot.deployments, entries, strict=True)
        return router, {d.id: _chat(d, snapshot, router, entry, io) for d, entry in pairs}
    raise ConfigError([problem])  # out here: its context would hold parameters, and so secrets


def _entry(deployment: Deployment, snapshot: Snapshot) -> dict[str, Any]:
    """Return *deployment* as an entry of litellm's `model_list`.

    Raises:
        ConfigError: litellm would look one of its values up elsewhere (LR112).
    """
    spec = spec_of(deployment)
    params = spec.litellm_params(deployment) | deployment.params
    if problems := looked_up(params, f"deployment {deployment.id}"):
        raise ConfigError(problems)  # the last look before litellm, which would read what is named there and send it
    params |= {
        "order": deployment.order,
        "weight": deployment.weight,
        "timeout": snapshot.timeout_s,
        "drop_params": True,
        **spec.litellm_options(deployment),
    }
    info: dict[str, Any] = {"id": deployment.id}
    if base := spec.base_model(deployment):
        info["base_model"] = base
    return {"model_name": snapshot.model_name, "litellm_params": params, "model_info": info}


def _chat(
    deployment: Deployment, snapshot: Snapshot, router: Router, entry: Mapping[str, Any], io: LoopThread
) -> BaseChatModel:
    """Return LangChain's model for *deployment*, whose calls go through *router* by a client of its own."""
    http = DeploymentHttp(deployment, snapshot.timeout_s, io)
    client = client_of(spec_of(deployment), entry["litellm_params"], http)
    params = {name: value for name, value in entry["litellm_params"].items() if name not in _CREDENTIALS}
    one = OneDeployment(router, {"model_name": deployment.id, "litellm_params": params}, client)
    chat = ChatLiteLLMRouter(router=one, model=deployment.id)
    http.belongs_to(chat)
    return chat


def client_of(spec: ProviderSpec, params: Mapping[str, Any], http: Http) -> Any:
    """Return the client by which litellm calls *spec*'s API with *params*, over HTTP clients of *http*."""
    if spec.litellm_client is not None:
        return spec.litellm_client(params, http)
    handler = AsyncHTTPHandler(timeout=http.timeout_s, transport=httpx.AsyncBaseTransport())  # which is not used
    handler.client = http.client(httpx.AsyncClient)
    return litellm_patches.without_resend(handler)


class OneDeployment:
    """What `ChatLiteLLMRouter` takes for a Router: it asks one deployment of a real one, once, by a client of ours.

    Attributes:
        model_list: what LangChain's model reads to tell whose reasoning it may send back: one entry.
        default_litellm_params: none.
    """

    def __init__(self, router: Router, entry: Mapping[str, Any], client: Any) -> None:
        """Ask *router* for the deployment that *entry* names and describes, by *client*."""
        self._router, self._identifier, self._client = router, entry["model_name"], client
        self.model_list = [entry]
        self.default_litellm_params: dict[str, Any] = {}

    async def acompletion(self, **request: Any) -> Any:
        """Return litellm's answer, or its stream."""
        request |= {"model": self._identifier, "client": self._client, **_ONE_ATTEMPT}
        return await self._router.acompletion(**request)

"""Any server that speaks OpenAI's Chat Completions at an address of its own: vLLM, Ollama, LM Studio, a gateway.

Such servers take what OpenAI's API took first: a system message and `max_tokens`. Which parameters they know beside
those, and in which range, nobody can say: what rows and callers say is sent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers import openai
from liverouter.providers.openai import CHAT_COMPLETIONS, CHAT_OPENAI, chat_options
from liverouter.providers.openai_client import quick
from liverouter.providers.parameters import Api, Model, Takes, effort_of
from liverouter.providers.spec import NO_HOSTS, Field, History, ProviderSpec, filled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.providers.native import Http
    from liverouter.revision import Deployment

_KEY: Final = "openai_compatible_api_key"
_BASE: Final = "openai_compatible_api_base"
_NO_KEY: Final = "none"  # the libraries want one; it is taken off each request
_NOT_OF_SDK: Final = ("top_k",)  # parameters that OpenAI's library does not know
_NOT_OF_LITELLM: Final = ("reasoning_effort", "top_k", "verbosity")  # it drops them for models that it does not know


def _settle(sent: dict[str, Any], model: Model, *, forced: bool) -> None:
    """Say how much to reason in OpenAI's word; `top_logprobs` needs `logprobs`."""
    del model, forced
    effort = effort_of(sent)
    sent.pop("thinking", None)
    if effort is not None:
        sent["reasoning_effort"] = effort
    if "top_logprobs" in sent:
        sent["logprobs"] = True


def _in_body(sent: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return *sent* with those of *names* as members of the body, which no library reads."""
    body = {name: sent.pop(name) for name in names if name in sent}
    return sent | {"extra_body": body | sent.get("extra_body", {})} if body else sent


_PARAMETERS: Final = Api(
    takes={name: Takes(name) for name in openai.PARAMETERS.takes}
    | {"thinking": Takes("reasoning_effort"), "top_k": Takes("top_k")},
    settle=_settle,
    native=lambda sent: _in_body(sent, _NOT_OF_SDK),
    litellm=lambda sent: openai.PARAMETERS.litellm(_in_body(sent, _NOT_OF_LITELLM)),
    is_strict=lambda _: False,
)


def _key(deployment: Deployment) -> str:
    secret = deployment.secrets.get(_KEY)
    return secret.reveal() if secret is not None else _NO_KEY


def _params(deployment: Deployment) -> dict[str, Any]:
    return filled(model=f"openai/{deployment.model}", api_key=_key(deployment), api_base=deployment.settings[_BASE])


def _headers(deployment: Deployment) -> Mapping[str, str | None]:
    """Return that no key is sent where there is none."""
    return {} if _KEY in deployment.secrets else {"authorization": None}


def _build(deployment: Deployment, http: Http) -> BaseChatModel:
    from langchain_openai.chat_models.base import BaseChatOpenAI  # which sends `max_tokens`, and no developer's message
    from pydantic import SecretStr

    model = BaseChatOpenAI(
        model=deployment.model,
        api_key=SecretStr(_key(deployment)),
        base_url=deployment.settings[_BASE],
        use_responses_api=False,
        **chat_options(http),
    )
    quick(model.root_async_client)
    return model


_NATIVE: Final = replace(
    CHAT_OPENAI,
    build=_build,
    remembers=frozenset(),
    remembers_own=False,
    remembers_in=lambda *_: True,
    parameters_in=lambda *_: None,
)

SPEC: Final = ProviderSpec(
    name="openai-compatible",
    label="OpenAI-compatible server",
    fields=(
        Field(_BASE, "url", "Base URL", "api_base", example="http://127.0.0.1:8000/v1"),
        Field(_KEY, "secret", "API key (without one, none is sent)", "api_key"),
    ),
    needs=((_BASE,),),
    keyless=True,
    endpoint=lambda settings, _: settings.get(_BASE, ""),
    normalize_url=openai.SPEC.normalize_url,
    own_hosts=NO_HOSTS,
    litellm_provider="openai",
    litellm_params=_params,
    litellm_client=openai.SPEC.litellm_client,
    native=lambda _: _NATIVE,
    history=lambda _: History(file_urls=False),
    dialect=lambda _: CHAT_COMPLETIONS,
    parameters=lambda _: _PARAMETERS,
    libraries=("openai",),
    aliases=("openai_compatible", "openai-like", "vllm", "lm-studio", "lmstudio", "llama.cpp", "tgi"),
    headers=_headers,
)

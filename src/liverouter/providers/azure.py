"""Azure OpenAI: OpenAI's API at a resource and a deployment of the user's own, by a key or an Entra token."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers.openai import CHAT_COMPLETIONS, CHAT_OPENAI, HISTORY, PARAMETERS, chat_options
from liverouter.providers.openai_client import quick
from liverouter.providers.spec import IN_PATH, NOWHERE, Field, ProviderSpec, filled, origin_and_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.providers.native import Http
    from liverouter.revision import Deployment

_HOSTS: Final = re.compile(
    r"[a-z0-9-]{1,63}\.((openai|cognitiveservices)\.azure\.(com|us|cn)|services\.ai\.azure\.com)"
)
_TAIL: Final = re.compile(r"/openai(?:/.*)?\Z", re.DOTALL)  # of the portal's full target URI, which people paste
_VERSION: Final = "2024-10-21"
# Given empty, litellm takes none of them from the environment, with which it would fetch a token of its own.
_NOT_ASKED_FOR: Final = ("azure_password", "azure_username", "client_id", "client_secret", "tenant_id")


def _deployment(settings: Mapping[str, str], model: str) -> str:
    return settings.get("azure_openai_deployment") or model


def _url(url: str) -> str:
    origin, path = origin_and_path(url)
    return origin + _TAIL.sub("", path)


def _endpoint(settings: Mapping[str, str], model: str) -> str:
    return f"{settings.get('azure_openai_endpoint', '')}/openai/deployments/{_deployment(settings, model)}"


def _credential(deployment: Deployment) -> tuple[str | None, str | None]:
    """Return the key, or else the Entra token: exactly one of the two."""
    key, token = (deployment.secrets.get(name) for name in ("azure_openai_api_key", "azure_openai_ad_token"))
    return (key.reveal(), None) if key else (None, token.reveal() if token else None)


def _params(deployment: Deployment) -> dict[str, Any]:
    key, token = _credential(deployment)
    return filled(
        model=f"azure/{_deployment(deployment.settings, deployment.model)}",
        api_base=deployment.settings["azure_openai_endpoint"],
        api_version=deployment.settings["azure_openai_api_version"],
        api_key=key,
        azure_ad_token=token,
    )


def _headers(deployment: Deployment) -> dict[str, str | None]:
    """Return what carries the credential: the libraries would add AZURE_OPENAI_AD_TOKEN of the environment."""
    _, token = _credential(deployment)
    return {"authorization": None} if token is None else {"api-key": None, "authorization": f"Bearer {token}"}


def _build(deployment: Deployment, http: Http) -> BaseChatModel:
    from langchain_openai import AzureChatOpenAI
    from pydantic import SecretStr

    key, token = _credential(deployment)
    model = AzureChatOpenAI(
        model=SPEC.known_as(deployment),
        azure_endpoint=deployment.settings["azure_openai_endpoint"],
        azure_deployment=_deployment(deployment.settings, deployment.model),
        api_version=deployment.settings["azure_openai_api_version"],
        api_key=SecretStr(key) if key is not None else None,
        azure_ad_token=SecretStr(token) if token is not None else None,
        **chat_options(http),
    )
    if key is not None:
        for client in (model.root_client, model.root_async_client):
            client._azure_ad_token = None  # noqa: SLF001 - of AZURE_OPENAI_AD_TOKEN, which it would prefer to the key
    quick(model.root_async_client)
    return model


def _client(params: Mapping[str, Any], client: Any) -> Any:
    import openai

    sdk = openai.AsyncAzureOpenAI(
        api_key=params.get("api_key"),
        azure_ad_token=params.get("azure_ad_token"),
        azure_endpoint=params["api_base"],
        azure_deployment=params["model"].removeprefix("azure/"),
        api_version=params["api_version"],
        max_retries=0,
        http_client=client,
    )
    if "api_key" in params:
        sdk._azure_ad_token = None  # noqa: SLF001 - of AZURE_OPENAI_AD_TOKEN, which it would prefer to the key
    return quick(sdk)


_PARAMETERS: Final = replace(PARAMETERS, native_tools=None)  # its dated versions have chat completions alone
_NATIVE: Final = replace(CHAT_OPENAI, build=_build, remembers=frozenset({"azure", "openai"}))
_DIALECT: Final = replace(
    CHAT_COMPLETIONS,
    name="azure",
    params={"model": "azure/gpt-4o", "api_base": NOWHERE, "api_version": _VERSION},
)

SPEC: Final = ProviderSpec(
    name="azure-openai",
    label="Azure OpenAI",
    fields=(
        Field("azure_openai_endpoint", "url", "Endpoint", "api_base", example="https://name.openai.azure.com"),
        Field("azure_openai_deployment", "text", "Deployment (default: the model)", "deployment", pattern=IN_PATH),
        Field("azure_openai_api_version", "text", "API version", "api_version", default=_VERSION, pattern=IN_PATH),
        Field("azure_openai_base_model", "text", "Base model (for limits and cost)", "base_model", example="gpt-5.6"),
        Field("azure_openai_api_key", "secret", "API key", "api_key"),
        Field("azure_openai_ad_token", "secret", "Entra ID token", "ad_token"),
    ),
    needs=(("azure_openai_endpoint",), ("azure_openai_api_key", "azure_openai_ad_token")),
    endpoint=_endpoint,
    normalize_url=_url,
    own_hosts=_HOSTS,
    litellm_provider="azure",
    traced_as="azure.ai.openai",
    litellm_params=_params,
    litellm_options=lambda _: dict.fromkeys(_NOT_ASKED_FOR, "") | {"allowed_openai_params": ["service_tier"]},
    litellm_client=_client,
    native=lambda _: _NATIVE,
    history=lambda _: HISTORY,
    dialect=lambda _: _DIALECT,
    parameters=lambda _: _PARAMETERS,
    libraries=("openai",),
    aliases=("azure", "azure_openai", "azureopenai"),
    maker="openai",
    unfit=lambda *_: None,  # a deployment's name is its owner's, and litellm goes by the provider here
    model_pattern=IN_PATH,  # the deployment, where none is named
    model_means="the deployment",
    deployment_field="azure_openai_deployment",
    base_model_field="azure_openai_base_model",
    headers=_headers,
)

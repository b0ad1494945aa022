"""The plain LangChain model of a provider, for `litellm_enable = false`: the way back, without litellm.

One constructor per provider, each importing its package only when it is asked for. Every model gets an HTTP client of
its own, which is closed on the I/O loop when the model is garbage: pooled connections serve every call, none outlives
its configuration, and a call in flight keeps what it uses.
"""

from __future__ import annotations

import contextlib
import functools
import json
import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import httpx
from pydantic import SecretStr

from liverouter import attempts
from liverouter.drain import read_to_its_end
from liverouter.errors import ClosedError, ConfigError, Problem
from liverouter.google_tokens import TokenRequest
from liverouter.guard import guarded
from liverouter.providers import (
    ANTHROPIC_BASE,
    OPENAI_BASE,
    PROVIDERS,
    is_claude,
    is_jwt,
    snowflake_base,
    vertex_base,
)
from liverouter.redaction import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.loop_thread import LoopThread
    from liverouter.snapshot import Deployment, Snapshot

    _Built = tuple[BaseChatModel, Any]  # the model, and what has the `aclose` of its connections

_ANTHROPIC_VERSION: Final = "2023-06-01"  # as litellm sends; the newest takes no temperature
_VERTEX_VERSION: Final = "2023-10-16"  # the same
_GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


def build_plain(snapshot: Snapshot, io: LoopThread) -> BaseChatModel:
    """Return the primary's own LangChain model, with the configured timeout and retries; sends nothing.

    Raises:
        ConfigError: its package is not installed (LR109), or refuses the configuration (LR301).
    """
    deployment = snapshot.primary
    try:
        model, client = _BUILDERS[deployment.provider](deployment, snapshot)
    except ImportError as exc:
        raise ConfigError([_missing_package(deployment, exc)]) from exc
    except ValueError as exc:
        problem = Problem(
            "LR301",
            f"the plain model of {deployment.label} refused the configuration: {mask(str(exc))}",
            "settings",
            "Mend the setting, or set litellm_enable back to true",
        )
    else:
        weakref.finalize(model, _close_soon, io, client.aclose, io.at_stop(client.aclose)).atexit = False
        return model
    raise ConfigError([problem])  # out here: its context would hold parameters, and so secrets


def _openai(deployment: Deployment, snapshot: Snapshot) -> _Built:
    from langchain_openai import ChatOpenAI

    options = _openai_like(deployment, snapshot)
    model = ChatOpenAI(
        model=deployment.model,
        api_key=_required(deployment, "openai_api_key"),
        base_url=deployment.settings.get("openai_api_base", OPENAI_BASE),  # never the class's choice, by environment
        **options,
    )
    return model, options["http_async_client"]


def _azure(deployment: Deployment, snapshot: Snapshot) -> _Built:
    from langchain_openai import AzureChatOpenAI

    key, token = _secret(deployment, "azure_openai_api_key"), _secret(deployment, "azure_openai_ad_token")
    options = _openai_like(deployment, snapshot)
    model = AzureChatOpenAI(
        model=deployment.settings.get("azure_openai_base_model") or deployment.model,
        azure_endpoint=deployment.settings["azure_openai_endpoint"],
        azure_deployment=deployment.settings.get("azure_openai_deployment") or deployment.model,
        api_version=deployment.settings["azure_openai_api_version"],
        api_key=key,
        azure_ad_token=None if key else token,
        **options,
    )
    if key:
        for client in (model.root_client, model.root_async_client):
            client._azure_ad_token = None  # noqa: SLF001 - of AZURE_OPENAI_AD_TOKEN, which it would prefer to the key
    return model, options["http_async_client"]


def _snowflake(deployment: Deployment, snapshot: Snapshot) -> _Built:
    from langchain_openai import ChatOpenAI

    token = _required(deployment, "snowflake_token").get_secret_value()
    kind = "KEYPAIR_JWT" if is_jwt(token) else "PROGRAMMATIC_ACCESS_TOKEN"
    options = _openai_like(deployment, snapshot)
    model = ChatOpenAI(
        model=deployment.model,
        api_key=SecretStr(token.removeprefix("pat/")),
        base_url=f"{snowflake_base(deployment.settings)}/cortex/v1",  # its OpenAI-compatible endpoint
        default_headers={"X-Snowflake-Authorization-Token-Type": kind},
        **options,
    )
    return model, options["http_async_client"]


def _openai_like(deployment: Deployment, snapshot: Snapshot) -> dict[str, Any]:
    import openai

    options = _client_options(snapshot)
    options["event_hooks"]["response"] = [read_to_its_end]
    return deployment.params | {
        "timeout": snapshot.timeout_s,
        "max_retries": snapshot.tries - 1,
        "stream_usage": True,  # off by default where base_url is set, and then streams report no tokens
        "http_async_client": guarded(openai.DefaultAsyncHttpxClient(**options)),
    }


def _anthropic(deployment: Deployment, snapshot: Snapshot) -> _Built:
    import anthropic
    from langchain_anthropic import ChatAnthropic

    model = ChatAnthropic(
        model_name=deployment.model,
        api_key=_required(deployment, "anthropic_api_key"),
        base_url=deployment.settings.get("anthropic_api_base", ANTHROPIC_BASE),  # the same
        timeout=snapshot.timeout_s,
        max_retries=snapshot.tries - 1,
        default_headers={"anthropic-version": _ANTHROPIC_VERSION},
        **deployment.params,
    )
    # the package's own client is one for the whole process, whatever loop its pooled connections belong to
    client = guarded(anthropic.DefaultAsyncHttpxClient(**_client_options(snapshot)))
    model.__dict__["_async_client"] = anthropic.AsyncClient(**model._client_params, http_client=client)  # noqa: SLF001
    return model, client


def _vertex(deployment: Deployment, snapshot: Snapshot) -> _Built:
    build = _vertex_claude if is_claude(deployment.model) else _vertex_gemini
    return build(deployment, snapshot)


def _vertex_gemini(deployment: Deployment, snapshot: Snapshot) -> _Built:
    from langchain_google_genai import ChatGoogleGenerativeAI

    credentials, project = _google_credentials(deployment, snapshot)
    model = ChatGoogleGenerativeAI(
        model=deployment.model,
        vertexai=True,
        project=project,
        location=deployment.settings["vertex_ai_location"],
        credentials=credentials,
        base_url=vertex_base(deployment.settings),  # the same
        timeout=snapshot.timeout_s,
        max_retries=snapshot.tries,  # of this package: attempts in all
        **deployment.params,
    )
    client = guarded(httpx.AsyncClient(**_client_options(snapshot)))
    # given a client it uses that one, and else one of aiohttp's, which nothing can stand before
    api: Any = model.client._api_client  # type: ignore[union-attr]  # noqa: SLF001 - the package hands no client on
    api._http_options.httpx_async_client = api._async_httpx_client = client  # noqa: SLF001 - the same
    return model, client


def _vertex_claude(deployment: Deployment, snapshot: Snapshot) -> _Built:
    import anthropic
    from langchain_anthropic import ChatAnthropic

    credentials, project = _google_credentials(deployment, snapshot)
    model = ChatAnthropic(
        model_name=deployment.model,
        api_key=SecretStr("unused"),
        model_kwargs={"extra_body": {"anthropic_version": f"vertex-{_VERTEX_VERSION}"}},
        **deployment.params,
    )
    client = guarded(anthropic.DefaultAsyncHttpxClient(**_client_options(snapshot)))
    # langchain-google-vertexai's class would do the same, but passes parameters that this client no longer knows
    model.__dict__["_async_client"] = anthropic.AsyncAnthropicVertex(
        project_id=project or anthropic.NOT_GIVEN,
        region=deployment.settings["vertex_ai_location"],
        credentials=credentials,
        base_url=f"{vertex_base(deployment.settings)}/v1",  # the same
        timeout=snapshot.timeout_s,
        max_retries=snapshot.tries - 1,
        http_client=client,
    )
    return model, client


def _required(deployment: Deployment, name: str) -> SecretStr:
    return SecretStr(deployment.secrets[name].reveal())


def _secret(deployment: Deployment, name: str) -> SecretStr | None:
    return _required(deployment, name) if name in deployment.secrets else None


def _google_credentials(deployment: Deployment, snapshot: Snapshot) -> tuple[Any, str | None]:
    """Return the service account's credentials, None for ambient ones, and the project."""
    project = deployment.settings.get("vertex_ai_project_id")
    if (secret := deployment.secrets.get("vertex_ai_credentials")) is None:
        return None, project
    account = json.loads(secret.reveal())
    credentials = _service_account().from_service_account_info(account, scopes=[_GOOGLE_SCOPE])
    credentials.timeout_s = snapshot.timeout_s
    return credentials, project or account.get("project_id")


@functools.cache
def _service_account() -> Any:
    """Return Google's class for a service account, with our way to fetch its tokens: its own waits 120 seconds."""
    from google.oauth2 import service_account

    class Hurried(service_account.Credentials):
        timeout_s: float = 120.0  # what Google waits; ours is set on each

        def refresh(self, request: Callable[..., Any]) -> None:
            del request
            super().refresh(TokenRequest(self.timeout_s))  # type: ignore[no-untyped-call]  # google-auth has no types

    return Hurried


_BUILDERS: Final[Mapping[str, Callable[[Deployment, Snapshot], _Built]]] = MappingProxyType(
    {
        "anthropic": _anthropic,
        "azure-openai": _azure,
        "openai": _openai,
        "snowflake-cortex": _snowflake,
        "vertex-ai": _vertex,
    }
)


def _missing_package(deployment: Deployment, exc: ImportError) -> Problem:
    spec = PROVIDERS[deployment.provider]
    extra = "vertex-claude" if spec.name == "vertex-ai" and is_claude(deployment.model) else spec.extra
    return Problem(
        "LR109",
        f"litellm is off and the package '{exc.name or spec.langchain_package}' that {spec.name} then needs "
        "is not installed",
        "settings.litellm_enable",
        f"Install it: pip install 'liverouter[{extra}]'",
    )


def _client_options(snapshot: Snapshot) -> dict[str, Any]:
    """Return the options of an HTTP client that notes every request in the record of the call that makes it."""

    async def note(request: object) -> None:
        del request
        if (call := attempts.current()) is not None:
            call.count += 1

    return {"timeout": snapshot.timeout_s, "event_hooks": {"request": [note]}}


def _close_soon(io: LoopThread, close: Callable[[], Coroutine[Any, Any, None]], forget: Callable[[], object]) -> None:
    forget()
    with contextlib.suppress(ClosedError):
        io.submit(close)

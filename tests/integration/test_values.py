"""Values stay values up to the libraries: none is looked up, and no address is another variable's choice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.errors import ConfigError
from liverouter.providers import PROVIDERS
from liverouter.routing.engines import litellm
from liverouter.secrecy.sealing import Secret
from liverouter.testing import MemoryRouter, service_account_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.revision import Deployment

REFERENCE: Final = "os.environ/HOME"
STRANGER: Final = "https://stranger.example"
ACCOUNT: Final = json.loads(service_account_json("http://127.0.0.1:1"))
GOOGLE: Final = json.dumps(ACCOUNT | {"token_uri": "https://oauth2.googleapis.com/token"})
# provider -> model, rows without a base URL where there is a default, secrets
CONFIGS: Final[dict[str, tuple[str, dict[str, Any], dict[str, str]]]] = {
    "anthropic": ("claude-sonnet-4-6", {}, {"anthropic_api_key": "key"}),
    "openai": ("gpt-4o", {}, {"openai_api_key": "key"}),
    "azure-openai": (
        "gpt-4o",
        {"azure_openai_endpoint": "https://t.openai.azure.com"},
        {"azure_openai_api_key": "key"},
    ),
    "snowflake-cortex": ("llama3.1-70b", {"snowflake_account": "org-account"}, {"snowflake_token": "key"}),
    "vertex-ai": ("gemini-2.5-flash", {"vertex_ai_location": "europe-west4"}, {"vertex_ai_credentials": GOOGLE}),
    "vertex-ai claude": ("claude-sonnet-4-6", {"vertex_ai_location": "global"}, {"vertex_ai_credentials": GOOGLE}),
}
# What litellm, the providers' packages and LangChain read of the environment for want of an address.
ADDRESSES: Final = (
    *("OPENAI_BASE_URL", "AZURE_API_BASE", "AZURE_OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL"),
    *("VERTEXAI_API_BASE", "VERTEX_API_BASE", "GOOGLE_VERTEX_BASE_URL", "ANTHROPIC_VERTEX_BASE_URL"),
    *("GOOGLE_GEMINI_BASE_URL", "SNOWFLAKE_API_BASE_URL"),
)


def rows(name: str) -> dict[str, Any]:
    """Return the rows of a config."""
    model, more, _ = CONFIGS[name]
    return {"llm_provider": name.split(maxsplit=1)[0], "llm_model": model, **more}


class TestLastLook:
    @pytest.mark.parametrize("name", CONFIGS)
    def test_parameters_are_searched_where_they_are_made(self, name: str) -> None:
        """Should a reference get past validation, in whichever field or secret: litellm never sees it."""
        with MemoryRouter(rows(name), secrets=CONFIGS[name][2]) as live:
            snapshot = live.generation().snapshot
        litellm.build(snapshot, live.io, live.cooldowns)
        spoilt = [d for d in _each_spoilt(snapshot.primary) if REFERENCE in str(_params(d))]
        assert len(spoilt) >= 2  # the model, the key, and each field that becomes a parameter as it is
        for deployment in spoilt:
            with pytest.raises(ConfigError) as caught:
                litellm.build(replace(snapshot, deployments=(deployment,)), live.io, live.cooldowns)
            assert caught.value.code == "LR112"
            assert "HOME" not in str(caught.value)


class TestAddress:
    @pytest.mark.parametrize("name", CONFIGS)
    def test_no_library_chooses_it_by_the_environment(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the deployment's endpoint says is where both engines call, whatever variables of theirs are set."""
        for variable in ADDRESSES:
            monkeypatch.setenv(variable, STRANGER)
        with MemoryRouter(rows(name), secrets=CONFIGS[name][2]) as live:
            generation = live.generation()
            host = generation.snapshot.primary.endpoint.split("/")[2]
            chat: Any = generation.chat
            (model,) = chat.router.model_list
            assert model["litellm_params"]["api_base"].split("/")[2] == host
            live.set(litellm_enable=False)
            assert _NATIVE[name](live.generation().chat).split("/")[2] == host


def _params(deployment: Deployment) -> dict[str, Any]:
    return PROVIDERS[deployment.provider].litellm_params(deployment)


def _each_spoilt(deployment: Deployment) -> list[Deployment]:
    """Return the deployment with one of its values a reference, in all ways."""
    return [
        replace(deployment, model=REFERENCE),
        *(replace(deployment, settings={**deployment.settings, name: REFERENCE}) for name in deployment.settings),
        *(replace(deployment, secrets={**deployment.secrets, name: Secret(REFERENCE)}) for name in deployment.secrets),
    ]


_NATIVE: Final[dict[str, Callable[[Any], str]]] = {  # where each package keeps the address
    "anthropic": lambda model: str(model._async_client.base_url),  # noqa: SLF001
    "openai": lambda model: str(model.root_async_client.base_url),
    "azure-openai": lambda model: str(model.root_async_client.base_url),
    "snowflake-cortex": lambda model: str(model.root_async_client.base_url),
    "vertex-ai": lambda model: str(model.client._api_client._http_options.base_url),  # noqa: SLF001
    "vertex-ai claude": lambda model: str(model._async_client.base_url),  # noqa: SLF001
}

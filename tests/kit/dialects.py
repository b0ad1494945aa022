"""The one table of providers and body formats: how a config, a fallback and bare litellm name each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from liverouter.testing import service_account_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.testing import StandIn

_MODELS: Final = "/v1/projects/standin-project/locations/us-east5/publishers"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialect:
    """One provider and body format.

    Attributes:
        name: names it in parameters of tests.
        provider: as in the setting `llm_provider`.
        model: as in the setting `llm_model`.
        base: the setting that holds the base URL.
        key: the setting that holds the secret.
        secret: begins every secret that is made for it; empty where it is a Google service account.
        more: further settings that a primary needs.
        litellm: what bare litellm calls the provider.
        key_prefix: what bare litellm wants before the secret.
        params: further parameters for bare litellm.
        path: where a whole answer comes from when bare litellm asks.
    """

    name: str
    provider: str
    model: str
    base: str
    key: str
    secret: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    litellm: str
    key_prefix: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    path: str

    def rows(self, standin: StandIn) -> dict[str, Any]:
        """Return the settings that make this the primary."""
        return {"llm_provider": self.provider, "llm_model": self.model, self.base: standin.api_base, **self.more}

    def entry(self, standin: StandIn) -> dict[str, Any]:
        """Return the entry of `llm_fallback_config` that makes this a fallback; its secret is called "spare"."""
        own = {name.removeprefix("azure_openai_"): value for name, value in self.more.items()}
        base = {"provider": self.provider, "model": self.model, "api_base": standin.api_base, **own}
        return {**base, "api_key": {"secret": "spare"}}

    def secret_for(self, standin: StandIn, owner: str) -> str:
        """Return a secret that no other deployment has."""
        return f"{self.secret}-of-the-{owner}" if self.secret else service_account_json(standin.base_url)

    def litellm_params(self, standin: StandIn) -> dict[str, Any]:
        """Return what bare litellm needs to ask *standin*."""
        key = (
            {"api_key": self.key_prefix + self.secret}
            if self.secret
            else {"vertex_credentials": service_account_json(standin.base_url)}
        )
        return {"model": f"{self.litellm}/{self.model}", "api_base": standin.api_base, **key, **self.params}

    @property
    def says(self) -> str:
        """How the stand-in's default answer begins."""
        return f"{self.model} says: "


def _azure(name: str, path: str, api_version: str) -> Dialect:
    return Dialect(
        name=name,
        provider="azure-openai",
        model="prod",
        base="azure_openai_endpoint",
        key="azure_openai_api_key",
        secret="azure-key",
        more={"azure_openai_base_model": "gpt-4o"},
        litellm="azure",
        params={"api_version": api_version},
        path=path,
    )


def _vertex(name: str, model: str, path: str) -> Dialect:
    return Dialect(
        name=name,
        provider="vertex-ai",
        model=model,
        base="vertex_ai_api_base",
        key="vertex_ai_credentials",
        litellm="vertex_ai",
        params={"vertex_project": "standin-project", "vertex_location": "us-east5"},
        path=f"{_MODELS}/{path}",
    )


def _snowflake(name: str, model: str, path: str, secret: str, key_prefix: str = "") -> Dialect:
    return Dialect(
        name=name,
        provider="snowflake-cortex",
        model=model,
        base="snowflake_api_base",
        key="snowflake_token",
        secret=secret,
        litellm="snowflake",
        key_prefix=key_prefix,
        path=f"/api/v2/cortex/v1/{path}",
    )


DIALECTS: Final = {
    d.name: d
    for d in (
        Dialect(
            name="anthropic",
            provider="anthropic",
            model="claude-sonnet-4-6",
            base="anthropic_api_base",
            key="anthropic_api_key",
            secret="sk-ant-key",
            litellm="anthropic",
            path="/v1/messages",
        ),
        Dialect(
            name="openai",
            provider="openai",
            model="gpt-4o",
            base="openai_api_base",
            key="openai_api_key",
            secret="sk-key",
            litellm="openai",
            path="/v1/chat/completions",
        ),
        _azure("azure-openai", "/openai/deployments/prod/chat/completions", "2024-10-21"),
        _vertex("vertex-ai", "gemini-2.5-flash", "google/models/gemini-2.5-flash:generateContent"),
        _vertex("vertex-ai claude", "claude-sonnet-4-6", "anthropic/models/claude-sonnet-4-6:rawPredict"),
        _snowflake("snowflake", "llama3.1-70b", "chat/completions", "snowflake-pat", "pat/"),
        _snowflake(
            "snowflake claude", "claude-sonnet-4-6", "messages", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzdGFuZC1pbiJ9.c2lnbmF0"
        ),
    )
}
AZURE_V1: Final = _azure("azure-openai v1", "/openai/v1/chat/completions", "v1")
"""Azure's newer path, which no config of ours leads to."""

COMPATIBLE: Final = Dialect(
    name="openai-compatible",
    provider="openai-compatible",
    model="qwen3-32b",
    base="openai_compatible_api_base",
    key="openai_compatible_api_key",
    secret="token",
    litellm="openai",
    path="/v1/chat/completions",
)
"""A server that speaks OpenAI's API: what is OpenAI's of it, the tests of OpenAI show."""

EVERY: Final = DIALECTS | {COMPATIBLE.name: COMPATIBLE}
BY_PROVIDER: Final[Mapping[str, Dialect]] = {d.provider: d for d in reversed(EVERY.values())}
"""The first dialect of each provider."""

MODELS: Final[Mapping[str, str]] = {provider: BY_PROVIDER[provider].model for provider in sorted(BY_PROVIDER)}
"""The model of each provider's first dialect."""

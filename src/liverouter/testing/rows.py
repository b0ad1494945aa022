"""The rows and secrets that send a provider's calls to its stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from liverouter.testing.dialects.google_token import service_account_json

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES: Final[Mapping[str, tuple[str, str]]] = {  # provider -> the setting of its base URL, the name of its secret
    "anthropic": ("anthropic_api_base", "anthropic_api_key"),
    "azure-openai": ("azure_openai_endpoint", "azure_openai_api_key"),
    "openai": ("openai_api_base", "openai_api_key"),
    "snowflake-cortex": ("snowflake_api_base", "snowflake_token"),
    "vertex-ai": ("vertex_ai_api_base", "vertex_ai_credentials"),
}
_MORE: Final[Mapping[str, Mapping[str, str]]] = {"vertex-ai": {"vertex_ai_project_id": "project"}}


def rows_of(provider: str, api_base: str, model: str | None) -> dict[str, Any]:
    """Return the settings that send *provider*'s calls to *api_base*; with a *model*, it is the primary."""
    primary = {} if model is None else {"llm_provider": provider, "llm_model": model}
    return {**primary, _NAMES[provider][0]: api_base, **_MORE.get(provider, {})}


def secrets_of(provider: str, base_url: str, key: str | None) -> dict[str, str]:
    """Return *provider*'s secret by its name: *key*, else one that no other provider has.

    Google's is a service account, whose tokens come from *base_url*.
    """
    if provider == "vertex-ai":
        return {_NAMES[provider][1]: service_account_json(base_url)}
    return {_NAMES[provider][1]: key or f"sk-standin-0123456789-{provider}"}

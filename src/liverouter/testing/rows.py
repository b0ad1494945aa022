"""The rows and secrets that send a provider's calls to its stand-in."""

from __future__ import annotations

from typing import Any, Final

from liverouter.providers import PROVIDERS
from liverouter.testing.dialects.google_token import service_account_json

_NEEDED: Final = "project"  # the value of every other setting that a provider requires; a stand-in takes any


def rows_of(provider: str, api_base: str, model: str | None) -> dict[str, Any]:
    """Return the settings that send *provider*'s calls to *api_base*; with a *model*, it is the primary."""
    primary = {} if model is None else {"llm_provider": provider, "llm_model": model}
    spec = PROVIDERS[provider]
    given = {spec.base.name, *spec.secret_names}
    needed = {group[0]: _NEEDED for group in spec.needs if given.isdisjoint(group)}
    return {**primary, spec.base.name: api_base, **needed}


def secrets_of(provider: str, base_url: str, key: str | None) -> dict[str, str]:
    """Return *provider*'s secret by its name: *key*, else one that no other provider has.

    Google's is a service account, whose tokens come from *base_url*.
    """
    secret = PROVIDERS[provider].secrets[0]
    if secret.read is not None:  # more than a key
        return {secret.name: service_account_json(base_url)}
    return {secret.name: key or f"sk-standin-0123456789-{provider}"}

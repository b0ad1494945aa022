"""Model names to choose from, out of litellm's own map. Suggestions only: a provider may know newer ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from liverouter.providers import PROVIDERS
from liverouter.router import load

_ANSWERS_CHATS = "chat"  # litellm's mode of the models that answer chats


def model_names() -> dict[str, list[str]]:
    """Return the chat models that litellm knows and that are not retired, by our providers' names; loads litellm."""
    today = datetime.now(UTC).date().isoformat()
    found: dict[str, set[str]] = {name: set() for name in PROVIDERS}
    for key, facts in load().model_cost.copy().items():  # a Router that is built meanwhile adds to it
        name = _short(key)
        if facts.get("mode") != _ANSWERS_CHATS or name.startswith(("ft:", "container")) or "#" in name:
            continue  # "#" stands in deployment ids, under which Routers register their prices
        if (facts.get("deprecation_date") or today) < today:
            continue
        if (provider := _provider(facts)) is not None:
            found[provider].add(name)
    return {provider: sorted(names) for provider, names in found.items()}


def _provider(facts: dict[str, Any]) -> str | None:
    kind = facts.get("litellm_provider") or ""
    kind = "vertex_ai" if kind.startswith("vertex_ai-") else kind  # one kind per vendor of a model
    return next((spec.name for spec in PROVIDERS.values() if spec.litellm_provider == kind), None)


def _short(key: str) -> str:
    """Return the model as our settings name it: without the provider, and for azure without the region's price."""
    for prefix in ("vertex_ai/", "snowflake/", "anthropic/", "openai/"):
        key = key.removeprefix(prefix)
    return key.rpartition("/")[2] if key.startswith("azure/") else key

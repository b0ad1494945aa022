"""Model names to choose from, out of litellm's own map. Suggestions only: a provider may know newer ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from liverouter.providers import PROVIDERS
from liverouter.router import load

if TYPE_CHECKING:
    from liverouter.providers import ProviderSpec

_ANSWERS_CHATS = "chat"  # litellm's mode of the models that answer chats


def model_names() -> dict[str, list[str]]:
    """Return the chat models that litellm knows and that are not retired, by our providers' names; loads litellm."""
    today = datetime.now(UTC).date().isoformat()
    found: dict[str, set[str]] = {name: set() for name in PROVIDERS}
    for key, facts in load().model_cost.copy().items():  # a Router that is built meanwhile adds to it
        spec = _provider(facts)
        if spec is None or facts.get("mode") != _ANSWERS_CHATS:
            continue
        name = _short(key, spec)
        if name.startswith(("ft:", "container")) or "#" in name:
            continue  # "#" stands in deployment ids, under which Routers register their prices
        if (facts.get("deprecation_date") or today) < today:
            continue
        found[spec.name].add(name)
    return {provider: sorted(names) for provider, names in found.items()}


def _provider(facts: dict[str, Any]) -> ProviderSpec | None:
    """Return whose model it is; litellm may have one kind per vendor of a provider's models, ``vertex_ai-…``."""
    kind = str(facts.get("litellm_provider") or "")
    return next(
        (s for s in PROVIDERS.values() if kind == s.litellm_provider or kind.startswith(f"{s.litellm_provider}-")), None
    )


def _short(key: str, spec: ProviderSpec) -> str:
    """Return the model as our settings name it: without the provider, and without the region of its price."""
    name = key.removeprefix(f"{spec.litellm_provider}/")
    return name if spec.model_pattern is None or spec.model_pattern.fullmatch(name) else name.rpartition("/")[2]

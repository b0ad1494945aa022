"""What litellm knows of models: limits, abilities, prices, tokens. Answers None while litellm is not loaded; no I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from liverouter.providers import PROVIDERS, spec_of
from liverouter.routing.litellm_setup import loaded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages.ai import UsageMetadata

    from liverouter.providers import ProviderSpec
    from liverouter.revision import Deployment

_ANSWERS_CHATS = "chat"  # litellm's mode of the models that answer chats


def model_info(deployment: Deployment) -> Mapping[str, Any] | None:
    """Return litellm's entry of *deployment*'s model, None where it has none.

    Its members are litellm's: ``max_input_tokens``, ``supports_vision``, ….
    """
    if (litellm := loaded()) is None:
        return None
    spec = spec_of(deployment)
    return _entry(litellm, spec.litellm_provider, deployment.model, spec.base_model(deployment))


@lru_cache(maxsize=256)  # a look-up of a name that litellm spells otherwise costs milliseconds
def _entry(litellm: Any, provider: str, model: str, base_model: str) -> Mapping[str, Any] | None:
    """Return litellm's entry of *base_model*, or else of *model*; *provider* by litellm's name."""
    for name in filter(None, (base_model, model)):
        try:
            info: Mapping[str, Any] = litellm.get_model_info(model=name, custom_llm_provider=provider)
        except Exception:  # noqa: BLE001, S112 - litellm raises a bare Exception for a model it does not know
            continue
        return info
    return None


def count_tokens(deployment: Deployment, **said: Any) -> int | None:
    """Return the tokens of *said*, ``text`` or OpenAI ``messages`` and ``tools``.

    Exact for OpenAI's models, an estimate for others; neither an image nor a tokenizer is fetched.
    """
    if (litellm := loaded()) is None:
        return None
    name = spec_of(deployment).known_as(deployment)
    return int(litellm.token_counter(name, {"type": "openai_tokenizer"}, use_default_image_token_count=True, **said))


def cost_usd(deployment: Deployment, tokens: UsageMetadata | None) -> float | None:
    """Return what litellm's price list says *tokens* cost, in US dollars; None where it does not know the model."""
    if (litellm := loaded()) is None or tokens is None:
        return None
    spec, details = spec_of(deployment), tokens.get("input_token_details") or {}
    try:
        prompt, completion = litellm.cost_per_token(
            model=spec.known_as(deployment),
            custom_llm_provider=spec.litellm_provider,
            prompt_tokens=tokens["input_tokens"],
            completion_tokens=tokens["output_tokens"],
            cache_read_input_tokens=details.get("cache_read") or 0,
            cache_creation_input_tokens=details.get("cache_creation") or 0,
        )
    except Exception:  # noqa: BLE001 - litellm raises a bare Exception for a model it does not know
        return None
    return float(prompt + completion)


def model_names() -> dict[str, list[str]] | None:
    """Return the chat models that litellm knows and that are not retired, by our providers' names.

    Suggestions only: a provider may know newer ones.
    """
    if (litellm := loaded()) is None:
        return None
    today = datetime.now(UTC).date().isoformat()
    found: dict[str, set[str]] = {name: set() for name in PROVIDERS}
    for key, facts in litellm.model_cost.copy().items():  # a Router that is built meanwhile adds to it
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

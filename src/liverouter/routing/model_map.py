"""What litellm's list says of models: limits, abilities, prices. Read as data from its package, which is not imported.

So both engines know the same of a model, and a process that never imports litellm knows it, too.
"""

from __future__ import annotations

import importlib.util
import json
import re
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers import PROVIDERS, spec_of
from liverouter.providers.parameters import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.messages.ai import UsageMetadata

    from liverouter.providers import ProviderSpec
    from liverouter.revision import Deployment

_FILE: Final = "model_prices_and_context_window_backup.json"  # as of litellm's release
_LAYOUT: Final = '\n    "'  # how the name of an entry begins, as litellm writes the list
_ANSWERS_CHATS: Final = "chat"  # litellm's mode of the models that answer chats
_SNAPSHOT: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$|[-@]\d{6,8}$|@default$|-00\d$")  # of a release
_FINE_TUNED: Final = re.compile(r"(ft:[^:]+):")
_PRICES: Final = ("input_cost_per_token", "output_cost_per_token")  # both 0 where the list has the model and no price
_ABOVE: Final = re.compile(r"input_cost_per_token_above_(\d+)(k?)_tokens")


def model_info(deployment: Deployment) -> Mapping[str, Any] | None:
    """Return the list's entry of *deployment*'s model, None where it has none.

    Its members are litellm's: ``max_input_tokens``, ``supports_vision``, ….
    """
    return _entry(*_key(deployment))


def _key(deployment: Deployment) -> tuple[str, str, str]:
    """Return what `_entry` and `_tiers` take for the model of *deployment*."""
    spec = spec_of(deployment)
    return (*spec.litellm_name(deployment.model), spec.base_model(deployment))


def retired_on(deployment: Deployment) -> date | None:
    """Return the day from which *deployment*'s model answers no more, as the list says; None where it says none."""
    try:
        return date.fromisoformat(str((model_info(deployment) or {}).get("deprecation_date")))
    except ValueError:
        return None


def known_model(deployment: Deployment) -> Model:
    """Return what is known of *deployment*'s model, by which parameters are fitted to it; its row's word wins."""
    facts = model_info(deployment) or {}
    if "max_output_tokens" in deployment.profile:
        facts = {**facts, "max_output_tokens": deployment.profile["max_output_tokens"]}
    return Model(spec_of(deployment).known_as(deployment), facts)


@lru_cache(maxsize=256)
def _entry(provider: str, model: str, base_model: str) -> Mapping[str, Any] | None:
    """Return the entry of *base_model*, or else of *model*; *provider* by litellm's name."""
    text = _text()
    for name in filter(None, (base_model, model)):
        for key in _keys(provider, name):
            facts = _facts(text, key)
            if facts is not None and _is_of(facts, provider):
                return facts
    return None


def _facts(text: str, key: str) -> Mapping[str, Any] | None:
    """Return the entry of *key* in *text*, the list; of that nothing else is parsed, which would take 15 MB."""
    if not text.startswith("{" + _LAYOUT):
        return _parsed(text).get(key)
    name = f'{_LAYOUT}{key}": '
    start = text.rfind(name)  # of two the last one counts, as for every parser
    try:
        facts = json.JSONDecoder().raw_decode(text, start + len(name))[0] if start >= 0 else None
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def _keys(provider: str, name: str) -> Iterator[str]:
    """Yield the names that the list may have for the model *name*, the nearest first."""
    tuned = _FINE_TUNED.match(name)
    for known in dict.fromkeys((name, tuned.group(1) if tuned else _SNAPSHOT.sub("", name))):
        yield f"{provider}/{known}"
        yield known


def _text() -> str:
    """Return the list, from litellm's installed package; "" where that has none that can be read."""
    try:
        found = importlib.util.find_spec("litellm")
        folders = found.submodule_search_locations if found is not None else None
        return (Path(next(iter(folders or ()))) / _FILE).read_text(encoding="utf-8")
    except (OSError, ValueError, StopIteration):
        return ""


def _parsed(text: str) -> Mapping[str, Mapping[str, Any]]:
    """Return all entries of *text*, the list; none where it is no list."""
    try:
        entries = json.loads(text)
    except ValueError:
        return {}
    return entries if isinstance(entries, dict) else {}


def _is_of(facts: Mapping[str, Any], provider: str) -> bool:
    """Tell whether *facts* are of a model of *provider*; litellm may have one kind per vendor, ``vertex_ai-…``."""
    kind = str(facts.get("litellm_provider") or "")
    return kind == provider or kind.startswith(f"{provider}-")


def cost_usd(deployment: Deployment, tokens: UsageMetadata | None) -> float | None:
    """Return what the list says *tokens* cost, in US dollars; None where it has no price for the model.

    Long prompts and cached tokens have prices of their own; where the list has none, they cost as any other.
    """
    facts = model_info(deployment) if tokens is not None else None
    if facts is None or tokens is None or not any(facts.get(name) for name in _PRICES):
        return None
    tier = _tier(_tiers(*_key(deployment)), tokens["input_tokens"])

    def price(name: str, otherwise: float) -> float:
        return float(next((v for v in (facts.get(f"{name}{tier}"), facts.get(name)) if v is not None), otherwise))

    details: Mapping[str, Any] = tokens.get("input_token_details") or {}
    read, hour = details.get("cache_read") or 0, details.get("ephemeral_1h_input_tokens") or 0
    written = max((details.get("cache_creation") or 0) - hour, details.get("ephemeral_5m_input_tokens") or 0)
    rate = price("input_cost_per_token", 0.0)
    write = price("cache_creation_input_token_cost", rate)
    return (
        max(tokens["input_tokens"] - read - written - hour, 0) * rate
        + read * price("cache_read_input_token_cost", rate)
        + written * write
        + hour * price("cache_creation_input_token_cost_above_1hr", write)
        + tokens["output_tokens"] * price("output_cost_per_token", 0.0)
    )


@lru_cache(maxsize=256)
def _tiers(provider: str, model: str, base_model: str) -> tuple[tuple[int, str], ...]:
    """Return from how many tokens on a prompt has prices of its own, and what their names end in: of `_entry`'s."""
    facts = _entry(provider, model, base_model) or {}
    found = (m for m in map(_ABOVE.fullmatch, facts) if m is not None and facts[m.string] is not None)
    return tuple((int(m[1]) * (1000 if m[2] else 1), f"_above_{m[1]}{m[2]}_tokens") for m in found)


def _tier(tiers: Sequence[tuple[int, str]], prompt: int) -> str:
    """Return what the names of the prices for a prompt of so many tokens end in, "" for the usual ones."""
    return max(((least, ending) for least, ending in tiers if prompt > least), default=(0, ""))[1]


def model_names() -> dict[str, list[str]]:
    """Return the chat models of the list that are not retired, by our providers' names.

    Suggestions only: a provider may know newer ones.
    """
    today = datetime.now(UTC).date().isoformat()
    found: dict[str, set[str]] = {name: set() for name in PROVIDERS}
    for key, facts in _parsed(_text()).items():
        spec = next((s for s in PROVIDERS.values() if _is_of(facts, s.litellm_provider)), None)
        if spec is None or facts.get("mode") != _ANSWERS_CHATS:
            continue
        name = _short(key, spec)
        if name.startswith(("ft:", "container")):
            continue
        if (facts.get("deprecation_date") or today) < today:
            continue
        found[spec.name].add(name)
    return {provider: sorted(names) for provider, names in found.items()}


def _short(key: str, spec: ProviderSpec) -> str:
    """Return the model as our settings name it: without the provider, and without the region of its price."""
    name = key.removeprefix(f"{spec.litellm_provider}/")
    return name if spec.model_pattern is None or spec.model_pattern.fullmatch(name) else name.rpartition("/")[2]

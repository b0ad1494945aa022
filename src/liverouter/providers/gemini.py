"""Gemini's parameters: which models think by a budget and which by a level, and what each no longer takes."""

from __future__ import annotations

import re
from typing import Any, Final

from liverouter.providers.parameters import Api, Model, Takes, budget_of, effort_of, nearest

_VERSION: Final = re.compile(r"gemini-(\d)(?:\.(\d))?")
_NEWEST: Final = (99, 0)  # of a name without a version
_THINKS_SINCE: Final = (2, 5)
_BY_LEVEL_SINCE: Final = (3, 0)
_PENALTIES: Final = frozenset({"frequency_penalty", "presence_penalty"})
_SAMPLING: Final = frozenset({"temperature", "top_k", "top_p"})
_OF_THINKING: Final = frozenset({"include_thoughts", "reasoning_effort", "thinking"})
_BUDGETS: Final = (  # the first whose name is in the model's: the least, the most, and whether it may be off
    ("flash-lite", 512, 24_576, True),
    ("flash", 1, 24_576, True),
    ("pro", 128, 32_768, False),
)
_CHOSEN_BY_MODEL: Final = -1


def _version(model: Model) -> tuple[int, int]:
    found = _VERSION.search(model.name)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST


def _lacks(model: Model) -> frozenset[str]:
    """Return what *model* does not take: the newest no sampling and no penalties, the oldest no thinking."""
    version = _version(model)
    sampling = frozenset() if model.facts.get("supports_sampling_params") is not False else _SAMPLING
    penalties = _PENALTIES if version >= _BY_LEVEL_SINCE else frozenset()
    return sampling | penalties | (frozenset() if version >= _THINKS_SINCE else _OF_THINKING)


def _settle(sent: dict[str, Any], model: Model, *, forced: bool) -> None:
    """Make one `thinking` of what asks for it, in the words of Gemini's API; `top_logprobs` needs `logprobs`."""
    del forced  # which a model that thinks obeys
    given, shown = sent.pop("thinking", None), sent.pop("include_thoughts", None)
    asked = {"thinking": given, "reasoning_effort": sent.pop("reasoning_effort", None)}
    made = _level(asked, model) if _version(model) >= _BY_LEVEL_SINCE else _budget(asked, model)
    on = any(asked.values()) and effort_of(asked) != "none"
    if shown is not None or on:
        made["include_thoughts"] = on if shown is None else shown
    if made:
        sent["thinking"] = made
    if "top_logprobs" in sent:
        sent["logprobs"] = True


def _level(asked: dict[str, Any], model: Model) -> dict[str, Any]:
    """Return the level of thinking that is *asked* for; empty where it is left to the model."""
    if (effort := effort_of(asked)) is None:
        return {}
    minimal = "flash" in model.name and model.facts.get("supports_minimal_reasoning_effort") is not False
    return {
        "thinking_level": nearest(effort, frozenset({"low", "medium", "high"} | ({"minimal"} if minimal else set())))
    }


def _budget(asked: dict[str, Any], model: Model) -> dict[str, Any]:
    """Return the tokens of thinking that are *asked* for, within *model*'s range; empty where it is left to it."""
    if (budget := budget_of(asked)) is None:
        return {"thinking_budget": _CHOSEN_BY_MODEL} if asked["thinking"] else {}
    found = next((limits for name, *limits in _BUDGETS if name in model.name), None)
    if found is None or budget == _CHOSEN_BY_MODEL:
        return {"thinking_budget": budget}
    least, most, may_be_off = found
    return {"thinking_budget": 0 if budget == 0 and may_be_off else min(max(budget, least), most)}


def _native_words(sent: dict[str, Any]) -> dict[str, Any]:
    """Return *sent* in the words of Google's LangChain class."""
    words = {"max_tokens": "max_output_tokens", "n": "candidate_count"}
    words |= {"logprobs": "response_logprobs", "top_logprobs": "logprobs"}
    thinking: dict[str, Any] = sent.pop("thinking", {})
    if (modalities := sent.pop("modalities", None)) is not None:
        sent["generation_config"] = {"response_modalities": [str(name).upper() for name in modalities]}
    return {words.get(name, name): value for name, value in sent.items()} | thinking


def _litellm_words(sent: dict[str, Any]) -> dict[str, Any]:
    """Return *sent* with thinking as Gemini's API has it, which litellm passes on."""
    words = {
        "include_thoughts": "includeThoughts",
        "thinking_budget": "thinkingBudget",
        "thinking_level": "thinkingLevel",
    }
    if (thinking := sent.pop("thinking", None)) is not None:
        sent["thinkingConfig"] = {words[name]: value for name, value in thinking.items()}
    if (stop := sent.pop("stop", None)) is not None:
        sent["stop_sequences"] = stop  # of `stop` it takes four
    if isinstance(settings := sent.get("safety_settings"), dict):
        sent["safety_settings"] = [{"category": name, "threshold": value} for name, value in settings.items()]
    return sent


_TOOLS: Final = re.compile(
    r"google_search|google_search_retrieval|google_maps|enterprise_web_search|url_context|code_execution|computer_use"
)
PARAMETERS: Final = Api(
    takes={
        "temperature": Takes("temperature", 0, 2),
        "top_p": Takes("topP", 0, 1),
        "top_k": Takes("topK", 1, 64),
        "max_tokens": Takes("maxOutputTokens", 1),
        "stop": Takes("stopSequences", most=5),
        "seed": Takes("seed"),
        "n": Takes("candidateCount", 1, 8),
        "frequency_penalty": Takes("frequencyPenalty", -2, 1.99),
        "presence_penalty": Takes("presencePenalty", -2, 1.99),
        "logprobs": Takes("responseLogprobs"),
        "top_logprobs": Takes("logprobs", 0, 20),
        "reasoning_effort": Takes("thinkingConfig"),
        "thinking": Takes("thinkingConfig"),
        "include_thoughts": Takes("thinkingConfig.includeThoughts"),
        "modalities": Takes("responseModalities"),
        "safety_settings": Takes("safetySettings"),
        "cached_content": Takes("cachedContent"),
        "labels": Takes("labels"),
    },
    lacks=_lacks,
    settle=_settle,
    native=_native_words,
    litellm=_litellm_words,
    native_tools=_TOOLS,
    litellm_tools=_TOOLS,
    is_strict=lambda _: False,
)

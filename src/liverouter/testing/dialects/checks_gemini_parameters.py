"""What Gemini's generateContent refuses of `generationConfig`: wrong types and ranges, and what the model lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_gemini import invalid, known_fields, list_at, wrong_value
from liverouter.testing.standin.checks import are_texts, objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.testing.dialects.models import Model
    from liverouter.testing.standin.wire import JsonObject

_WHERE = "generation_config"
_THINKING = frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"})
_INTEGERS = ("candidateCount", "logprobs", "maxOutputTokens", "seed")
_RANGES: Mapping[str, tuple[float, float]] = {  # both ends included
    "candidateCount": (1, 8),
    "frequencyPenalty": (-2, 1.9999),
    "logprobs": (0, 20),
    "presencePenalty": (-2, 1.9999),
    "temperature": (0, 2),
    "topK": (1, 64),
    "topP": (0, 1),
}
_TOOL = frozenset(
    {
        "codeExecution",
        "computerUse",
        "enterpriseWebSearch",
        "functionDeclarations",
        "googleMaps",
        "googleSearch",
        "googleSearchRetrieval",
        "retrieval",
        "urlContext",
    }
)
_MAX_STOPS = 5
_DYNAMIC = -1  # a budget that the model chooses


def check_tools(tools: object) -> None:
    """Raise for a member of a tool that the API does not know."""
    for at, tool in enumerate(objects(tools)):
        known_fields(tool, _TOOL, f"tools[{at}]")


def check_generation(config: JsonObject, model: Model) -> None:
    """Raise for a member of `generationConfig` that has a wrong type, is out of its range, or not for *model*."""
    for name in _INTEGERS:
        if not isinstance(config.get(name), int | None) or isinstance(config.get(name), bool):
            raise wrong_value(f"{_WHERE}.{name}")
    _check_ranges(config, model)
    stops = list_at(config.get("stopSequences"), f"{_WHERE}.stop_sequences")
    if not are_texts(stops):
        raise wrong_value(f"{_WHERE}.stop_sequences")
    if len(stops) > _MAX_STOPS:
        raise invalid(f"Unable to submit request: it has {len(stops)} stop sequences, and {_MAX_STOPS} are supported.")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise invalid("Unable to submit request: logprobs needs responseLogprobs.")
    if config.get("thinkingConfig") is not None:
        _check_thinking(known_fields(config["thinkingConfig"], _THINKING, f"{_WHERE}.thinking_config"), model)


def _check_ranges(config: JsonObject, model: Model) -> None:
    for name, (low, high) in _RANGES.items():
        value = config.get(name, low)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_value(f"{_WHERE}.{name}")
        if not low <= value <= high:
            raise invalid(f"Unable to submit request: {name} is {value}, and the supported range is {low} to {high}.")
    most = model.max_output
    if (limit := config.get("maxOutputTokens")) is not None and (limit < 1 or (most is not None and limit > most)):
        raise invalid(f"Unable to submit request: maxOutputTokens is {limit}, and the supported range is 1 to {most}.")


def _check_thinking(thinking: JsonObject, model: Model) -> None:
    budget, level = thinking.get("thinkingBudget"), thinking.get("thinkingLevel")
    if model.max_output is not None and not model.reasons:
        raise invalid("Unable to submit request: thinking is not supported by this model.")
    if budget is not None and level is not None:
        raise invalid("Unable to submit request: it has both a thinking budget and a thinking level.")
    if budget is not None:
        if isinstance(budget, bool) or not isinstance(budget, int):
            raise wrong_value(f"{_WHERE}.thinking_config.thinking_budget")
        if model.most_budget and budget != _DYNAMIC and not model.least_budget <= budget <= model.most_budget:
            known = f"{model.least_budget} to {model.most_budget}"
            raise invalid(f"Unable to submit request: the thinking budget is {budget}, and the range is {known}.")
    if level is not None and model.reasons and str(level).lower() not in model.levels:
        raise invalid(f"Unable to submit request: the thinking level {level} is not supported by this model.")

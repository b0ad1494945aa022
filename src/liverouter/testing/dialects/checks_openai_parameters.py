"""What OpenAI's chat completions refuse of parameters: unknown ones, wrong types and ranges, what the model lacks.

Azure refuses the same. Snowflake takes the fewer that its REST API documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.testing.dialects.models import Model, cortex_model, openai_model
from liverouter.testing.standin.checks import are_texts, unknown_keys
from liverouter.testing.standin.failures import Failure
from liverouter.testing.standin.wire import JsonObject, RejectedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUMBER = (int, float)
PARAMETERS: Mapping[str, tuple[type, ...]] = {  # of the public API reference, with their JSON types
    "audio": (dict,),
    "frequency_penalty": _NUMBER,
    "function_call": (str, dict),
    "functions": (list,),
    "logit_bias": (dict,),
    "logprobs": (bool,),
    "max_completion_tokens": (int,),
    "max_tokens": (int,),
    "messages": (list,),
    "metadata": (dict,),
    "modalities": (list,),
    "model": (str,),
    "moderation": (dict,),
    "n": (int,),
    "parallel_tool_calls": (bool,),
    "prediction": (dict,),
    "presence_penalty": _NUMBER,
    "prompt_cache_key": (str,),
    "prompt_cache_options": (dict,),
    "prompt_cache_retention": (str,),
    "reasoning_effort": (str,),
    "response_format": (dict,),
    "safety_identifier": (str,),
    "seed": (int,),
    "service_tier": (str,),
    "stop": (str, list),
    "store": (bool,),
    "stream": (bool,),
    "stream_options": (dict,),
    "temperature": _NUMBER,
    "tool_choice": (str, dict),
    "tools": (list,),
    "top_logprobs": (int,),
    "top_p": _NUMBER,
    "user": (str,),
    "verbosity": (str,),
    "web_search_options": (dict,),
}
CORTEX_PARAMETERS: Mapping[str, tuple[type, ...]] = {
    name: PARAMETERS[name]
    for name in (
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "reasoning_effort",
        "response_format",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
    )
}
COMPATIBLE_PARAMETERS: Mapping[str, tuple[type, ...]] = {  # that Ollama, vLLM or OpenRouter document
    name: PARAMETERS[name]
    for name in (
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "messages",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    )
} | {
    "min_p": _NUMBER,
    "provider": (dict,),
    "repetition_penalty": _NUMBER,
    "top_k": (int,),
    "usage": (dict,),
}
_MAX_CHOICES = 128
_MAX_STOPS = 4
_RANGES: Mapping[str, tuple[float, float]] = {
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "temperature": (0, 2),
    "top_logprobs": (0, 20),
    "top_p": (0, 1),
}
_LIMITS = ("max_completion_tokens", "max_tokens")
_ONLY_DEFAULT: Mapping[str, float] = {  # of models that reason
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "temperature": 1,
    "top_p": 1,
}
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})


def invalid(message: str, param: str, code: str | None = None) -> RejectedError:
    """Return the refusal of a request for its parameter *param*, as 400."""
    return RejectedError(Failure.BAD_REQUEST, message, param=param, code=code)


def check_parameters(body: JsonObject, types: Mapping[str, tuple[type, ...]], *, model: str | None) -> None:
    """Raise for a parameter that is unknown, missing, of the wrong type or out of its range.

    *types* are those that the API takes; *model* where the path names the deployment.
    """
    for key in unknown_keys(body, frozenset(types)):
        raise invalid(f"Unknown parameter: '{key}'.", key, "unknown_parameter")
    for key in ("messages",) if model is not None else ("model", "messages"):
        if body.get(key) is None:
            raise invalid(f"Missing required parameter: '{key}'.", key, "missing_required_parameter")
    for key, value in body.items():
        if value is not None and not _has_type(value, types[key]):
            raise invalid(f"Invalid type for '{key}': got {type(value).__name__} instead.", key, "invalid_type")
    _check_stop(body.get("stop"))
    _check_ranges(body)
    if body.get("stream_options") is not None and not body.get("stream"):
        raise invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")


def _check_ranges(body: JsonObject) -> None:
    if not 1 <= (1 if body.get("n") is None else body["n"]) <= _MAX_CHOICES:
        raise invalid(f"Invalid 'n': expected a value from 1 to {_MAX_CHOICES}.", "n", "integer_out_of_range")
    for key, (low, high) in _RANGES.items():
        if (value := body.get(key)) is not None and not low <= value <= high:
            raise invalid(f"Invalid '{key}': expected a value from {low} to {high}.", key, "decimal_out_of_range")


def check_model(body: JsonObject, name: str) -> None:
    """Raise for what OpenAI's model *name* does not take."""
    model = openai_model(name)
    _check_limit(body, model)
    if body.get("service_tier") is not None and body["service_tier"] not in _TIERS:
        raise invalid(f"Invalid value for 'service_tier': expected one of {', '.join(sorted(_TIERS))}.", "service_tier")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise invalid("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    if body.get("parallel_tool_calls") is not None and not body.get("tools"):
        raise invalid("'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls")
    effort = body.get("reasoning_effort")
    if effort is not None and model.efforts is not None:
        if not model.efforts:
            raise invalid(f"'reasoning_effort' is not known to {name}.", "reasoning_effort", "unsupported_parameter")
        if effort not in model.efforts:
            known = ", ".join(sorted(model.efforts))
            raise invalid(f"'reasoning_effort' is one of {known} here.", "reasoning_effort", "unsupported_value")
    if model.reasons:
        _check_reasoning(body)


def check_cortex_model(body: JsonObject, name: str) -> None:
    """Raise for what Snowflake's model *name* does not take."""
    _check_limit(body, cortex_model(name))
    if (value := body.get("temperature")) is not None and not 0 <= value <= 1:
        raise invalid("temperature is from 0 to 1.", "temperature")
    if body.get("reasoning_effort") is not None and not name.startswith("openai-"):
        raise invalid(f"reasoning_effort is not known to {name}.", "reasoning_effort")
    if name.startswith("openai-gpt-5"):
        _check_reasoning({key: value for key, value in body.items() if key not in _LIMITS})


def _check_stop(stop: object) -> None:
    if not isinstance(stop, list):
        return
    if not are_texts(stop):
        raise invalid("Invalid type for 'stop': expected strings.", "stop", "invalid_type")
    if len(stop) > _MAX_STOPS:
        raise invalid(f"Invalid 'stop': at most {_MAX_STOPS} texts, got {len(stop)}.", "stop", "array_above_max_length")


def _check_limit(body: JsonObject, model: Model) -> None:
    for key in _LIMITS:
        if (value := body.get(key)) is None:
            continue
        if value < 1:
            raise invalid(f"Invalid '{key}': expected a value of at least 1.", key, "integer_below_min_value")
        if model.max_output is not None and value > model.max_output:
            raise invalid(f"{key} is too large: the model gives {model.max_output} at most.", key, "invalid_value")


def _check_reasoning(body: JsonObject) -> None:
    """Raise for what models that reason do not take."""
    if body.get("max_tokens") is not None:
        raise invalid(
            "'max_tokens' is not supported with this model; it takes 'max_completion_tokens'.",
            "max_tokens",
            "unsupported_parameter",
        )
    for key, default in _ONLY_DEFAULT.items():
        if body.get(key) not in (None, default):
            raise invalid(f"'{key}' is {default} with this model, and nothing else.", key, "unsupported_value")
    for key in ("logit_bias", "logprobs", "stop"):
        if body.get(key):
            raise invalid(f"'{key}' is not supported with this model.", key, "unsupported_parameter")


def _has_type(value: object, allowed: tuple[type, ...]) -> bool:
    """Whether a JSON value has one of the types; true and false are no numbers."""
    return bool in allowed if isinstance(value, bool) else isinstance(value, allowed)

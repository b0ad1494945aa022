"""What Anthropic's Messages API refuses of parameters: wrong types and ranges, and what the model does not take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from liverouter.testing.dialects.checks_anthropic import invalid
from liverouter.testing.standin.checks import are_texts, objects

if TYPE_CHECKING:
    from liverouter.testing.dialects.models import Model
    from liverouter.testing.standin.wire import JsonObject

_THINKING = ("adaptive", "disabled", "enabled")
_MIN_BUDGET = 1024  # tokens; the least that thinking takes
_LEAST_TOP_P = 0.95  # beside thinking
_SAMPLING = ("temperature", "top_k", "top_p")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_BUILT_IN = re.compile(r"[a-z0-9_]{1,64}_\d{8}|mcp_toolset")  # types of tools without a schema
_TIERS = ("auto", "standard_only")


def check_parameters(body: JsonObject) -> None:
    """Raise for a parameter that the stand-in reads and that has a wrong type or is out of its range."""
    if not isinstance(body.get("model", ""), str):
        raise invalid("model: Input should be a valid string")
    for key in ("metadata", "output_config", "output_format", "thinking"):
        if not isinstance(body.get(key), dict | None):
            raise invalid(f"{key}: Input should be a valid dictionary")
    stop = body.get("stop_sequences")
    if not isinstance(stop, list | None) or not are_texts(stop or ()):
        raise invalid("stop_sequences: Input should be a valid list of strings")
    _check_integer(body["max_tokens"], "max_tokens", 1)
    if body.get("top_k") is not None:
        _check_integer(body["top_k"], "top_k", 0)
    for key in ("temperature", "top_p"):
        if (value := body.get(key)) is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(f"{key}: Input should be a valid number")
        if not 0 <= value <= 1:
            raise invalid(f"{key}: range: 0..1")
    _check_words(body)


def _check_words(body: JsonObject) -> None:
    """Raise for a word that a parameter does not know."""
    for key in (body.get("metadata") or {}).keys() - {"user_id"}:
        raise invalid(f"metadata.{key}: Extra inputs are not permitted")
    for at, tool in enumerate(objects(body.get("tools"))):
        if "input_schema" not in tool and not _BUILT_IN.fullmatch(str(tool.get("type"))):
            raise invalid(f"tools.{at}: Input tag does not match any of the expected tags")
    if body.get("service_tier") not in (None, *_TIERS):
        raise invalid(f"service_tier: Input should be {' or '.join(map(repr, _TIERS))}")
    if (body.get("output_config") or {}).get("effort") not in (None, *_EFFORTS):
        raise invalid(f"output_config.effort: Input should be one of {', '.join(map(repr, _EFFORTS))}")


def check_model(body: JsonObject, model: Model) -> None:
    """Raise for what *model* does not take."""
    if model.max_output is not None and body["max_tokens"] > model.max_output:
        raise invalid(f"max_tokens: {body['max_tokens']} is above {model.max_output}, the most that the model gives")
    given = [key for key in _SAMPLING if body.get(key) is not None]
    if given and not model.samples:
        raise invalid(f"`{given[0]}` is not supported by this model")
    if "temperature" in given and "top_p" in given and model.max_output is not None:
        raise invalid("`temperature` and `top_p` cannot both be specified for this model")


def check_thinking(body: JsonObject, messages: list[JsonObject], model: Model, *, forced: bool) -> None:
    """Raise for thinking that is malformed, that *model* does not have or that the other parameters rule out.

    *forced* says that `tool_choice` forces a tool. The rules are those of the public guide to extended thinking.
    """
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type")
    if kind not in _THINKING:
        raise invalid(f"thinking: Input tag does not match any of the expected tags: {', '.join(map(repr, _THINKING))}")
    if kind == "disabled" and model.thinks_always:
        raise invalid("thinking: this model cannot be told not to think")
    if kind == "adaptive" and not model.thinks_adaptively:
        raise invalid("thinking: adaptive thinking is not supported on this model")
    if kind == "disabled":
        return
    if kind == "enabled":
        _check_budget(body, model)
    _check_beside_thinking(body)
    if forced:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    in_loop = bool(objects(messages[-1]["content"])) and objects(messages[-1]["content"])[0]["type"] == "tool_result"
    if (
        kind == "enabled"
        and in_loop
        and (blocks := objects(messages[-2]["content"]))
        and blocks[0]["type"] not in {"thinking", "redacted_thinking"}
    ):
        raise invalid(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            f"`{blocks[0]['type']}`. When `thinking` is enabled, a final `assistant` message must start with a "
            "thinking block."
        )


def _check_beside_thinking(body: JsonObject) -> None:
    """Raise for sampling that thinking rules out."""
    if body.get("temperature") not in (None, 1):
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
    if body.get("top_k") is not None:
        raise invalid("`top_k` must be unset when thinking is enabled.")
    if body.get("top_p") is not None and body["top_p"] < _LEAST_TOP_P:
        raise invalid(f"`top_p` must be at least {_LEAST_TOP_P} when thinking is enabled.")


def _check_budget(body: JsonObject, model: Model) -> None:
    if "budget_tokens" not in body["thinking"]:
        raise invalid("thinking.enabled.budget_tokens: Field required")
    if not model.thinks_by_budget:
        raise invalid("thinking.enabled: this model takes adaptive thinking alone")
    _check_integer(body["thinking"]["budget_tokens"], "thinking.enabled.budget_tokens", _MIN_BUDGET)
    if body["thinking"]["budget_tokens"] >= body["max_tokens"]:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_integer(value: object, where: str, least: int) -> None:
    """Raise where *value* is no integer or is below *least*; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(f"{where}: Input should be a valid integer")
    if value < least:
        raise invalid(f"{where}: Input should be greater than or equal to {least}")

"""How APIs take the parameters of a call: which, in which range, and what rules out what. Pure.

One call may be served by several providers, each with words, ranges and rules of its own. `fitted` makes of what a
caller or a row gives what one model takes, in this order:

1. what the provider has no word for is left out, and what the model does not take;
2. numbers are brought into their range, `max_tokens` under the model's limit, lists to their length;
3. of what excludes each other a forced tool stands before reasoning, the limit before reasoning, reasoning before
   sampling, `temperature` before `top_p`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kind = Literal["number", "integer", "boolean", "text", "texts", "object", "effort", "thinking", "own"]

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(  # every parameter that a call may give, by its name here
    {
        "temperature": "number",
        "top_p": "number",
        "top_k": "integer",
        "max_tokens": "integer",
        "stop": "texts",
        "seed": "integer",
        "n": "integer",
        "frequency_penalty": "number",
        "presence_penalty": "number",
        "logprobs": "boolean",
        "top_logprobs": "integer",
        "logit_bias": "object",
        "reasoning_effort": "effort",
        "thinking": "thinking",
        "include_thoughts": "boolean",
        "verbosity": "text",
        "parallel_tool_calls": "boolean",
        "service_tier": "text",
        "user": "text",
        "store": "boolean",
        "prediction": "object",
        "modalities": "own",
        "audio": "own",
        "prompt_cache_key": "text",
        "safety_identifier": "text",
        "web_search_options": "object",
        "cache_control": "object",
        "betas": "own",
        "context_management": "own",
        "container": "own",
        "mcp_servers": "own",
        "safety_settings": "own",
        "cached_content": "own",
        "labels": "own",
        "extra_headers": "object",
        "extra_body": "object",
    }
)
ALIASES: Final[Mapping[str, str]] = MappingProxyType(  # what providers and libraries call it -> its name here
    {
        "candidate_count": "n",
        "effort": "reasoning_effort",
        "max_completion_tokens": "max_tokens",
        "max_output_tokens": "max_tokens",
        "stop_sequences": "stop",
        "thinking_level": "reasoning_effort",
    }
)
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")  # the least first
THINKING: Final = ("adaptive", "disabled", "enabled")
REASONING: Final = frozenset({"reasoning_effort", "thinking"})  # one wish in two ways of saying it
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_PARAMETERS: Final = frozenset[str]()
_HUMP: Final = re.compile(r"(?<=[a-z])([A-Z])")


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of one model.

    Attributes:
        name: by which lists know it.
        facts: litellm's entry for it, ``max_output_tokens``, ``supports_reasoning``, …; empty where it has none.
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @property
    def max_output(self) -> int | None:
        """Return the most tokens of an answer, None where that is not known."""
        limit = self.facts.get("max_output_tokens")
        return limit if type(limit) is int and limit > 0 else None


@dataclass(frozen=True, slots=True)
class Takes:
    """How an API takes one parameter.

    Attributes:
        word: what it calls it.
        low: the least value, None for none.
        high: the highest value, None for none.
        most: of a list, how many entries.
        only: the words that it takes; empty for any.
    """

    word: str
    low: float | None = None
    high: float | None = None
    most: int | None = None
    only: tuple[str, ...] = ()


def _as_it_is(sent: dict[str, Any]) -> dict[str, Any]:
    return sent


def _nothing_settled(sent: dict[str, Any], model: Model, *, forced: bool) -> None:
    del sent, model, forced


@dataclass(frozen=True, slots=True)
class Api:
    """The parameters of one API.

    Attributes:
        takes: by the names of `KINDS`; it has no word for the others.
        lacks: model -> names in *takes* that it does not take.
        guess: model -> the most tokens of its answer, where no list knows it; None where it may be anything.
        settle: (parameters, model, forced) changes the parameters in place: what says the same in other words, and what
            excludes each other. *forced*: the model must call a tool.
        native: parameters -> keyword arguments of the provider's LangChain class.
        litellm: parameters -> keyword arguments of litellm.
        native_tools: the kinds of its built-in tools that its LangChain class can ask for; None for none.
        litellm_tools: those that litellm can ask for.
        litellm_body: members that rows may give in `extra_body` where litellm asks: what else stands there it may take
            for an order to itself, and send the key elsewhere. None where it leaves the body alone.
        litellm_tool: a function in OpenAI's format -> as litellm passes it on whole.
        is_strict: tells of a model whether it binds the arguments of a tool to their schema where asked to.
        json_mode: it can be asked for JSON of any shape.
    """

    takes: Mapping[str, Takes]
    lacks: Callable[[Model], frozenset[str]] = lambda _: _PARAMETERS
    guess: Callable[[Model], int | None] = lambda _: None
    settle: Callable[..., None] = _nothing_settled
    native: Callable[[dict[str, Any]], dict[str, Any]] = _as_it_is
    litellm: Callable[[dict[str, Any]], dict[str, Any]] = _as_it_is
    native_tools: re.Pattern[str] | None = None
    litellm_tools: re.Pattern[str] | None = None
    litellm_body: frozenset[str] | None = None
    litellm_tool: Callable[[dict[str, Any]], dict[str, Any]] = _as_it_is
    is_strict: Callable[[Model], bool] = lambda _: True
    json_mode: bool = True


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is sent of given parameters.

    Attributes:
        sent: by the names of `KINDS`.
        dropped: names of those that are left out.
        changed: names of those that are sent with another value.
    """

    sent: dict[str, Any]
    dropped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def fitted(api: Api, given: Mapping[str, Any], model: Model, *, forced: bool = False) -> Fitted:
    """Return what of the parameters *given*, by the names of `KINDS` and well typed, *model* takes by *api*.

    *forced*: the model must call a tool.
    """
    lacks = api.lacks(model)
    if model.max_output is None and (limit := api.guess(model)) is not None:
        model = replace(model, facts={**model.facts, "max_output_tokens": limit})
    sent = {name: value for name, value in given.items() if name in api.takes and name not in lacks}
    for name in tuple(sent):
        value = _within(api.takes[name], sent.pop(name))
        if name == "max_tokens" and model.max_output is not None:
            value = min(value, model.max_output)
        if value is not None:
            sent[name] = value
    api.settle(sent, model, forced=forced)
    reasons = not REASONING.isdisjoint(sent)
    dropped = tuple(name for name in given if name not in sent and not (name in REASONING and reasons))
    changed = tuple(name for name in given if name in sent and name not in REASONING and sent[name] != given[name])
    return Fitted(sent, dropped, changed)


def _within(takes: Takes, value: Any) -> Any:
    """Return *value* brought into the range of *takes*, None where nothing of it is left."""
    if takes.only:
        return value if value in takes.only else None
    if isinstance(value, list):
        return value[: takes.most] or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    kind = type(value)
    if takes.low is not None and value < takes.low:
        value = kind(takes.low)
    if takes.high is not None and value > takes.high:
        value = kind(takes.high)
    return value


def typed(name: str, value: Any) -> Any:
    """Return *value* as `fitted` wants the parameter *name*: one stop text as a list, a whole number as an integer.

    Raises:
        TypeError: it is of another type; the text says what is wanted.
    """
    read, wanted = _READERS[KINDS[name]]
    if (found := read(value)) is None:
        raise TypeError(wanted)
    return found


def _number(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number == int(number) else None


def _texts(value: Any) -> list[str] | None:
    texts = [value] if isinstance(value, str) else value
    return list(texts) if isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts) else None


def _thinking(value: Any) -> Any:
    if not isinstance(value, dict) or value.get("type") not in THINKING:
        return None
    budget = value.get("budget_tokens")
    return value if type(budget) is int or (budget is None and value["type"] != "enabled") else None


def _of(kind: type) -> Callable[[Any], Any]:
    """Return what reads a value of *kind*."""
    return lambda value: value if isinstance(value, kind) else None


_READERS: Final[Mapping[Kind, tuple[Callable[[Any], Any], str]]] = {
    "number": (_number, "a number"),
    "integer": (_whole, "a whole number"),
    "boolean": (_of(bool), "true or false"),
    "text": (_of(str), "a text"),
    "texts": (_texts, "a text or a list of texts"),
    "object": (_of(dict), "an object"),
    "effort": (lambda value: value if value in EFFORTS else None, f"one of {', '.join(EFFORTS)}"),
    "thinking": (_thinking, '{"type": "enabled", "budget_tokens": 2048}, or the type "adaptive" or "disabled"'),
    "own": (lambda value: value, "anything"),  # of one provider, which judges it
}


def snake(name: str) -> str:
    """Return *name*, which may be written as Google's APIs do, as Python writes it: ``google_search``."""
    return _HUMP.sub(lambda found: f"_{found[1].lower()}", name)


# -- reasoning: the same wish in the words of three APIs --------------------------------------------------------------

_BUDGETS: Final[Mapping[str, int]] = {  # tokens of thinking, by effort
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 2048,
    "high": 4096,
    "xhigh": 8192,
    "max": 16_384,
}


def effort_of(sent: Mapping[str, Any]) -> str | None:
    """Return how much reasoning *sent* asks for, None where it is left to the model or nothing is said."""
    if (effort := sent.get("reasoning_effort")) is not None:
        return str(effort)
    thinking = sent.get("thinking") or {}
    if thinking.get("type") == "disabled":
        return "none"
    if thinking.get("type") != "enabled":
        return None
    budget = int(thinking["budget_tokens"])
    return next((effort for effort in EFFORTS if _BUDGETS[effort] >= budget), "max")


def budget_of(sent: Mapping[str, Any]) -> int | None:
    """Return the tokens of thinking that *sent* asks for, 0 for no thinking; None as `effort_of` does."""
    thinking = sent.get("thinking") or {}
    if thinking.get("type") == "enabled":
        return int(thinking["budget_tokens"])
    effort = effort_of(sent)
    return None if effort is None else _BUDGETS[effort]


def nearest(effort: str, known: frozenset[str]) -> str:
    """Return the one of the *known* efforts that is nearest to *effort*, the lower one of two."""
    at = EFFORTS.index(effort)
    return min(known, key=lambda one: (abs(EFFORTS.index(one) - at), EFFORTS.index(one)))

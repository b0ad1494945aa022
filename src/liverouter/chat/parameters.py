"""The parameters of one call: checked once, before anything leaves, and fitted to each deployment that is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers import api_of, native_model
from liverouter.providers.parameters import ALIASES, KINDS, REASONING, fitted, typed
from liverouter.routing.answer_errors import ParameterError
from liverouter.routing.model_map import known_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from liverouter.generation import Generation
    from liverouter.providers.parameters import Api, Model
    from liverouter.revision import Deployment

# Made for the deployment by `tools`, or for us; nothing here fits them.
_KEPT: Final = frozenset({"functions", "response_format", "strict", "timeout", "tool_choice", "tools"})
_OURS: Final = {"max_retries": "num_retries", "request_timeout": "timeout"}  # what LangChain's models call it
_OF_LITELLM: Final = frozenset({"cache", "caching"})  # whether litellm's own cache may answer; no provider hears of it
_OF_ONE_PROVIDER: Final = ("extra_body",)  # the primary's, in whose words it is
_RIVALS: Final = REASONING | {"temperature", "top_p"}  # of which an API may take only some at once
_THOUGHT: Final = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a call asks for beside its messages.

    Attributes:
        given: by the names of `providers.parameters.KINDS`, well typed.
        kept: what says how tools and schemas are used, and how long to wait.
        unknown: names that no provider knows; they are not sent.
    """

    given: Mapping[str, Any]
    kept: Mapping[str, Any]
    unknown: tuple[str, ...]


def ours(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return *given* without what is None, and what is for us and not for a provider under its name here.

    Raises:
        ParameterError: how often to try, or how long to wait, is no number.
    """
    named = {name: value for name, value in given.items() if value is not None}
    for name in (*_OURS, *_OURS.values()):
        value = named.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ParameterError(name, "a number")
    for name, own in _OURS.items():
        if name in named:
            named.setdefault(own, named.pop(name))
    if named.get("timeout", 1) <= 0:  # no provider answers in no time, and none is to blame for it
        raise ParameterError("timeout", "a positive number")
    return named


def read(given: Mapping[str, Any]) -> Parameters:
    """Return the parameters of a call in order.

    Raises:
        ParameterError: one has a value of another type.
    """
    named = _named(given)
    try:
        parameters = {(at := name): typed(name, value) for name, value in named.items() if name in KINDS}
    except TypeError as exc:
        raise ParameterError(at, str(exc)) from None
    kept = {name: value for name, value in named.items() if name in _KEPT | _OF_LITELLM}
    if isinstance(kept.get("response_format"), str | int | float | list):
        raise ParameterError("response_format", "an object")
    unknown = (name for name in named if name not in KINDS and name not in kept and not name.startswith("ls_"))
    return Parameters(parameters, kept, tuple(unknown))


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return *given* under the names here; of two words for one thing its own name's is taken."""
    named = {ALIASES[name]: value for name, value in given.items() if name in ALIASES}
    named |= {name: value for name, value in given.items() if name not in ALIASES}
    reasoning = named.get("reasoning")
    if "thinking_budget" in named:
        named.setdefault("thinking", _thinking(named.pop("thinking_budget")))
    if isinstance(reasoning, dict) and reasoning.get("effort") is not None:
        del named["reasoning"]
        named.setdefault("reasoning_effort", reasoning["effort"])
    return named


def _thinking(budget: Any) -> dict[str, Any]:
    """Return thinking of *budget* tokens: 0 turns it off, -1 leaves it to the model."""
    kind = {"0": "disabled", "-1": "adaptive"}.get(str(budget), "enabled")
    return {"type": kind} | ({"budget_tokens": budget} if kind == "enabled" else {})


def for_deployment(
    parameters: Parameters,
    generation: Generation,
    deployment: Deployment,
    messages: Sequence[BaseMessage],
    *,
    forced: bool,
) -> tuple[dict[str, Any], list[str]]:
    """Return what *generation*'s model of *deployment* is sent, and the names of what is left out or changed.

    What the rows say serves where the caller says nothing. *messages* are the caller's; *forced*: a tool must be
    called.
    """
    is_native = generation.is_native
    api = api_of(deployment, native=is_native)
    if is_native:
        api = native_model(deployment).parameters_in(generation.chats[deployment.id], parameters.kept) or api
    asked = dict(parameters.given)
    if parameters.kept.get("tools") is None:
        asked.pop("parallel_tool_calls", None)
    if deployment.provider != generation.primary.provider:
        asked = {name: value for name, value in asked.items() if name not in _OF_ONE_PROVIDER}
    model = known_model(deployment)
    forced = forced or _is_midway(messages, native_model(deployment).remembers if is_native else None)
    given = {**_beside(deployment.params, asked, api, model), **asked}
    result = fitted(api, given, model, forced=forced)
    left_out = [name for name in parameters.given if name not in given]
    told = [name for name in (*left_out, *result.dropped, *result.changed) if name in parameters.given]
    words = api.native if is_native else api.litellm
    kept = {name: value for name, value in parameters.kept.items() if not (is_native and name in _OF_LITELLM)}
    without = [name for name in parameters.kept if name not in kept]
    return {**kept, **words(dict(result.sent))}, [*parameters.unknown, *without, *told]


def _beside(rows: Mapping[str, Any], asked: Mapping[str, Any], api: Api, model: Model) -> Mapping[str, Any]:
    """Return what is sent of *rows* beside what a call has *asked* for: nothing by which *model* would lose of that."""
    if not REASONING.isdisjoint(asked):
        rows = {name: value for name, value in rows.items() if name not in REASONING}
    if _RIVALS.isdisjoint(asked) or _RIVALS.isdisjoint(rows):
        return rows
    alone, together = fitted(api, asked, model).sent, fitted(api, {**rows, **asked}, model).sent
    if all(name in together for name in asked if name in alone):
        return rows
    return {name: value for name, value in rows.items() if name not in _RIVALS}


def _is_midway(messages: Sequence[BaseMessage], origins: frozenset[str] | None) -> bool:
    """Tell whether tools that *messages* have called last were called without a thought that can be sent before.

    Claude, told to think, wants the thought that it had until it has answered: a model that is not one of *origins* had
    none, or one that it does not know. *origins* None: of litellm's answers, which keep it beside the content.
    """
    caller = next((message for message in reversed(messages) if message.type == "ai"), None)
    if not (getattr(caller, "tool_calls", None) or (messages and messages[-1].type == "tool")):
        return False
    if caller is None:
        return True
    if origins is None:
        return not caller.additional_kwargs.get("thinking_blocks")
    blocks = caller.content if caller.response_metadata.get("model_provider") in origins else ""
    first = blocks[0] if isinstance(blocks, list) and blocks else None
    return not (isinstance(first, dict) and first.get("type") in _THOUGHT)

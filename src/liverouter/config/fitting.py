"""What rows have a deployment sent becomes what its model takes, and each difference a warning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers import api_of
from liverouter.providers.parameters import REASONING, Fitted, fitted
from liverouter.routing.engines.left_out import without_litellm
from liverouter.routing.model_map import known_model, retired_on

if TYPE_CHECKING:
    from liverouter.config.values import Values
    from liverouter.providers.parameters import Api, Model
    from liverouter.revision import Deployment

Said = Mapping[str, tuple[Any, str]]  # a parameter, by the names of `providers.parameters.KINDS` -> value, place

_SOON: Final = timedelta(days=30)  # before a model's last day
_DEFAULT: Final = {"temperature": 1.0}  # of the models that take none: to leave it out changes nothing


def fit(values: Values, deployment: Deployment, said: Said, *, native: bool, entry: str = "") -> Deployment:
    """Return *deployment* with the parameters that its model takes of what is *said*; each difference is reported.

    *native*: the engine will be that one; who cannot be called by it is reported. *entry*: its place, "" for a primary
    that rows describe. A model that answers no more, or will not in a month, is reported as well.
    """
    _warn_of_end(values, deployment, f"{entry}.model" if entry else values.origin("llm_model"))
    if native and (problem := without_litellm(deployment)) is not None:
        values.is_reported([problem])
    if not said:
        return deployment
    given = {name: float(value) if name == "temperature" else value for name, (value, _) in said.items()}
    api, model = api_of(deployment, native=native), known_model(deployment)
    result = fitted(api, given, model)
    if not native and api.litellm_body is not None and "extra_body" in result.sent:
        result = _without_orders(result, api.litellm_body)
    for name in (*result.dropped, *result.changed):
        if name in result.dropped and given[name] == _DEFAULT.get(name):
            continue
        what = f"{deployment.label} {_what(api, model, name, given[name], result.sent.get(name))}"
        values.report("LR114", what, said[name][1], _hint(name, said[name][1], entry), "warning")
    kept = {name: result.sent[name] for name in given if name in result.sent and name not in REASONING}
    kept |= {name: given[name] for name in given if name in REASONING and name not in result.dropped}
    return replace(deployment, params=MappingProxyType(kept))  # how to reason is said in the API's words at each call


def _warn_of_end(values: Values, deployment: Deployment, where: str) -> None:
    """Report that the model, named at *where*, has its last day behind it or near, by litellm's list."""
    last = retired_on(deployment)
    if last is None or last - values.today > _SOON:
        return
    what = "was retired" if last <= values.today else "will be retired"
    message = f"{deployment.label} {what} on {last.isoformat()}, as litellm's list says"
    hint = "Choose a newer model; calls go on for as long as the provider answers them"
    values.report("LR326", message, where, hint, "warning")


def _without_orders(result: Fitted, known: frozenset[str]) -> Fitted:
    """Return *result* with those members of `extra_body` that are *known* to reach the provider's API as they are."""
    body = {name: value for name, value in result.sent["extra_body"].items() if name in known}
    if len(body) == len(result.sent["extra_body"]):
        return result
    sent = {**result.sent, "extra_body": body} if body else {n: v for n, v in result.sent.items() if n != "extra_body"}
    return replace(result, sent=sent, changed=(*result.changed, "extra_body"))


def _what(api: Api, model: Model, name: str, value: Any, fits: Any) -> str:
    """Return that *model* is sent *fits* for the parameter *name* and not *value*, None for nothing, and why."""
    if not isinstance(value, int | float):
        if fits is None:
            return f"does not take the {name} that stands here: none is sent"
        return f"takes less than the {name} that stands here: what it takes is sent"
    if fits is None:
        beside = " beside the other parameters" if name in api.takes and name not in api.lacks(model) else ""
        return f"takes no {name}{beside}: none is sent, not {value:.15g}"
    if name == "max_tokens":
        return f"answers with {fits} tokens at most: {name} {fits} is sent, not {value}"
    takes = api.takes[name]
    return f"takes {name} from {takes.low:.15g} to {takes.high:.15g}: {fits:.15g} is sent, not {value:.15g}"


def _hint(name: str, place: str, entry: str) -> str:
    """Return how to have rows say what is sent; what stands at *place* may be the primary's."""
    if not entry or place.startswith(entry):
        return "Calls go on all the same; change it to what is sent, or remove it, and this warning goes"
    own = f"a '{name}'" if name in ("temperature", "max_tokens") else "'params'"
    return f"Give this fallback {own} of its own, at {entry}, or change what stands here"

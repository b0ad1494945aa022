"""What rows say of a deployment's answers becomes what its model takes, and each difference a warning."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers import api_of
from liverouter.providers.parameters import fitted
from liverouter.routing.model_map import known_model, retired_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.config.values import Values
    from liverouter.revision import Deployment

_ROWS: Final = {"temperature": "llm_temperature", "max_tokens": "llm_max_tokens"}
_SOON: Final = timedelta(days=30)  # before a model's last day
_DEFAULT: Final = {"temperature": 1.0}  # of the models that take none: to leave it out changes nothing


def fit(values: Values, deployment: Deployment, entry: Mapping[Any, Any], where: str) -> Deployment:
    """Return *deployment* with the parameters that its model takes; each that is another than given is reported.

    *entry* is the fallback's at *where*; what it does not say itself comes from the rows. A model that answers no
    more, or will not in a month, is reported as well.
    """
    _warn_of_end(values, deployment, values.origin("llm_model") if where == "settings" else f"{where}.model")
    if not (given := deployment.params):
        return deployment
    sent = fitted(api_of(deployment, native=False), given, known_model(deployment)).sent
    for name, value in given.items():
        if (fits := sent.get(name)) == value or (fits is None and value == _DEFAULT.get(name)):
            continue
        own = entry.get(name) is not None
        place = f"{where}.{name}" if own else values.origin(_ROWS[name])
        values.report("LR114", _what(deployment, name, value, fits), place, _hint(name, where, own=own), "warning")
    return replace(
        deployment,
        temperature=sent.get("temperature"),
        max_tokens=sent.get("max_tokens") if "max_tokens" in given else None,  # else one that Claude wants, for calls
    )


def _warn_of_end(values: Values, deployment: Deployment, where: str) -> None:
    """Report that the model, named at *where*, has its last day behind it or near, by litellm's list."""
    today, last = datetime.now(UTC).date(), retired_on(deployment)
    if last is None or last - today > _SOON:
        return
    what = "was retired" if last <= today else "will be retired"
    message = f"{deployment.label} {what} on {last.isoformat()}, as litellm's list says"
    hint = "Choose a model that stays; where the provider says otherwise, this does no harm"
    values.report("LR326", message, where, hint, "warning")


def _what(deployment: Deployment, name: str, value: Any, fits: Any) -> str:
    """Return that *fits* is sent for the parameter *name* and not *value*, and why."""
    label = deployment.label
    if fits is None:
        return f"{label} takes no {name}: none is sent, not {value:g}"
    if name == "max_tokens":
        return f"{label} answers with {fits} tokens at most: {name} {fits} is sent, not {value}"
    takes = api_of(deployment, native=False).takes[name]
    return f"{label} takes {name} from {takes.low:g} to {takes.high:g}: {fits:g} is sent, not {value:g}"


def _hint(name: str, where: str, *, own: bool) -> str:
    if own or where == "settings":
        return f"Change it to what is sent; nothing else has to be done ({name} is fitted at every read)"
    return f"Give this fallback a '{name}' of its own, {where}.{name}, or change {_ROWS[name]}"

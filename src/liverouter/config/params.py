"""The parameters that rows may have sent: `llm_params` and the `params` of an entry, by one table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.extras import is_sendable, read_body, read_headers
from liverouter.config.kinds import Setting, kind_of
from liverouter.config.settings import PARAMS_HINT
from liverouter.config.values import Values, clip
from liverouter.errors import did_you_mean
from liverouter.providers.parameters import ALIASES, EFFORTS, THINKING, typed

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[Values, Any, str], Any]

MOST_STOPS: Final = 16
_LONGEST_STOP: Final = 500  # characters
_BESIDE: Final = ("temperature", "max_tokens")  # which have members and rows of their own


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter that rows may give.

    Attributes:
        wanted: what it takes, for people.
        read: (values, value, place) -> the value as it is kept; None after a report.
        setting: the type and the range that the database judges by; None for `stop`, a text or a list of such.
        words: those that it takes; empty for anything else.
    """

    name: str
    wanted: str
    read: Read
    setting: Setting | None
    words: tuple[str, ...] = ()


def _number(name: str, low: float, high: float, *, whole: bool = False) -> Param:
    """Return a parameter that is a number from *low* to *high*."""
    setting = Setting(name, "integer" if whole else "number", "", None, low, high)
    wanted = f"a whole number from {low:.0f} to {high:.0f}" if whole else f"a number from {low:g} to {high:g}"
    return Param(name, wanted, lambda values, value, place: values.checked(setting, value, place), setting)


def _word(name: str, *words: str) -> Param:
    """Return a parameter that is one of *words*."""
    wanted = f"one of {', '.join(words)}"

    def read(values: Values, value: Any, place: str) -> str | None:
        if not isinstance(value, str):
            values.report("LR103", f"{kind_of(value)} stands where text belongs", place, f"Write {wanted}, in quotes")
        elif value not in words:
            values.report("LR104", "the word is not known", place, f"Write {wanted}")
        else:
            return value
        return None

    return Param(name, wanted, read, Setting(name, "text", "", own_hint=f"Write {wanted}, in quotes"), words)


def _object(name: str, wanted: str, read: Read) -> Param:
    """Return a parameter that is an object, which *read* goes through."""
    return Param(name, wanted, read, Setting(name, "json", "", own_hint=f"Write {wanted}"))


def _stop(values: Values, value: Any, place: str) -> list[str] | None:
    if (texts := _typed(values, "stop", value, place)) is None:
        return None
    if not 0 < len(texts) <= MOST_STOPS or not all(_is_stop(text) for text in texts):
        hint = f"Write up to {MOST_STOPS} texts of up to {_LONGEST_STOP} characters, none of them blank"
        values.report("LR104", "these are too many texts, blank ones or too long ones", place, hint)
        return None
    return list(texts)


def _is_stop(text: str) -> bool:
    return bool(text.strip()) and len(text) <= _LONGEST_STOP and is_sendable(text)


def _thinking(values: Values, value: Any, place: str) -> dict[str, Any] | None:
    if (thinking := _typed(values, "thinking", value, place)) is None:
        return None
    before = len(values.problems)
    said = {name: member for name, member in thinking.items() if member is not None}
    if strangers := [name for name in said if name not in OF_THINKING]:
        hint = f"It knows {', '.join(OF_THINKING)}"
        values.report("LR106", f"'{clip(strangers[0])}' is not known here", place, hint)
    for name, param in OF_THINKING.items():
        if name in said:
            param.read(values, said[name], f"{place}.{name}")
    return None if values.errors(before) else said


def _typed(values: Values, name: str, value: Any, place: str) -> Any:
    """Return *value* as the parameter *name* has it, None after a report."""
    try:
        return typed(name, value)
    except TypeError as exc:
        values.report("LR103", f"{kind_of(value)} stands where {_OTHERS[name]} belongs", place, f"Write {exc}")
        return None


OF_THINKING: Final[Mapping[str, Param]] = MappingProxyType(
    {
        member.name: member
        for member in (
            _word("type", *THINKING),
            _number("budget_tokens", 1, 1_000_000, whole=True),
            _word("display", "summarized", "omitted"),
        )
    }
)
_OTHERS: Final = {"stop": "a text or a list of texts", "thinking": "what says how to think"}

PARAMS: Final[Mapping[str, Param]] = MappingProxyType(
    {
        param.name: param
        for param in (
            _number("top_p", 0, 1),
            _word("reasoning_effort", *EFFORTS),
            _object(
                "thinking", '{"type": "enabled", "budget_tokens": 2048}, or type "adaptive" or "disabled"', _thinking
            ),
            _number("seed", 0, 2**31 - 1, whole=True),
            Param("stop", f"a text, or a list of up to {MOST_STOPS}", _stop, None),
            _number("frequency_penalty", -2, 2),
            _number("presence_penalty", -2, 2),
            _word("verbosity", "low", "medium", "high"),
            _word("service_tier", "auto", "default", "flex", "priority", "scale", "standard_only"),
            _object(
                "extra_body",
                "an object: members of the request's body, in the provider's own words",
                lambda values, value, place: read_body(values, value, place, PARAMS.__contains__),
            ),
            _object("extra_headers", "an object of texts; no credentials", read_headers),
        )
    }
)


def read_params(values: Values, given: Any, where: str) -> dict[str, Any]:
    """Return the parameters *given* at *where*, by name; what cannot be sent is reported and left out."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        values.report("LR103", f"{kind_of(given)} stands where an object belongs", where, PARAMS_HINT)
        return {}
    found: dict[str, Any] = {}
    for name, value in given.items():
        place = f"{where}.{clip(name)}"
        if (param := PARAMS.get(name)) is None:
            values.report("LR106", f"'{clip(name)}' is no parameter of rows", place, _hint(name, where))
        elif value is not None and (read := param.read(values, value, place)) is not None:
            found[name] = read
    return found


def _hint(name: str, where: str) -> str:
    """Return what to write in place of the unknown parameter *name*."""
    own = ALIASES.get(name, name)
    if own in _BESIDE:
        return f"Write it beside them: {f'llm_{own}' if where == 'settings.llm_params' else own}"
    if own in PARAMS:
        return f"Did you mean '{own}'?"
    return did_you_mean(clip(name), PARAMS) or f"Rows may give {', '.join(PARAMS)}"

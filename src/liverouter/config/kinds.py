"""What a setting or a process option takes, by its kind: text read as a value, a value that does not fit. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from liverouter.errors import LiveRouterError
from liverouter.secrecy.origins import origin_of

if TYPE_CHECKING:
    from liverouter.errors import Severity

_LONGEST_TEXT: Final = 2_000  # characters
_BLANK: Final = re.compile(r"\s")
Kind = Literal["text", "url", "secret", "number", "integer", "boolean", "json"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of `liverouter.settings`, or for a secret of `liverouter.secrets`.

    Attributes:
        low: the least number that is taken; None for no bound.
        high: the greatest number that is taken; None for no bound.
        above_low: a number must be greater than `low`.
        pattern: what a text that becomes a piece of a URL must match whole, and of a URL its origin.
        may_be_list: of kind "json": a list of objects is taken as well as one object.
        own_hint: what to write, where the hint of the kind would mislead.
        severity: what a value that does not fit is; a "warning" where the default does as well.
    """

    name: str
    kind: Kind
    doc: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    pattern: re.Pattern[str] | None = None
    may_be_list: bool = False
    own_hint: str = ""
    above_low: bool = False
    severity: Severity = "error"

    @property
    def variable(self) -> str:
        """Return the environment variable that serves where no row stands."""
        return self.name.upper()

    @property
    def hint(self) -> str:
        """Return what to write in place of a value that does not fit."""
        return self.own_hint or HINTS[self.kind]


class SettingValueError(LiveRouterError, ValueError):
    """Text that cannot become the value of a setting (LR103)."""

    def __init__(self, setting: Setting, expected: str) -> None:
        """Say what *setting* expects."""
        super().__init__(
            f"the value is not {expected}", code="LR103", where=f"settings.{setting.name}", hint=setting.hint
        )


NO_PIECE_OF_A_URL: Final = (
    "LR104",
    "the text holds characters that cannot stand in a URL, of which it becomes a piece",
    "Write letters, digits, dots and dashes",
)
HINTS: Final = {
    "boolean": "Write true or false, without quotes",
    "integer": "Write a whole number, without quotes: 2",
    "number": "Write a number, without quotes: 0.2",
    "json": 'Write {"provider": "openai", "model": "gpt-5.4"}, a list of such, or null',
    "text": 'Write text in quotes: "claude-sonnet-4-6"',
    "url": 'Write a URL in quotes: "https://host/path"',
    "secret": "Store it with `liverouter set --secret NAME`",
}
_BOOLEANS: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def parse(setting: Setting, text: str) -> Any:
    """Return the JSON value that *text* (an environment variable, a command line argument) stands for.

    Raises:
        SettingValueError: the text does not fit the setting's type.
    """
    text = text.strip()
    if text.lower() in ("null", "none") and setting.kind != "text":
        return None
    match setting.kind:
        case "boolean":
            if text.lower() not in _BOOLEANS:
                raise SettingValueError(setting, "true or false")
            return _BOOLEANS[text.lower()]
        case "integer" | "number":
            return _number(setting, text)
        case "json":
            try:
                value = json.loads(text)
                json.dumps(value, allow_nan=False)  # NaN, and numbers that are too large
            except (ValueError, RecursionError) as exc:
                raise SettingValueError(setting, "JSON") from exc
            return value
        case _:
            return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _number(setting: Setting, text: str) -> int | float:
    """Return the number that *text* stands for, whole where it is written so.

    Raises:
        SettingValueError: it stands for none, or for no whole one where *setting* takes only such.
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError as exc:
        raise SettingValueError(setting, "a whole number" if setting.kind == "integer" else "a number") from exc
    if setting.kind == "integer":
        raise SettingValueError(setting, "a whole number")
    return number


def misfit(setting: Setting, value: Any) -> tuple[str, str, str] | None:
    """Return code, message and hint of why *value* cannot be the setting's, else None."""
    if fault := _type_fault(setting, value):
        return "LR103", f"{kind_of(value)} stands where {fault} belongs", setting.hint
    match setting.kind:
        case "number" | "integer":
            return _number_misfit(setting, value)
        case "text" | "url":
            return _text_misfit(setting, value)
        case _:
            return None


def _number_misfit(setting: Setting, value: float) -> tuple[str, str, str] | None:
    """Return code, message and hint of why *value* is out of the setting's range, else None."""
    low, high = setting.low or 0, setting.high or math.inf
    if low <= value <= high and not (setting.above_low and value == low):  # false for NaN too
        return None
    least = f"above {low:.15g} and up to" if setting.above_low else f"from {low:.15g} to"
    return "LR104", "the number is out of range", f"Choose a number {least} {high:.15g}"


def _text_misfit(setting: Setting, text: str) -> tuple[str, str, str] | None:
    """Return code, message and hint of why *text* cannot be the value of a text or a URL, else None."""
    if not text:
        return "LR100", "the value is empty", "Give it a value, or remove it"
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        return "LR104", "the text is too long or holds control characters", "Write plain text"
    if setting.kind == "url":
        fault = url_fault(text)
        if not fault and setting.pattern is not None and not setting.pattern.fullmatch(origin_of(text)):
            fault = "the URL is not encrypted"
        return ("LR105", fault, setting.hint) if fault else None
    if setting.pattern is not None and not setting.pattern.fullmatch(text):
        return NO_PIECE_OF_A_URL
    return None


def _type_fault(setting: Setting, value: Any) -> str:
    """Return what belongs there when *value* has the wrong type, else an empty string."""
    match setting.kind:
        case "boolean":
            return "" if isinstance(value, bool) else "true or false"
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return "" if whole and not isinstance(value, bool) else "a whole number"
        case "number":
            return "" if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
        case "json":
            if setting.may_be_list:
                return "" if isinstance(value, Mapping | list) else "an object or a list of objects"
            return "" if isinstance(value, Mapping) else "an object"
        case _:
            return "" if isinstance(value, str) else "text"


def kind_of(value: Any) -> str:
    """Name the JSON type of *value*, never the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def url_fault(url: str) -> str:
    """Return what makes *url* useless as a provider's address, else an empty string."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return "the URL cannot be read"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "the URL does not start with http:// or https:// and a host"
    if parts.username or parts.password:
        return "the URL holds a user or password"
    if _BLANK.search(url):
        return "the URL holds a space"
    return "" if origin_of(url) else "the URL's host or port cannot be used: write its name in plain ASCII"

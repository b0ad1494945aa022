"""Where a value comes from (row, environment, default) and whether it fits; collects Problems instead of raising."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from liverouter.errors import Problem, Severity
from liverouter.literal import looked_up
from liverouter.origins import origin_of
from liverouter.plain_secrets import plain_secrets
from liverouter.printable import printable
from liverouter.settings import SETTINGS, Setting, SettingValueError, parse

if TYPE_CHECKING:
    from liverouter.options import Environment
    from liverouter.raw import RawConfig
    from liverouter.sealing import Keyring

_LONGEST_TEXT: Final = 2_000
_BLANK: Final = re.compile(r"\s")
MEND_FILE: Final = "Mount the file and write the value into it, or unset the variable that names it"


class Lookup:
    """One validation's view of rows, secrets and environment."""

    def __init__(self, raw: RawConfig, environment: Environment, keyring: Keyring | None) -> None:
        self.raw, self.environment, self.keyring = raw, environment, keyring
        self.problems: list[Problem] = []
        self._told: set[Problem] = set()
        self._unfit: dict[str, list[Problem]] = {}  # by setting: each deployment asks for the rows of its provider

    def report(self, code: str, message: str, where: str, hint: str, severity: Severity = "error") -> None:
        """Add a Problem, once."""
        self._add(Problem(code, message, where, hint, severity))

    def _add(self, problem: Problem) -> None:
        if problem not in self._told:  # a row that two deployments share is one Problem
            self._told.add(problem)
            self.problems.append(problem)

    def errors(self, since: int = 0) -> list[Problem]:
        """Return the errors, or those behind the first *since* Problems."""
        return [p for p in self.problems[since:] if p.severity == "error"]

    def setting(self, name: str) -> Any:
        """Return the value of a non-secret setting: the row, else the environment, else the default."""
        setting = SETTINGS[name]
        value, where = self._row(name) if name in self.raw.settings else self._of_environment(setting)
        return setting.default if value is None else self.checked(setting, value, where)

    def _row(self, name: str) -> tuple[Any, str]:
        """Return a row's value and its place; None where it holds what is looked at no further, and is reported."""
        value, where = self.raw.settings[name], f"settings.{name}"
        if name not in self._unfit:
            self._unfit[name] = plain_secrets(name, value, where) or looked_up(value, where)
        return None if self.is_reported(self._unfit[name]) else value, where

    def _of_environment(self, setting: Setting) -> tuple[Any, str]:
        """Return the environment's value and its source; None where it gives none that can be used."""
        if (found := self.environment.get(setting.name)) is None:
            return None, ""
        if found.error:
            self.report("LR100", found.error, found.source, MEND_FILE)
            return None, found.source
        try:
            value = parse(setting, found.text)
        except SettingValueError as exc:
            self.report(exc.code, exc.message, found.source, exc.hint)
            return None, found.source
        return None if self.is_reported(looked_up(value, found.source)) else value, found.source

    def is_reported(self, problems: list[Problem]) -> bool:
        """Add *problems*, each once, and tell whether there are any."""
        for problem in problems:
            self._add(problem)
        return bool(problems)

    def checked(self, setting: Setting, value: Any, where: str) -> Any:
        """Return *value* when it has the setting's type and range, else the default after a report."""
        if isinstance(value, str) and setting.kind in ("text", "url"):
            value = value.strip()
        if (misfit := _misfit(setting, value)) is not None:
            code, message, hint = misfit
            self.report(code, message, where, hint)
            return setting.default
        return int(value) if setting.kind == "integer" else value

    def origin(self, name: str) -> str:
        """Return where the value of a setting comes from, for a Problem."""
        found = None if name in self.raw.settings else self.environment.get(name)
        return found.source if found else f"settings.{name}"

    @staticmethod
    def is_of_environment(place: str) -> bool:
        """Tell whether *place* is the process's own environment, which no row can change."""
        return place.startswith(("environment ", "file "))


NO_PIECE_OF_A_URL: Final = (
    "LR104",
    "the text holds characters that cannot stand in a URL, of which it becomes a piece",
    "Write letters, digits, dots and dashes",
)
HINTS: Final = {
    "boolean": "Write true or false, without quotes",
    "integer": "Write a whole number, without quotes: 2",
    "number": "Write a number, without quotes: 0.2",
    "json": 'Write {"provider": "openai", "model": "gpt-4o"}, a list of such, or null',
    "text": 'Write text in quotes: "claude-sonnet-4-6"',
    "url": 'Write a URL in quotes: "https://host/path"',
    "secret": "Store it with `liverouter set --secret NAME`",
}


def _misfit(setting: Setting, value: Any) -> tuple[str, str, str] | None:
    """Return code, message and hint of why *value* cannot be the setting's, else None."""
    if fault := _type_fault(setting, value):
        return "LR103", f"{kind_of(value)} stands where {fault} belongs", HINTS[setting.kind]
    match setting.kind:
        case "number" | "integer":
            low, high = setting.low or 0, setting.high or math.inf
            inside = low <= value <= high  # false for NaN too
            return (
                None if inside else ("LR104", "the number is out of range", f"Choose a number from {low:g} to {high:g}")
            )
        case "text" | "url":
            return _text_misfit(setting, value)
        case _:
            return None


def _text_misfit(setting: Setting, text: str) -> tuple[str, str, str] | None:
    if not text:
        return "LR100", "the value is empty", "Give it a value, or remove it"
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        return "LR104", "the text is too long or holds control characters", "Write plain text"
    if setting.kind == "url" and (fault := url_fault(text)):
        return "LR105", fault, HINTS["url"]
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
            ok = isinstance(value, Mapping | list)
            return "" if ok else "an object"
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


def clip(text: str, limit: int = 60) -> str:
    """Return *text* fit to be shown: without control characters, cut to *limit* characters."""
    shown = printable(text[: limit + 1])
    return shown if len(text) <= limit else shown[: limit - 1] + "…"

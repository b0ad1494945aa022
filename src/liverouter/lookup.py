"""Where a value comes from (row, environment, default) and whether it fits; collects Problems instead of raising."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from liverouter.errors import Problem, SecretError, Severity
from liverouter.plain_secrets import plain_secrets
from liverouter.printable import printable
from liverouter.sealing import Secret
from liverouter.sealing import open as unseal
from liverouter.settings import SETTINGS, Setting, SettingValueError, parse

if TYPE_CHECKING:
    from liverouter.options import Environment
    from liverouter.raw import RawConfig
    from liverouter.sealing import Keyring

_LONGEST_TEXT: Final = 2_000
_MEND_FILE: Final = "Mount the file and write the value into it, or unset the variable that names it"


class Lookup:
    """One validation's view of rows, secrets and environment."""

    def __init__(self, raw: RawConfig, environment: Environment, keyring: Keyring | None) -> None:
        self.raw, self.environment, self.keyring = raw, environment, keyring
        self.problems: list[Problem] = []

    def report(self, code: str, message: str, where: str, hint: str, severity: Severity = "error") -> None:
        """Add a Problem, once."""
        problem = Problem(code, message, where, hint, severity)
        if problem not in self.problems:  # a row that two deployments share is one Problem
            self.problems.append(problem)

    def errors(self, since: int = 0) -> list[Problem]:
        """Return the errors, or those behind the first *since* Problems."""
        return [p for p in self.problems[since:] if p.severity == "error"]

    def setting(self, name: str) -> Any:
        """Return the value of a non-secret setting: the row, else the environment, else the default."""
        setting = SETTINGS[name]
        if name in self.raw.settings:
            value, where = self.raw.settings[name], f"settings.{name}"
            if plain := plain_secrets(name, value, where):
                self.problems += (p for p in plain if p not in self.problems)
                return setting.default  # looked at no further: what else is wrong with it might be told with it
            return setting.default if value is None else self.checked(setting, value, where)
        if (found := self.environment.get(name)) is None:
            return setting.default
        if found.error:
            self.report("LR100", found.error, found.source, _MEND_FILE)
            return setting.default
        try:
            value = parse(setting, found.text)
        except SettingValueError as exc:
            self.report(exc.code, exc.message, found.source, exc.hint)
            return setting.default
        return setting.default if value is None else self.checked(setting, value, found.source)

    def checked(self, setting: Setting, value: Any, where: str) -> Any:
        """Return *value* when it has the setting's type and range, else the default after a report."""
        fault = _type_fault(setting, value)
        if fault:
            self.report("LR103", f"{kind_of(value)} stands where {fault} belongs", where, HINTS[setting.kind])
            return setting.default
        if setting.kind in ("number", "integer"):
            low, high = setting.low or 0, setting.high or math.inf
            if not low <= value <= high:  # false for NaN too
                hint = f"Choose a number from {low:g} to {high:g}"
                self.report("LR104", "the number is out of range", where, hint)
                return setting.default
            return int(value) if setting.kind == "integer" else value
        if setting.kind in ("text", "url"):
            value = value.strip()
            if not value:
                self.report("LR100", "the value is empty", where, "Give it a value, or remove it")
                return setting.default
            if len(value) > _LONGEST_TEXT or not value.isprintable():
                self.report("LR104", "the text is too long or holds control characters", where, "Write plain text")
                return setting.default
        return value

    def secret(self, name: str) -> tuple[Secret, str] | None:
        """Return the secret *name* and its source: stored in the database, else from the environment, else None."""
        if (stored := self.raw.secrets.get(name)) is not None:
            where = f"secrets.{clip(name)}"
            try:
                secret = unseal(name, stored.sealed, self.keyring)
            except SecretError as exc:
                self.report(exc.code, exc.message, where, exc.hint)
                return None
            if not secret.reveal().strip():
                self.report("LR102", "the stored secret is empty", where, HINTS["secret"].replace("NAME", clip(name)))
                return None
            return secret, f"secret {name}"
        if (found := self.environment.get(name)) is None:
            return None
        if found.error:
            self.report("LR102", found.error, found.source, _MEND_FILE)
            return None
        return Secret(found.text), found.source

    def origin(self, name: str) -> str:
        """Return where the value of a setting comes from, for a Problem."""
        found = None if name in self.raw.settings else self.environment.get(name)
        return found.source if found else f"settings.{name}"


HINTS: Final = {
    "boolean": "Write true or false, without quotes",
    "integer": "Write a whole number, without quotes: 2",
    "number": "Write a number, without quotes: 0.2",
    "json": 'Write {"provider": "openai", "model": "gpt-4o"}, a list of such, or null',
    "text": 'Write text in quotes: "claude-sonnet-4-6"',
    "url": 'Write a URL in quotes: "https://host/path"',
    "secret": "Store it with `liverouter set --secret NAME`",
}


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
    if re.search(r"\s", url):
        return "the URL holds a space"
    return ""


def clip(text: str, limit: int = 60) -> str:
    """Return *text* fit to be shown: without control characters, cut to *limit* characters."""
    shown = printable(text[: limit + 1])
    return shown if len(text) <= limit else shown[: limit - 1] + "…"

"""Where a value comes from (row, environment, default) and whether it fits; collects Problems instead of raising."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.kinds import Setting, SettingValueError, misfit, parse
from liverouter.config.plain_secrets import plain_secrets
from liverouter.config.settings import NAMED_MODEL, SETTINGS
from liverouter.errors import Problem, Severity
from liverouter.secrecy.literal import looked_up
from liverouter.secrecy.printable import printable

if TYPE_CHECKING:
    from datetime import date

    from liverouter.config.environment import Environment
    from liverouter.revision import Rows
    from liverouter.secrecy.sealing import Keyring

MEND_FILE: Final = "Mount the file and write the value into it, or unset the variable that names it"


class Values:
    """One validation's view of rows, secrets and environment.

    Attributes:
        raw: the rows, as read.
        environment: serves where no row stands.
        keyring: opens the stored secrets; None where the process has none.
        today: the day, in UTC, by which models are judged that have a last one.
        problems: what was reported so far, each once.
    """

    def __init__(self, raw: Rows, environment: Environment, keyring: Keyring | None, today: date | None = None) -> None:
        """Start without Problems."""
        self.raw, self.environment, self.keyring = raw, environment, keyring
        self.today = today or datetime.now(UTC).date()
        self.problems: list[Problem] = []
        self._reported: set[Problem] = set()
        self._unfit: dict[str, list[Problem]] = {}  # by setting: each deployment asks for the rows of its provider

    def report(self, code: str, message: str, where: str, hint: str, severity: Severity = "error") -> None:
        """Add a Problem, once."""
        self._add(Problem(code, message, where, hint, severity))

    def _add(self, problem: Problem) -> None:
        if problem not in self._reported:  # a row that two deployments share is one Problem
            self._reported.add(problem)
            self.problems.append(problem)

    def errors(self, since: int = 0) -> list[Problem]:
        """Return the errors, or those behind the first *since* Problems."""
        return [p for p in self.problems[since:] if p.severity == "error"]

    def setting(self, name: str) -> Any:
        """Return the value of a non-secret setting: the row, else the environment, else the default."""
        setting = SETTINGS[name]
        value, where = self._row(name) if name in self.raw.settings else self._of_environment(setting)
        return setting.default if value is None else self.checked(setting, value, where)

    def named_model(self, row: str) -> Any:
        """Return what the row of a named model holds, None where it is null or wrong, which is reported."""
        value, where = self._row(row)
        return None if value is None else self.checked(NAMED_MODEL, value, where)

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
        if fault := misfit(setting, value):
            code, message, hint = fault
            self.report(code, message, where, hint, setting.severity)
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


def clip(text: str, limit: int = 60) -> str:
    """Return *text* fit to be shown: without control characters, cut to *limit* characters."""
    shown = printable(text[: limit + 1])
    return shown if len(text) <= limit else shown[: limit - 1] + "…"

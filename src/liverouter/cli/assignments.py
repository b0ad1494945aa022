"""Reads KEY=VALUE arguments: what they set, or everything that is wrong with them. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.config.environment import Environment
from liverouter.config.kinds import Setting, SettingValueError, parse
from liverouter.config.plain_secrets import plain_secrets
from liverouter.config.settings import ALERT_WEBHOOK, NAMED_MODEL, SETTINGS, names_a_model
from liverouter.config.validate import hint_for, validate
from liverouter.config.values import Values, clip
from liverouter.errors import ConfigError, Problem, did_you_mean
from liverouter.providers import REJECTED
from liverouter.revision import Rows
from liverouter.secrecy.literal import looked_up

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROVIDER: Final = re.compile(r"[a-z][a-z0-9-]{0,40}")
# Of one row alone, whatever the others, the secrets and the environment hold; LR100 is of members alone.
_OF_ONE_ROW: Final = ("LR100", "LR101", "LR103", "LR104", "LR105", "LR106", "LR107")
_NO_ROWS: Final = Rows("", 0, "", datetime.min.replace(tzinfo=UTC), 0.0, {}, {})


def parse_assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the settings that *pairs* of ``KEY=VALUE`` stand for, each value with its setting's type.

    Raises:
        click.UsageError: an argument has no ``=``, or names a key twice.
        ConfigError: unknown settings and providers, secrets, values of a wrong type or out of range, entries that lack
            something; all of them, no value shown. `liverouter.set_setting()` refuses the same.
    """
    changes: dict[str, Any] = {}
    problems: list[Problem] = []
    for pair in pairs:
        key, separator, value = pair.partition("=")
        key = key.strip()
        if not separator:
            raise click.UsageError(f"'{clip(key)}' is not KEY=VALUE")
        if key in changes:
            raise click.UsageError(f"'{clip(key)}' stands twice")
        changes[key], found = _value(key, value)
        problems += found
    if problems:
        raise ConfigError(problems)
    return changes


def secret_problem(name: str) -> Problem | None:
    """Return what is wrong with storing a secret as *name*: that is the name of a plain setting."""
    setting = SETTINGS.get(name)
    if setting is None or setting.kind == "secret" or name == ALERT_WEBHOOK:
        return None
    hint = f"Write liverouter set {name}=…"
    return Problem("LR107", f"'{name}' is a setting, not a secret", f"settings.{name}", hint)


def _value(key: str, value: str) -> tuple[Any, list[Problem]]:
    """Return what the text *value* is as the setting *key*, and why it cannot be stored as that.

    For a named model PROVIDER/MODEL is taken as well as JSON.
    """
    where = f"settings.{clip(key)}"
    setting = SETTINGS.get(key)
    if names_a_model(key):
        setting = replace(NAMED_MODEL, name=key)
        provider, slash, model = value.strip().partition("/")
        if slash and _PROVIDER.fullmatch(provider):
            value = json.dumps({"provider": provider, "model": model})
    if setting is None:
        return None, [_unknown(key, where)]
    if setting.kind == "secret":
        hint = f"Keep it out of the command line: liverouter set --secret {key}"
        return None, [Problem("LR110", f"'{key}' is a secret, never given as KEY=VALUE", where, hint)]
    try:
        parsed = parse(setting, value)
    except SettingValueError as exc:
        return None, [exc.problem]
    if unfit := plain_secrets(key, parsed, where) or looked_up(parsed, where):
        return None, unfit
    return parsed, [] if parsed is None else _misfits(setting, parsed, where) or _faults(key, parsed)


def _misfits(setting: Setting, value: Any, where: str) -> list[Problem]:
    """Return why *value* can never do for *setting*, whatever the other rows hold."""
    values = Values(_NO_ROWS, Environment({}), None)
    values.checked(replace(setting, severity="error"), value, where)  # whoever writes it can write another one
    return values.problems


def _faults(key: str, value: Any) -> list[Problem]:
    """Return what no process takes of the row *key* by itself: an unknown provider, and what its members hold."""
    place = f"settings.{key}"
    found = validate(replace(_NO_ROWS, settings={key: value}), environment=Environment({}), keyring=None).problems
    within = [p for p in found if p.severity == "error" and p.code in _OF_ONE_ROW and p.where.startswith(place)]
    return [p for p in within if p.code != "LR100" or p.where.endswith((".provider", ".model"))]


def _unknown(key: str, where: str) -> Problem:
    """Return the Problem of *key*, which no setting is called: LR107 for a name that cannot work, else LR106."""
    if hint := REJECTED.get(key):
        return Problem("LR107", f"'{key}' cannot be used", where, hint)
    hint = hint_for(key) or did_you_mean(clip(key), SETTINGS) or "See `liverouter show --settings` for the names"
    return Problem("LR106", f"'{clip(key)}' is not a setting", where, hint)

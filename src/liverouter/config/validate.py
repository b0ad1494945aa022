"""Rows and environment become a Snapshot, or every Problem at once. Pure but for the files the environment names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from liverouter.config.deployments import read_deployments
from liverouter.config.params import PARAMS
from liverouter.config.settings import ALERT_WEBHOOK, COMMON, MODEL_PREFIX, SETTINGS, names_a_model
from liverouter.config.values import Values, clip
from liverouter.config.webhook import read_webhook
from liverouter.errors import Problem, did_you_mean, first_problems
from liverouter.providers import REJECTED
from liverouter.revision import DEFAULT_NAME, Snapshot
from liverouter.secrecy.literal import looked_up

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from liverouter.config.environment import Environment
    from liverouter.errors import Severity
    from liverouter.revision import Deployment, Rows
    from liverouter.secrecy.sealing import Keyring

_PREFIXES: Final = tuple({name.split("_")[0] + "_" for name in SETTINGS})
_OURS: Final = ("llm_", "litellm_", MODEL_PREFIX)  # of rows that no other software has
_LIST: Final = "Remove the row; `liverouter show --settings` lists the names"
_MOST_GUESSES: Final = 200  # rows that are compared with the names of settings; other software may have thousands


@dataclass(frozen=True, slots=True)
class Validation:
    """The outcome: a snapshot, or errors; warnings beside either.

    Attributes:
        snapshot: None where there are errors.
        problems: errors first; with a snapshot there are only warnings.
        litellm_enable: which engine is wanted, also where there are errors.
    """

    snapshot: Snapshot | None
    problems: tuple[Problem, ...]
    litellm_enable: bool

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Return the Problems that reject nothing."""
        return tuple(p for p in self.problems if p.severity == "warning")


def validate(raw: Rows, *, environment: Environment, keyring: Keyring | None, today: date | None = None) -> Validation:
    """Return the Snapshot that *raw* describes, or all its Problems; never raises, whatever the rows hold.

    *today*, by default this day, is the one by which models are judged that have a last one. Takes time that grows with
    the size of the rows alone: whoever may write could else stop every process by one row. Of more than a hundred
    Problems the first are returned, and one that counts the others.
    """
    values = Values(raw, environment, keyring, today)
    _check_looked_up(values)
    common = {name: values.setting(name) for name in COMMON}
    deployments = read_deployments(values, common)
    webhook = read_webhook(values, common[ALERT_WEBHOOK])
    _check_logical_name(values, common["litellm_model_name"], deployments)
    _check_strangers(values)  # last: there may be many, and the first Problems are told
    errors = values.errors()
    warnings = tuple(p for p in values.problems if p.severity == "warning")
    if errors:
        return Validation(None, first_problems((*errors, *warnings)), common["litellm_enable"])
    snapshot = Snapshot(
        epoch=raw.epoch,
        revision=raw.revision,
        change_id=raw.change_id,
        committed_at=raw.committed_at,
        deployments=tuple(deployments),
        litellm_enable=common["litellm_enable"],
        model_name=common["litellm_model_name"],
        num_retries=common["litellm_num_retries"],
        allowed_fails=common["litellm_allowed_fails"],
        cooldown_time_s=float(common["litellm_cooldown_time"]),
        timeout_s=float(common["litellm_timeout"]),
        check_streams=common["litellm_check_streams"],
        alert_webhook=webhook,
        probe_interval_h=common["llm_probe_interval_h"],
    )
    return Validation(snapshot, first_problems(warnings), snapshot.litellm_enable)


def _check_looked_up(values: Values) -> None:
    """Report settings, used or not, that a library would look up elsewhere."""
    for name, value in values.raw.settings.items():
        if name in SETTINGS:
            values.is_reported(looked_up(value, f"settings.{name}"))


def _check_strangers(values: Values) -> None:
    """Report rows that are no setting: an error where no other software has such, else a warning.

    Rows of other software pass in silence.
    """
    strangers = [name for name in values.raw.settings if not _is_known(name)]
    for number, name in enumerate(strangers):
        near = did_you_mean(clip(name), SETTINGS) if number < _MOST_GUESSES else ""
        is_ours = name.lower().startswith(_OURS)
        if near or is_ours or name.startswith(_PREFIXES):
            hint = hint_for(name) or near or _LIST
            severity: Severity = "error" if is_ours else "warning"
            values.report("LR106", f"'{clip(name)}' is not a setting", f"settings.{clip(name)}", hint, severity)


def _is_known(name: str) -> bool:
    """Tell whether a row of that name is read, or reported elsewhere."""
    return name in SETTINGS or name in REJECTED or names_a_model(name)


def hint_for(name: str) -> str:
    """Return what to write in place of a row whose name begins as ours do; "" where nothing better is known."""
    prefix = next((p for p in _OURS if name.lower().startswith(p)), "")
    rest = name[len(prefix) :]
    if prefix == MODEL_PREFIX:
        if rest == DEFAULT_NAME:
            return "'default' is what llm_provider, llm_model, … say: set those, or give this model another name"
        return "A model's name begins with a-z, then up to 31 of a-z, 0-9, _ and - follow: llm:fast"
    return f"It is a member of llm_params: liverouter set llm_params='{{\"{rest}\": …}}'" if rest in PARAMS else ""


def _check_logical_name(values: Values, name: str, deployments: Sequence[Deployment]) -> None:
    """Report a `litellm_model_name` that a named model has: callers of the Router could mean either."""
    if any(d.name == name for d in deployments):
        hint = "Give one of them another name"
        place = values.origin("litellm_model_name")
        values.report("LR116", f"'{clip(name)}' is the name of a named model as well", place, hint)

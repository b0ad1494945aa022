"""Rows and environment become a Snapshot, or every Problem at once. Pure but for the files the environment names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from liverouter.config.deployments import read_deployments
from liverouter.config.settings import ALERT_WEBHOOK, SETTINGS
from liverouter.config.values import Values, clip
from liverouter.config.webhook import read_webhook
from liverouter.errors import Problem, did_you_mean, first_problems
from liverouter.providers import REJECTED
from liverouter.revision import Snapshot
from liverouter.secrecy.literal import looked_up

if TYPE_CHECKING:
    from liverouter.config.environment import Environment
    from liverouter.revision import Rows
    from liverouter.secrecy.sealing import Keyring

_PREFIXES: Final = tuple({name.split("_")[0] + "_" for name in SETTINGS})
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


def validate(raw: Rows, *, environment: Environment, keyring: Keyring | None) -> Validation:
    """Return the Snapshot that *raw* describes, or all its Problems; never raises, whatever the rows hold.

    Takes time that grows with the size of the rows alone: whoever may write could else stop every process by one row.
    Of more than a hundred Problems the first are returned, and one that counts the others.
    """
    values = Values(raw, environment, keyring)
    _check_names(values)
    common = {name: values.setting(name) for name in SETTINGS if name.startswith(("llm_", "litellm_"))}
    deployments = read_deployments(values, common)
    webhook = read_webhook(values, common[ALERT_WEBHOOK])
    errors = values.errors()
    warnings = tuple(p for p in values.problems if p.severity == "warning")
    if errors or not deployments:
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


def _check_names(values: Values) -> None:
    """Report rows that a library would look up elsewhere, used or not, and warn of rows that look like a setting.

    Rows of other software pass in silence.
    """
    strangers = [name for name in values.raw.settings if name not in SETTINGS and name not in REJECTED]
    for name, value in values.raw.settings.items():
        if name in SETTINGS:
            values.is_reported(looked_up(value, f"settings.{name}"))
    for number, name in enumerate(strangers):
        near = did_you_mean(clip(name), SETTINGS) if number < _MOST_GUESSES else ""
        if near or name.startswith(_PREFIXES):
            hint = near or "Remove the row; `liverouter show --settings` lists the names"
            values.report("LR106", f"'{clip(name)}' is not a setting", f"settings.{clip(name)}", hint, "warning")

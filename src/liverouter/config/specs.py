"""What the database has to know of rows to judge them as `validate` does, while no process runs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from liverouter.config.extras import OF_HTTP, OF_OURS
from liverouter.config.kinds import Setting
from liverouter.config.members import MEMBERS
from liverouter.config.params import MOST_STOPS, OF_THINKING, PARAMS
from liverouter.config.settings import SETTINGS, setting_of
from liverouter.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.config.params import Param

# Names of members that a parameter does not take.
_REFUSED: Final[Mapping[str, list[str]]] = {
    "extra_body": sorted(OF_OURS.union(PARAMS)),
    "extra_headers": sorted(OF_HTTP),
}


def known_settings() -> list[dict[str, Any]]:
    """Return the rows of table `liverouter.setting_specs`, by the names of its columns."""
    fields = {f.name: (spec.name, f.alias) for spec in PROVIDERS.values() for f in spec.fields}
    rows = [_row("row", setting, *fields.get(setting.name, (None, ""))) for setting in SETTINGS.values()]
    rows += [_row("member", setting) for setting in MEMBERS.values()]
    rows += [_param_row("param", param) for param in PARAMS.values()]
    rows += [_param_row("thinking", param) for param in OF_THINKING.values()]
    for spec in PROVIDERS.values():
        rows += [
            _row("row", Setting(name, "text", "", own_hint=hint), spec.name) | {"kind": "rejected"}
            for name, hint in spec.rejected.items()
        ]
        rows += [_row("part", setting_of(spec, field), spec.name) for field in spec.members]
        if spec.model_pattern is not None and not spec.deployment_field:  # else the environment may name the deployment
            rows.append(_row("model", Setting(spec.name, "text", "", pattern=spec.model_pattern), spec.name))
    return rows


def _param_row(scope: str, param: Param) -> dict[str, Any]:
    """Return what *param* takes, or which names of members it does not."""
    setting = param.setting or Setting(param.name, "json", "", high=MOST_STOPS, own_hint=f"Write {param.wanted}")
    row = _row(scope, setting) | {"words": list(param.words) or None, "refused": _REFUSED.get(param.name)}
    return row if param.setting is not None else row | {"kind": "texts"}


def _row(scope: str, setting: Setting, provider: str | None = None, alias: str = "") -> dict[str, Any]:
    """Return what *setting* takes, which is of *provider* where that is not None; *scope* as in the table."""
    return {
        "scope": scope,
        "name": setting.name,
        "kind": setting.kind,
        "provider": provider,
        "alias": alias,
        "low": _exactly(setting.low),
        "above_low": setting.above_low,
        "high": _exactly(setting.high),
        "pattern": setting.pattern.pattern if setting.pattern else None,
        "may_be_list": setting.may_be_list,
        "hint": setting.hint,
        "severity": setting.severity,
        "words": None,
        "refused": None,
    }


def _exactly(bound: float | None) -> Decimal | None:
    """Return *bound* as it is written: 0.1 as a float is a little more, and a row of 0.1 would be too small."""
    return None if bound is None else Decimal(str(bound))

"""What the database has to know of rows to judge them as `validate` does, while no process runs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from liverouter.config.kinds import Setting
from liverouter.config.members import MEMBERS
from liverouter.config.params import PARAMS
from liverouter.config.settings import SETTINGS
from liverouter.providers import PROVIDERS


def known_settings() -> list[dict[str, Any]]:
    """Return the rows of table `liverouter.setting_specs`, by the names of its columns."""
    fields = {f.name: (spec.name, f.alias) for spec in PROVIDERS.values() for f in spec.fields}
    rows = [_row("row", setting, *fields.get(setting.name, (None, ""))) for setting in SETTINGS.values()]
    rows += [_row("member", setting, None, "") for setting in MEMBERS.values()]
    rows += [
        _row("param", param.setting or Setting(param.name, "json", ""), None, "")
        | ({} if param.setting is not None else {"kind": "any"})
        for param in PARAMS.values()
    ]
    rows += [
        _row("row", Setting(name, "text", "", own_hint=hint), spec.name, "") | {"kind": "rejected"}
        for spec in PROVIDERS.values()
        for name, hint in spec.rejected.items()
    ]
    return rows


def _row(scope: str, setting: Setting, provider: str | None, alias: str) -> dict[str, Any]:
    """Return what *setting* takes: a row, a member or a parameter, as *scope* says; of *provider* where not None."""
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
    }


def _exactly(bound: float | None) -> Decimal | None:
    """Return *bound* as it is written: 0.1 as a float is a little more, and a row of 0.1 would be too small."""
    return None if bound is None else Decimal(str(bound))

"""`show --settings`: every setting, its value, and where that comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from liverouter.cli.output import show_json, show_table
from liverouter.config.kinds import SettingValueError, parse
from liverouter.config.plain_secrets import plain_secrets
from liverouter.config.settings import SETTINGS, names_a_model, shown
from liverouter.secrecy.sealing import Secret, fingerprint

if TYPE_CHECKING:
    from liverouter.config.environment import Environment
    from liverouter.config.kinds import Setting
    from liverouter.revision import Rows, SealedSecret

_BLANK: Final = "*** (holds a secret)"
_SETTING: Final = {"name": "SETTING", "value": "VALUE", "source": "FROM", "type": "TYPE", "default": "DEFAULT"}


def show_settings(rows: Rows, environment: Environment, *, as_json: bool) -> None:
    """Print every setting, then the rows and the secrets whose names are not those of settings."""
    lines = [_setting_line(name, rows, environment) for name in SETTINGS]
    lines += [
        {"name": name, "value": _public(name, value), "source": "row", "type": _type_of_row(name), "default": None}
        for name, value in rows.settings.items()
        if name not in SETTINGS
    ]
    lines += [
        {"name": name, "type": "secret", "default": None, **_sealed(stored)}
        for name, stored in rows.secrets.items()
        if name not in SETTINGS
    ]
    if as_json:
        show_json(lines)
    else:
        show_table(lines, _SETTING)


def _type_of_row(name: str) -> str:
    """Return what a row is whose key is none of the table's."""
    return "model" if names_a_model(name) else "not a setting"


def _sealed(stored: SealedSecret) -> dict[str, Any]:
    """Return what is told of a stored secret: its fingerprint, and where it may be sent."""
    bound = f", for {', '.join(stored.origins)}" if stored.origins else ""
    return {"value": stored.fingerprint, "source": f"sealed{bound}"}


def _setting_line(name: str, rows: Rows, environment: Environment) -> dict[str, Any]:
    """Return one setting, its value and where that comes from; of a secret the fingerprint."""
    setting = SETTINGS[name]
    line = {"name": name, "type": setting.kind, "default": setting.default, "doc": setting.doc}
    found = environment.get(name)
    if setting.kind == "secret":
        if name in rows.secrets:
            return line | _sealed(rows.secrets[name])
        if found is not None and not found.error:
            return line | {"value": fingerprint(Secret(found.text)), "source": found.source}
    elif name in rows.settings:
        return line | {"value": _public(name, rows.settings[name]), "source": "row"}
    elif found is not None and not found.error:
        return line | {"value": _public_text(setting, found.text), "source": found.source}
    return line | {"value": setting.default, "source": "default" if setting.default is not None else ""}


def _public_text(setting: Setting, text: str) -> str:
    """Return *text* of the environment, blanked where what it stands for holds what only a secret may."""
    try:
        value = parse(setting, text)
    except SettingValueError:
        value = text
    public = _public(setting.name, value)
    return text if public == value else public if isinstance(public, str) else _BLANK


def _public(name: str, value: Any) -> Any:
    """Return *value*, blanked where it holds what only a secret may; the database refuses such rows, old ones stay."""
    return _BLANK if plain_secrets(name, value, "") else shown(name, value)

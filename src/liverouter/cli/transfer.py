"""`export`, `apply`: the whole config as a file without secrets, for a repository or for another database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.cli.changes import show_changes
from liverouter.cli.outcome import DEPENDS_ON_ENVIRONMENT, Stored, tell
from liverouter.cli.output import say, show_json, show_problems
from liverouter.cli.progress import Progress
from liverouter.cli.session import access, database_options, json_option
from liverouter.cli.write import write_options
from liverouter.config.draft import with_changes
from liverouter.config.environment import Environment
from liverouter.config.plain_secrets import plain_secrets
from liverouter.config.settings import SETTINGS, names_a_model
from liverouter.config.validate import hint_for, validate
from liverouter.config.values import clip
from liverouter.errors import ConfigError, Problem, did_you_mean
from liverouter.secrecy.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from liverouter.cli.write import How
    from liverouter.postgres.repository import SettingsRepository
    from liverouter.revision import Rows

_FORMAT: Final = 1
_MOST_CHARACTERS: Final = 1_000_000
_DEEPEST: Final = 50  # levels: what PyYAML takes to read more of them grows with their square
_MEMBERS: Final = ("liverouter", "settings", "secrets")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an exported file says.

    Attributes:
        settings: all that should stand, by name.
        secrets: the names of those that have to be stored, each with the fingerprint that it had where it was exported.
    """

    settings: dict[str, Any]
    secrets: dict[str, str]


@click.command("export")
@json_option
@database_options
def export_command(*, as_json: bool, database_url: str | None) -> None:
    """Print the whole config as YAML, for a repository or another database.

    Secrets are named, with their fingerprints; none is in it. Rows of other software are left out.

    \b
    Examples:
      liverouter export > config.yaml
      LIVEROUTER_DATABASE_URL=$STAGING liverouter export | LIVEROUTER_DATABASE_URL=$PRODUCTION liverouter apply -
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    db = access("export", database_url)
    with Progress() as progress:
        progress.now("reading the config")
        rows = db.run(lambda repository: repository.read())
    settings = _ours(rows)
    if plain := [p for name, value in settings.items() for p in plain_secrets(name, value, f"settings.{clip(name)}")]:
        raise ConfigError(plain)
    document = {
        "liverouter": _FORMAT,
        "settings": settings,
        "secrets": {name: {"fingerprint": secret.fingerprint} for name, secret in sorted(rows.secrets.items())},
    }
    if as_json:
        show_json(document)
        return
    import yaml  # type: ignore[import-untyped]

    say(f"# liverouter: revision {rows.revision}, committed at {rows.committed_at:%Y-%m-%d %H:%M:%S} UTC")
    for line in yaml.safe_dump(document, sort_keys=False, allow_unicode=False).splitlines():
        say(line)


@click.command("apply")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--dry-run", is_flag=True, help="Say what would change and what is wrong; change nothing.")
@write_options
def apply_command(*, file: TextIO, dry_run: bool, database_url: str | None, how: How) -> None:
    """Make the config what FILE says, in one transaction.

    FILE is what `liverouter export` printed; - reads standard input. Settings that it does not name are removed; rows
    of other software and secrets stay as they are. It is refused whole where anything is wrong with it: an unknown
    setting, a value that does not fit, a secret that it names and that is not stored here.

    \b
    Examples:
      liverouter apply config.yaml --dry-run
      liverouter apply config.yaml --comment "release 42" --wait
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    exported = _read(file)
    db = access("apply", database_url)

    async def work(repository: SettingsRepository) -> None:
        from liverouter.postgres.repository import UNSET

        rows, stored = await repository.read(), await Stored.read(repository)
        before = _ours(rows)
        gone = [name for name in before if name not in exported.settings]
        draft = with_changes(rows, settings=exported.settings, remove=gone)
        found = validate(draft, environment=Environment(), keyring=db.keyring).problems
        problems = [*_strangers(exported), *_missing(exported, rows), *found]
        changes = [
            {"object": "setting", "key": name, "old": before.get(name), "new": exported.settings.get(name)}
            | _null(name, before, exported.settings)
            for name in (*exported.settings, *gone)
            if name not in before or name not in exported.settings or before[name] != exported.settings[name]
        ]
        if not how.as_json:
            show_changes(changes)
        if any(p.severity == "error" and p.code not in DEPENDS_ON_ENVIRONMENT for p in problems):
            raise ConfigError(problems)
        if dry_run:
            _tell_trial(changes, problems, as_json=how.as_json)
            return
        edit = how.edit | {"expected_revision": rows.revision if how.expect is None else how.expect}
        revision = await repository.write(exported.settings | dict.fromkeys(gone, UNSET), **edit)
        left = stored.remaining(draft, db.keyring)
        await tell(repository, before=rows.revision, revision=revision, problems=left, **how.telling)

    db.run(work)


COMMANDS: Final = (export_command, apply_command)


def _ours(rows: Rows) -> dict[str, Any]:
    """Return the settings of *rows* that are liverouter's, in the order of the table, names of models last."""
    known = {name: rows.settings[name] for name in SETTINGS if name in rows.settings}
    return known | {name: rows.settings[name] for name in sorted(rows.settings) if names_a_model(name)}


def _read(file: TextIO) -> Exported:
    """Return what *file* says.

    Raises:
        ConfigError: it cannot be read, or is no export (LR120); it holds a plain secret (LR110).
    """
    document = _parsed(file)
    settings, secrets = document.get("settings"), document.get("secrets") or {}
    if document.get("liverouter") != _FORMAT:
        raise _unreadable(f"it does not say 'liverouter: {_FORMAT}'")
    if unknown := [str(name) for name in document if name not in _MEMBERS]:
        raise _unreadable(f"'{clip(unknown[0])}' is not known here")
    if not isinstance(settings, dict) or not isinstance(secrets, dict):
        raise _unreadable("'settings' and 'secrets' are not objects")
    if plain := [p for name, value in settings.items() for p in plain_secrets(name, value, f"settings.{clip(name)}")]:
        raise ConfigError(plain)
    marks = {
        name: str(secret.get("fingerprint", "")) if isinstance(secret, dict) else "" for name, secret in secrets.items()
    }
    return Exported(settings, marks)


def _parsed(file: TextIO) -> Mapping[str, Any]:
    """Return the object that *file* holds, in YAML or JSON.

    Raises:
        ConfigError: it holds none (LR120).
    """
    import yaml

    try:
        text = file.read(_MOST_CHARACTERS + 1)
        if len(text) > _MOST_CHARACTERS:
            raise _unreadable("it is longer than a million characters")
        depth = 0
        for event in yaml.parse(text):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                raise _unreadable(f"it repeats itself by references, or is nested deeper than {_DEEPEST} levels")
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        _refuse_twins(root)
        document = json.loads(json.dumps(root and loader.construct_document(root), default=_plain, allow_nan=False))
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as exc:
        place = getattr(exc, "problem_mark", None)
        raise _unreadable(f"line {place.line + 1} is no YAML" if place else "it is neither YAML nor JSON") from None
    if not isinstance(document, dict):
        raise _unreadable("it is not an object")
    return document


def _refuse_twins(root: Any) -> None:
    """Refuse an object in YAML's node *root* that has a name twice: the last would win in silence.

    Raises:
        ConfigError: there is one (LR120).
    """
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if getattr(node, "id", "") == "sequence":
            waiting += node.value
        elif getattr(node, "id", "") == "mapping":
            names = set[str]()
            for name, value in node.value:
                if str(name.value) in names:
                    raise _unreadable(
                        f"'{clip(str(name.value))}' stands twice, again in line {name.start_mark.line + 1}"
                    )
                names.add(str(name.value))
                waiting.append(value)


def _plain(value: Any) -> str:
    """Return the text of what YAML takes for a date, such as a version of Azure's API; raise TypeError for the rest."""
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError


def _unreadable(fault: str) -> ConfigError:
    return ConfigError(
        [Problem("LR120", f"this is no exported config: {fault}", "file", "Write one: liverouter export > config.yaml")]
    )


def _strangers(exported: Exported) -> list[Problem]:
    """Return a Problem for each name in the file that is no setting: what a row may be, an export may not."""
    return [
        Problem(
            "LR106",
            f"'{clip(name)}' is not a setting",
            f"settings.{clip(name)}",
            hint_for(name) or did_you_mean(clip(name), SETTINGS) or "See `liverouter show --settings` for the names",
        )
        for name in exported.settings
        if not names_a_model(name) and (name not in SETTINGS or SETTINGS[name].kind == "secret")
    ]


def _missing(exported: Exported, rows: Rows) -> list[Problem]:
    """Return a Problem for each secret of the file that *rows* have not, and an info for each that is another there."""
    problems = []
    for name, mark in exported.secrets.items():
        shown, stored = printable(clip(name)), rows.secrets.get(name)
        if stored is None:
            hint = (
                f"Store it here: liverouter set --secret {shown}; or, where processes have it, leave it out of the file"
            )
            problems.append(
                Problem("LR121", f"secret '{shown}' is not stored in this database", f"secrets.{shown}", hint)
            )
        elif stored.fingerprint != mark:
            message = f"secret '{shown}' is another one here, {stored.fingerprint}, than where this was exported"
            problems.append(Problem("LR121", message, f"secrets.{shown}", "", "info"))
    return problems


def _null(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return the member that names which of both has null as the setting *name*; none where neither has."""
    return next(({"null": side} for side, held in (("old", old), ("new", new)) if held.get(name, "") is None), {})


def _tell_trial(changes: list[dict[str, Any]], problems: list[Problem], *, as_json: bool) -> None:
    """Say what *changes* an apply would make, and what would be told of it."""
    if as_json:
        show_json({"changes": changes, "problems": problems})
        return
    show_problems(problems, err=True)
    say(f"would change {len(changes)} settings" if changes else "would change nothing")

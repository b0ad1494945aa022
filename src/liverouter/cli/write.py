"""`set`, `unset`, `rollback`: each is one transaction, and prints the revision that it made."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.cli import completion
from liverouter.cli.assignments import parse_assignments, secret_problem
from liverouter.cli.keys import sealing_keyring
from liverouter.cli.outcome import Stored, tell
from liverouter.cli.ranges import REVISION, Seconds
from liverouter.cli.session import access, database_options, json_option
from liverouter.config.credentials import secret_faults
from liverouter.config.draft import origins_in_force, sealed_unless_same, secrets_referred_to, with_changes
from liverouter.config.settings import ALERT_WEBHOOK, SETTINGS
from liverouter.config.values import clip
from liverouter.errors import ConfigError, Problem, did_you_mean
from liverouter.secrecy.origins import origin_of
from liverouter.secrecy.sealing import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from liverouter.postgres.repository import SettingsRepository
    from liverouter.revision import Rows

_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """The options that every write has.

    Attributes:
        expect: refuse the write where the head is another revision than this.
        wait: return once every live instance applied it, at most `timeout_s` seconds later.
    """

    author: str | None
    comment: str | None
    expect: int | None
    wait: bool
    timeout_s: float
    as_json: bool

    @property
    def edit(self) -> dict[str, Any]:
        """Return what every write of the repository takes."""
        return {"expected_revision": self.expect, "author": self.author, "comment": self.comment}

    @property
    def telling(self) -> dict[str, Any]:
        """Return what `tell` takes of these options."""
        return {"wait_s": self.timeout_s if self.wait else None, "as_json": self.as_json}


def write_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every write to a command, which is given them as one `how`."""

    def collected(**arguments: Any) -> Any:
        how = How(**{name: arguments.pop(name) for name in How.__dataclass_fields__})
        return function(how=how, **arguments)

    collected.__doc__ = function.__doc__
    decorated: Callable[..., Any] = collected
    for option in reversed(
        (
            click.option(
                "--wait", is_flag=True, help="Return once every live instance applied it; fail if one rejects it."
            ),
            click.option(
                "--timeout",
                "timeout_s",
                type=Seconds(0.1, 3600),
                default=_WAIT_S,
                show_default=True,
                metavar="SECONDS",
                help="How long --wait waits.",
            ),
            click.option("--comment", metavar="TEXT", help="Why, for the history."),
            click.option(
                "--author", metavar="NAME", help="Who, for the history, where the database role does not say."
            ),
            click.option(
                "--expect",
                type=REVISION,
                metavar="REVISION",
                help="Refuse if somebody changed the config since.",
            ),
            json_option,
            database_options,
        )
    ):
        decorated = option(decorated)
    return decorated


@click.command("set")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.assignments)
@click.option(
    "--secret",
    "secret_names",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.secrets,
    help="Store the secret NAME, sealed; its value is asked for, or read from stdin when piped.",
)
@click.option(
    "--for",
    "urls",
    multiple=True,
    metavar="URL",
    help="Where the secret may be sent beside its provider's own hosts; default: the base URL in force.",
)
@write_options
def set_command(
    *, pairs: Sequence[str], secret_names: Sequence[str], urls: Sequence[str], database_url: str | None, how: How
) -> None:
    """Change settings and secrets, in one transaction.

    A value has its setting's type: true, 0.2, JSON for llm_fallback_config, JSON or PROVIDER/MODEL for llm:NAME, null
    for "no value", which does not ask the environment either (`liverouter unset` does). One that its setting can never
    take is refused. A config that is not complete yet is written, with a warning: see `liverouter check` for asking
    first.

    A secret is bound to where it may be sent: to its provider's own hosts, and to the base URL then in force or the one
    that --for names. Who may write settings cannot have it sent elsewhere.

    \b
    Examples:
      liverouter set llm_provider=anthropic llm_model=claude-sonnet-4-6 --wait
      liverouter set --secret anthropic_api_key
      liverouter set --secret openai_api_key --for https://gateway.internal
      liverouter set --secret vertex_ai_credentials < key.json
      liverouter set llm_fallback_config='{"provider": "openai", "model": "gpt-5.4"}' --comment "for the weekend"
      liverouter set llm:fast=openai/gpt-5.4-mini
      liverouter set llm:plan='{"provider": "anthropic", "model": "claude-opus-4-6", "temperature": 0}'
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if not pairs and not secret_names:
        raise click.UsageError("nothing to set: name KEY=VALUE or --secret NAME")
    named = _origins(urls, secret_names)
    changes = parse_assignments(pairs)
    if faults := [problem for name in secret_names if (problem := secret_problem(name))]:
        raise ConfigError(faults)
    db = access("set", database_url)
    keyring = sealing_keyring(db) if secret_names else db.keyring
    secrets = _read_secrets(secret_names)
    if unfit := [problem for name, secret in secrets.items() for problem in secret_faults(name, secret)]:
        raise ConfigError(unfit)

    async def work(repository: SettingsRepository) -> None:
        stored = await Stored.read(repository)
        sealed = {
            name: sealed_unless_same(
                stored.rows, name, secret, keyring, origins=named or _in_force(stored.rows, changes, name)
            )
            for name, secret in secrets.items()
        }
        revision = await repository.write(changes, sealed, **how.edit)
        draft = with_changes(stored.rows, settings=changes, secrets=sealed) if stored.rows else None
        problems = [*_unused_secrets(secrets, draft), *stored.remaining(draft, db.keyring)]
        bound = {name: secret.origins for name, secret in sealed.items() if secret.origins}
        await tell(repository, before=stored.revision, revision=revision, problems=problems, bound=bound, **how.telling)

    db.run(work)


@click.command("unset")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completion.names)
@write_options
def unset_command(*, names: Sequence[str], database_url: str | None, how: How) -> None:
    """Remove settings and secrets, in one transaction.

    The environment or the default serves again.

    \b
    Examples:
      liverouter unset llm_temperature llm_max_tokens
      liverouter unset snowflake_token --wait
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    db = access("unset", database_url)

    async def work(repository: SettingsRepository) -> None:
        from liverouter.postgres.repository import UNSET

        stored = await Stored.read(repository)
        if stored.rows is not None:
            there = {*stored.rows.settings, *stored.rows.secrets}
            if unknown := [_nothing_called(name, there) for name in names if name not in {*there, *SETTINGS}]:
                raise ConfigError(unknown)
        revision = await repository.write(dict.fromkeys(names, UNSET), delete=names, **how.edit)
        draft = with_changes(stored.rows, remove=names) if stored.rows else None
        problems = stored.remaining(draft, db.keyring)
        await tell(repository, before=stored.revision, revision=revision, problems=problems, **how.telling)

    db.run(work)


@click.command("rollback")
@click.argument("revision", type=REVISION)
@write_options
def rollback_command(*, revision: int, database_url: str | None, how: How) -> None:
    """Go back to an earlier revision, secrets included.

    What stood there is stored again as a new revision.

    \b
    Example:
      liverouter history
      liverouter rollback 41 --comment "the new model is too slow" --wait
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    db = access("rollback", database_url)

    async def work(repository: SettingsRepository) -> None:
        stored = await Stored.read(repository)
        made = await repository.rollback(revision, **how.edit)
        now = await Stored.read(repository)
        problems = stored.remaining(now.rows, db.keyring)
        await tell(repository, before=stored.revision, revision=made, problems=problems, **how.telling)

    db.run(work)


@click.command("repair")
@write_options
def repair_command(*, database_url: str | None, how: How) -> None:
    """Make a revision of rows that were written past the triggers.

    A data-only restore, a replica role or a switched-off trigger changes rows without one (LR214).

    \b
    Example:
      liverouter repair --comment "restored from the backup"
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    db = access("repair", database_url)

    async def work(repository: SettingsRepository) -> None:
        stored = await Stored.read(repository)
        made = await repository.repair(**how.edit)
        problems = stored.remaining(stored.rows, db.keyring)
        await tell(repository, before=stored.revision, revision=made, problems=problems, **how.telling)

    db.run(work)


COMMANDS: Final = (set_command, unset_command, rollback_command, repair_command)


def _in_force(rows: Rows | None, changes: Mapping[str, Any], name: str) -> Sequence[str]:
    """Return the origins that *rows* with *changes* have the secret *name* sent to.

    None are known to a role that may not read the rows; it names them with --for.
    """
    return () if rows is None else origins_in_force({**rows.settings, **changes}, name)


def _origins(urls: Sequence[str], secret_names: Sequence[str]) -> list[str]:
    """Return the origins that --for names.

    Raises:
        click.UsageError: one of them is no base URL, or no secret is named that they are for.
    """
    if urls and not secret_names:
        raise click.UsageError("--for says where a secret may be sent: name it with --secret")
    origins = [origin_of(url) for url in urls]
    if not all(origins):
        raise click.UsageError("--for takes a base URL: --for https://gateway.internal")
    return origins


def _read_secrets(names: Sequence[str]) -> dict[str, Secret]:
    """Return the secrets typed in without echo, or the one piped in; blanks and line ends around them are dropped.

    Raises:
        click.UsageError: standard input holds nothing, no text, or is to hold more than one secret.
    """
    if not names:
        return {}
    if sys.stdin.isatty():
        return {name: Secret(click.prompt(name, hide_input=True, err=True, value_proc=_typed)) for name in names}
    if len(names) > 1:
        raise click.UsageError("standard input holds one secret: give one --secret, or type them on a terminal")
    try:
        value = sys.stdin.read().removeprefix("\ufeff").strip()  # the mark that Windows puts before a text
    except UnicodeDecodeError:
        raise click.UsageError(f"standard input is not text: pipe the value of '{names[0]}' in") from None
    if not value:
        raise click.UsageError(f"standard input is empty: pipe the value of '{names[0]}' in")
    return {names[0]: Secret(value)}


def _typed(line: str) -> str:
    """Return *line* without the blanks around it; where nothing is left, the prompt asks again."""
    if not (value := line.strip()):
        raise click.UsageError("nothing was typed")
    return value


def _unused_secrets(names: Collection[str], draft: Rows | None) -> list[Problem]:
    """Return a warning for each secret that no provider and no fallback asks for by that name."""
    if draft is None:
        return []
    known = [*(setting.name for setting in SETTINGS.values() if setting.kind == "secret"), ALERT_WEBHOOK]
    named = secrets_referred_to(draft.settings)
    return [
        Problem(
            "LR106",
            f"nothing uses a secret called '{clip(name)}' yet",
            f"secrets.{clip(name)}",
            did_you_mean(name, known) or 'A fallback may name it: {"api_key": {"secret": "' + clip(name) + '"}}',
            "warning",
        )
        for name in names
        if name not in known and name not in named
    ]


def _nothing_called(name: str, stored: set[str]) -> Problem:
    """Return the Problem of *name*, which neither a setting nor anything *stored* is called."""
    hint = did_you_mean(clip(name), stored) or "See `liverouter show --settings`"
    return Problem("LR106", f"there is no setting or secret '{clip(name)}'", f"settings.{clip(name)}", hint)

"""`show`, `history`, `diff`, `instances`: what should run, what runs, who changed it. They write nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.cli.changes import show_changes
from liverouter.cli.output import ago, say, show_heading, show_json, show_problems, show_table, text, who
from liverouter.cli.ranges import REVISION
from liverouter.cli.session import access, database_options, json_option
from liverouter.config.environment import Environment
from liverouter.errors import DatabaseError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from liverouter.postgres.repository import SettingsRepository
    from liverouter.revision import Rows
    from liverouter.secrecy.sealing import Keyring

_DEPLOYMENT: Final = {
    "name": "NAME",
    "role": "ROLE",
    "order": "ORDER",
    "provider": "PROVIDER",
    "model": "MODEL",
    "params": "PARAMS",
    "credential_source": "CREDENTIAL",
    "fingerprint": "FINGERPRINT",
}
_RUNNING: Final = (
    {"app": "APP", "host": "HOST", "pid": "PID", "revision": "REVISION"}
    | _DEPLOYMENT
    | {"cooling_until": "COOLING UNTIL"}
)
_INSTANCE: Final = {
    "app": "APP",
    "host": "HOST",
    "pid": "PID",
    "state": "STATE",
    "applied_revision": "APPLIED",
    "rejected_revision": "REJECTED",
    "mode": "HEARS BY",
    "mode_cause": "BECAUSE",
    "heartbeat_at": "LAST HEARD OF",
    "litellm": "LITELLM",
    "role": "LOGIN",
}
_REVISION: Final = {
    "revision": "REVISION",
    "committed_at": "WHEN",
    "author": "WHO",
    "application": "THROUGH",
    "kind": "KIND",
    "changed": "CHANGED",
    "comment": "COMMENT",
}
_PID: Final = re.compile(r", pid \d{1,10}(?:, |\Z)")
_NAMED: Final = 5  # processes with one problem; the others are counted


@click.command("show")
@click.option("--settings", "all_settings", is_flag=True, help="List every setting: value, where from, type, default.")
@json_option
@database_options
def show_command(*, all_settings: bool, as_json: bool, database_url: str | None) -> None:
    """Show what should run, what runs, and every problem.

    \b
    Examples:
      liverouter show
      liverouter show --settings
      liverouter show --json | jq '.problems[].hint'
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    db = access("show", database_url)
    if all_settings:
        from liverouter.cli.settings_list import show_settings

        rows = db.run(lambda repository: repository.read())
        show_settings(rows, Environment(), as_json=as_json)
        return
    facts = db.run(lambda repository: _facts(repository, db.keyring))
    if as_json:
        show_json(facts)
        return
    show_heading("Should run", _head(facts["revision"]))
    if facts["desired"]:
        show_table(_with_names(facts["desired"]), _DEPLOYMENT)
    else:
        say("  nothing is set")
    show_heading("Runs", "" if facts["instances"] else "in no process yet")
    if facts["running"]:
        show_table(_with_names(facts["running"]), _RUNNING)
    if facts["problems"]:
        show_heading("Problems", "as seen with this shell's environment and keys" if facts["seen_from_here"] else "")
        for problem, processes in _gather(facts["problems"]):
            show_problems([problem])
            if processes:
                more = f" and {len(processes) - _NAMED} more" if len(processes) > _NAMED else ""
                say(f"  in: {'; '.join(processes[:_NAMED])}{more}")


def _with_names(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return *rows* without their names where all are the default's: whoever has one model reads no name."""
    return rows if any(row["name"] != "default" for row in rows) else [{**row, "name": None} for row in rows]


def _head(revision: Mapping[str, Any] | None) -> str:
    """Return which revision should run, and who made it when; *revision* is None where the history was pruned."""
    if revision is None:
        return "a revision that is not in the history any more"
    return f"revision {revision['revision']}, {ago(revision['committed_at'])} by {text(who(revision))}"


def _gather(problems: Sequence[Problem]) -> list[tuple[Problem, list[str]]]:
    """Return each Problem once, with the processes that have it.

    Problems are one where code, severity, message and the place in the rows are equal. One that is told in a single
    place keeps that place as it is, and comes without processes.
    """
    groups: dict[tuple[str, ...], list[tuple[Problem, str]]] = {}
    for problem in problems:
        process, place = _process(problem.where)
        groups.setdefault((problem.code, problem.severity, problem.message, place), []).append((problem, process))
    gathered: list[tuple[Problem, list[str]]] = []
    for (*_, place), told in groups.items():
        first = told[0][0]
        if len(told) == 1:
            gathered.append((first, []))
            continue
        hint = next((problem.hint for problem, process in told if process), first.hint)  # a process knows more than SQL
        processes = [process for _, process in told if process]
        gathered.append((replace(first, where=place, hint=hint), processes))
    return gathered


def _process(where: str) -> tuple[str, str]:
    """Return the process and the place in the rows that *where* names; either may be empty.

    SQL writes them so: "billing on host-1, pid 7, settings.llm_model".
    """
    found = _PID.search(where)
    if found is None or " on " not in where[: found.start()]:
        return "", where
    return where[: found.end()].removesuffix(", "), where[found.end() :]


async def _facts(repository: SettingsRepository, keyring: Keyring | None) -> dict[str, Any]:
    """Return what `show` shows, and prints as JSON.

    While no live process has applied or rejected the head, the rows are validated here as well, with this shell's
    environment and *keyring*.
    """
    revision = next(iter(await repository.history(limit=1)), None)
    instances = await repository.instances()
    problems = [_as_problem(row) for row in await repository.problems()]
    judged = revision is not None and any(
        row["state"] != "offline" and revision["revision"] in (row["applied_revision"], row["rejected_revision"])
        for row in instances
    )
    rows = None if judged else await _readable(repository)
    if rows is not None:  # what SQL says of rows goes: validation knows more
        from liverouter.config.validate import validate

        here = validate(rows, environment=Environment(), keyring=keyring).problems
        problems = [*here, *(p for p in problems if not p.where.startswith(("settings.", "secrets.")))]
    return {
        "revision": revision,
        "desired": await repository.desired_config(),
        "instances": instances,
        "running": await repository.active_config(),
        "problems": problems,
        "seen_from_here": rows is not None,
    }


async def _readable(repository: SettingsRepository) -> Rows | None:
    """Return the rows, None for a role that may only look at the views."""
    try:
        return await repository.read()
    except DatabaseError as exc:
        if exc.code != "LR207":
            raise
        return None


def _as_problem(row: Mapping[str, Any]) -> Problem:
    """Return the Problem that a row of view `problems` tells."""
    code, message, where, hint = (str(row[name] or "") for name in ("code", "message", "object", "hint"))
    return Problem(code, message, where, hint, row["severity"])


@click.command("history")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="The newest so many.")
@json_option
@database_options
def history_command(*, limit: int, as_json: bool, database_url: str | None) -> None:
    """List who changed what, when, why; newest first.

    \b
    Example:
      liverouter history --limit 5
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    rows = access("history", database_url).run(lambda r: r.history(limit=limit))
    _show_rows(rows if as_json else [row | {"author": who(row)} for row in rows], _REVISION, as_json=as_json)


@click.command("diff")
@click.argument("a", type=REVISION)
@click.argument("b", type=REVISION)
@json_option
@database_options
def diff_command(*, a: int, b: int, as_json: bool, database_url: str | None) -> None:
    """Show what differs between revisions A and B.

    Of secrets the fingerprints are shown. "not set" is what is not there; "null" is a setting that says "no value",
    so that the environment is not asked either.

    \b
    Example:
      liverouter diff 41 42
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    rows = access("diff", database_url).run(lambda repository: repository.diff(a, b))
    if as_json:
        show_json(rows)
    elif rows:
        show_changes(rows)
    else:
        say(f"revisions {a} and {b} are the same")


@click.command("instances")
@json_option
@database_options
def instances_command(*, as_json: bool, database_url: str | None) -> None:
    """List the processes that run a client.

    Each with its state, what it applied, what it rejected and why, and how it hears of changes.

    \b
    Example:
      liverouter instances
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    rows = access("instances", database_url).run(lambda repository: repository.instances())
    _show_rows(rows, _INSTANCE, as_json=as_json, none="no process runs a client")
    if as_json:
        return
    for row in rows:
        if row["error_code"]:
            say(f"{row['app']} on {row['host']}, pid {row['pid']}: {row['error']} [{row['error_code']}]")
            say(f"  hint: {row['hint']}")


COMMANDS: Final = (show_command, history_command, diff_command, instances_command)


def _show_rows(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    as_json: bool,
    none: str = "nothing",
) -> None:
    """Print *rows* as JSON or as a table; *none* in place of one without rows."""
    if as_json:
        show_json(rows)
    elif rows:
        show_table(rows, columns)
    else:
        say(none)

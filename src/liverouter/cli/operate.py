"""`demo`, `serve`, `migrate`, `check`: the commands that set something up or try it. They load their parts when run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.cli import completion
from liverouter.cli.assignments import parse_assignments
from liverouter.cli.output import say, show_json, show_problems, show_table
from liverouter.cli.progress import Progress
from liverouter.cli.ranges import Seconds
from liverouter.cli.session import access, database_options, json_option, verbose_option
from liverouter.config.draft import with_changes
from liverouter.config.environment import Environment
from liverouter.options import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from liverouter.engine.check import CheckReport, DeploymentCall
    from liverouter.postgres.repository import SettingsRepository

_CALL: Final = {
    "name": "NAME",
    "role": "ROLE",
    "order": "ORDER",
    "deployment": "DEPLOYMENT",
    "answered_by": "ANSWERED BY",
    "duration_ms": "MS",
    "cost_usd": "COST USD",
}


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave everything up afterwards, and say what to type to play on.")
@click.option(
    "--pace",
    "pace_s",
    type=Seconds(0, 60),
    default=1.7,
    show_default=True,
    metavar="SECONDS",
    help="Pause between two acts.",
)
@verbose_option
def demo_command(*, keep: bool, pace_s: float) -> int:
    """Watch rows become live in two processes, locally.

    It needs no database and no key, plays a story of about 20 seconds, and ends with 0 when no call failed.

    \b
    Example:
      liverouter demo --keep
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    with _extra("embedded"):
        from liverouter.demo.run import run_demo
    return run_demo(keep=keep, pace_s=pace_s)


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Any other needs LIVEROUTER_ADMIN_TOKEN.")
@click.option("--port", type=click.IntRange(0, 65535), default=8484, show_default=True, help="0 takes a free one.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the token, and without a database the PostgreSQL of its own, are kept.",
)
@click.option("--no-token", is_flag=True, help="Let everybody on this machine change everything; on loopback only.")
@database_options
def serve_command(*, host: str, port: int, data_dir: Path | None, no_token: bool, database_url: str | None) -> int:
    """Serve the settings page and its API, until Ctrl-C.

    LIVEROUTER_ADMIN_TOKEN (or the file that LIVEROUTER_ADMIN_TOKEN_FILE names) guards it. Without one it makes a token,
    keeps it in its data folder, and prints the page's address with it.

    Without a database it runs a PostgreSQL of its own, which keeps its data, and prints how services and psql reach it.
    A database that is named is never migrated here: see `liverouter migrate`.

    \b
    Examples:
      liverouter serve
      liverouter serve --port 0 --data-dir ./data
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    with _extra("daemon,embedded"):
        from liverouter.daemon.service import serve
    return serve(host=host, port=port, database_url=database_url, data_dir=data_dir, with_token=not no_token, echo=say)


@click.command("migrate")
@click.option(
    "--check",
    "check_only",
    is_flag=True,
    help="Change nothing; exit 1 when the schema is not up to date, or its roles lack a right.",
)
@click.option(
    "--lock-timeout",
    "lock_timeout_s",
    type=Seconds(0.1, 3600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it waits for a lock that others hold; it says who does.",
)
@click.option(
    "--role-prefix",
    metavar="NAME",
    help="Call the roles NAME_client, NAME_writer and NAME_inspector from now on; the database remembers it.",
)
@json_option
@database_options
def migrate_command(
    *, check_only: bool, lock_timeout_s: float, role_prefix: str | None, as_json: bool, database_url: str | None
) -> None:
    """Install the schema in the database, or upgrade it; restore its roles and their rights.

    Safe to repeat, and to run in several places at once.

    \b
    Examples:
      liverouter migrate
      liverouter migrate --check        # for deployment pipelines
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    url = load(database_url=database_url).dsn
    with Progress() as progress:
        progress.now("looking at the schema")
        from liverouter.postgres import migrate

        if check_only:
            migrate.check(url, echo=progress.say)
            before: str | None = migrate.HEAD
            after = migrate.HEAD
        else:
            told: dict[str, Any] = {"echo": progress.say, "lock_timeout_s": lock_timeout_s}
            before = migrate.current(url, **told)
            progress.now(f"bringing the schema from {before or 'nothing'} to {migrate.HEAD}")
            after = migrate.upgrade(url, role_prefix=role_prefix, **told)
    if as_json:
        show_json({"from": before, "to": after})
    elif before == after:
        say(f"up to date: {after}")
    else:
        say(f"{before or 'nothing'} → {after}")


@click.command("check")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completion.assignments)
@click.option("--live", is_flag=True, help="Call each deployment once, with a few tokens.")
@json_option
@database_options
def check_command(*, pairs: Sequence[str], live: bool, as_json: bool, database_url: str | None) -> int:
    """Say whether the config would serve; change nothing.

    The stored config, or that with KEY=VALUE laid over it, is validated and built with this shell's environment and
    keys. With --live each deployment is called once, with a few tokens.

    \b
    Examples:
      liverouter check
      liverouter check llm_provider=openai llm_model=gpt-5.4 --live
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    draft = parse_assignments(pairs)
    db = access("check", database_url)

    async def work(repository: SettingsRepository) -> CheckReport:
        progress.now("reading the config")
        rows = with_changes(await repository.read(), settings=draft)
        progress.now("importing what calls models")
        from liverouter.engine.check import check  # takes a second; a database that cannot be read is told before

        return await check(rows, environment=Environment(), keyring=db.keyring, live=live, now=progress.now)

    with Progress() as progress:
        report = db.run(work)
    if as_json:
        show_json(report.as_dict())
    else:
        _show_report(report, draft=bool(draft))
    return 0 if report.ok else 1


COMMANDS: Final = (demo_command, serve_command, migrate_command, check_command)


@contextlib.contextmanager
def _extra(names: str) -> Iterator[None]:
    """Name the package that is missing in the block, and the extras *names* that install it.

    Raises:
        click.ClickException: a package is missing that is not liverouter's own.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("liverouter"):
            raise
        message = f"this command needs '{exc.name}', which is not installed: pip install 'liverouter[{names}]'"
        raise click.ClickException(message) from exc


def _row(call: DeploymentCall) -> dict[str, Any]:
    """Return *call* as a row of the table, its figures as long as people read them."""
    figures = {
        "duration_ms": round(call.duration_ms),
        "cost_usd": None if call.cost_usd is None else f"{call.cost_usd:.6f}",
    }
    return call.as_dict() | {"deployment": f"{call.provider}/{call.model}"} | figures


def _show_report(report: CheckReport, *, draft: bool) -> None:
    """Print *report* for people: what is wrong on standard error, answers and the verdict on standard output."""
    show_problems(report.problems, err=True)
    show_problems((call.problem for call in report.calls if call.problem), err=True)
    if answered := [call for call in report.calls if call.problem is None]:
        show_table([_row(call) for call in answered], _CALL)
    what = f"revision {report.revision}" + (" with the draft over it" if draft else "")
    if report.ok:
        say(f"{what} would serve: {', '.join(report.deployments)}")
    else:
        say(f"{what} has problems", err=True)

"""Prints tables, Problems, errors and JSON. Results go to standard output, what went wrong to standard error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.errors import ConfigError, LiveRouterError, NotReadyError, Problem
from liverouter.secrecy.printable import printable, printable_json
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import Iterable

_COLOURS: Final = {
    "error": "red",
    "warning": "yellow",
    "info": "blue",
    "live": "green",
    "applied": "green",
    "rejected": "red",
    "stale": "yellow",
    "poll_only": "yellow",
    "offline": "bright_black",
    "initializing": "yellow",
}
_LONGEST_CELL: Final = 60
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400


def say(line: str, *, err: bool = False, **style: Any) -> None:
    """Print *line* as one line, without anything that a terminal obeys but our *style*: strangers write parts of it."""
    shown = printable(line)
    click.echo(click.style(shown, **style) if style else shown, err=err)


def who(row: Mapping[str, Any]) -> str:
    """Return who made a revision: the name that its writer gave, which nobody checked, and the login in brackets."""
    author, role = row["author"], row["role"]
    return str(author) if author == role else f"{author} ({role})"


def show_json(value: Any, *, one_line: bool = False) -> None:
    """Print *value* as JSON."""
    document = json.dumps(value, default=_jsonable, ensure_ascii=False, indent=None if one_line else 2)
    click.echo(printable_json(document))


def _jsonable(value: Any) -> Any:
    """Return what json writes in place of *value*, which it cannot write itself; times as ISO 8601."""
    if isinstance(value, Problem):
        return value.as_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def show_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print *rows* as a table: *columns* maps a key of the rows to its heading.

    Columns in which no row has anything are left out; where that is all of them, nothing is printed.
    """
    shown = {
        key: title for key, title in columns.items() if any(row.get(key) not in (None, "", [], {}) for row in rows)
    }
    if not shown:
        return
    cells = [[text(row.get(key)) for key in shown] for row in rows]
    widths = [max(len(title), *(len(line[i]) for line in cells)) for i, title in enumerate(shown.values())]
    gaps = ["  "] * (len(widths) - 1) + [""]
    for i, line in enumerate([list(shown.values()), *cells]):
        pads = [" " * (width - len(cell)) for cell, width in zip(line, widths, strict=True)]
        pads[-1] = ""
        styled = [click.style(cell, fg=_COLOURS.get(cell), dim=i == 0 or None) for cell in line]
        click.echo("  " + "".join(cell + pad + gap for cell, pad, gap in zip(styled, pads, gaps, strict=True)))


def text(value: Any) -> str:
    """Return *value* as one short line for people."""
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.15g}"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        case str():
            shown = " ".join(value.split())
        case Mapping() | Sequence():
            shown = json.dumps(value, default=_jsonable, ensure_ascii=False)
        case _:
            shown = str(value)
    shown = printable(shown)
    return shown if len(shown) <= _LONGEST_CELL else shown[: _LONGEST_CELL - 1] + "…"


def ago(at: datetime) -> str:
    """Return how long ago *at* was, by this machine's clock, in its largest unit."""
    seconds = max(0, int((datetime.now(UTC) - at).total_seconds()))
    for size, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def show_heading(title: str, facts: str = "") -> None:
    """Print the title of a block, and facts beside it."""
    click.echo(click.style(title, bold=True) + (f"  {printable(facts)}" if facts else ""))


def show_problems(problems: Iterable[Problem], *, err: bool = False) -> None:
    """Print each Problem on a line, its hint on the next."""
    for problem in problems:
        label = click.style(printable(problem.severity), fg=_COLOURS.get(problem.severity), bold=True)
        where = f" at {problem.where}" if problem.where else ""
        click.echo(f"{label}: {printable(f'{problem.message} [{problem.code}{where}]')}", err=err)
        if problem.hint:
            say(f"  hint: {problem.hint}", err=err)


def show_error(error: LiveRouterError, *, verbose: bool = False) -> None:
    """Print *error* on standard error: one line and its hint for each thing that is wrong; *verbose* adds causes."""
    if isinstance(error, ConfigError | NotReadyError) and error.problems:
        show_problems(error.problems, err=True)
    else:
        show_problems([error.problem], err=True)
    cause = error.__cause__
    while verbose and cause is not None:
        said = next(iter(str(cause).splitlines()), "")  # later lines may show the refused row
        say(f"  caused by {type(cause).__name__}: {mask(said)}", err=True)
        cause = cause.__cause__

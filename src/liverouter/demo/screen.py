"""What the demo prints: lines that read as a story, and on a terminal a live table of the workers below them."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self

from liverouter.secrecy.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from liverouter.demo.crew import Worker

_REFRESH_PER_S: Final = 8
_ROW: Final = ("worker", "pid", "calls", "failed", "asks for", "revision", "answers come from", "as", "last answer")
_IMPORTING: Final = "importing litellm, which takes seconds …"


class Screen:
    """Prints the story. Use it as a context manager: the live table ends with it.

    Args:
        workers: returns those that the table shows, where standard output is a terminal and rich is installed.
    """

    def __init__(self, workers: Callable[[], Sequence[Worker]]) -> None:
        """Look whether there can be a live table."""
        self._workers, self._started = workers, time.monotonic()
        self._live: Any = None
        if sys.stdout.isatty() and importlib.util.find_spec("rich"):
            from rich.live import Live

            self._live = Live(
                get_renderable=self._table, refresh_per_second=_REFRESH_PER_S, vertical_overflow="visible"
            )

    def __enter__(self) -> Self:
        """Show the table."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the table as it last was."""
        if self._live is not None:
            self._live.stop()

    def title(self, text: str) -> None:
        """Begin an act."""
        self._print("", "")
        self._print(text, "bold")

    def say(self, text: str) -> None:
        """Tell what just happened, with the seconds since the start."""
        self._print(f"  {time.monotonic() - self._started:5.1f} s  {text}", "")

    def sql(self, statement: str) -> None:
        """Show a statement that is now executed."""
        first, *rest = statement.strip().splitlines()
        self._print(f"           sql> {first}", "cyan")
        for line in rest:
            self._print(f"                {line}", "cyan")

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show what a statement returned."""
        lines = [[*rows[0]], *([str(value) for value in row.values()] for row in rows)] if rows else [["(no rows)"]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        for line in lines:
            shown = " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self._print(f"                {shown.rstrip()}", "green")

    def plain(self, text: str) -> None:
        """Print *text* as it is, for copying."""
        self._print(text, "")

    def _print(self, text: str, style: str) -> None:
        """Print *text*, without what a terminal would obey, above the live table where there is one."""
        text = printable(text)
        if self._live is None:
            print(text, flush=True)  # noqa: T201 - a command's output
        else:
            self._live.console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Any:
        """Return what rich draws: a row per worker, and nothing before there is one. Also runs on rich's thread."""
        from rich import box
        from rich.table import Table

        if not self._workers():
            return ""
        table = Table(*_ROW, box=box.SIMPLE, caption="calls by two processes, live", caption_justify="left")
        for worker in self._workers():
            counts = (worker.name, str(worker.pid), str(worker.calls), str(len(worker.errors)))
            for asked, answer in list(worker.answers.items()) or [("", {})]:
                served = f"{answer['provider']}/{answer['model']}" if answer else _IMPORTING
                told = (asked, answer.get("revision", ""), served, answer.get("role", ""), answer.get("text", ""))
                style = "yellow" if answer.get("role") == "fallback" else None
                table.add_row(*counts, *(printable(str(cell)) for cell in told), style=style)
                counts = ("", "", "", "")  # the worker's, whomever it asks
        return table

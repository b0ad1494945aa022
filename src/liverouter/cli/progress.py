"""One line on standard error that says what is under way; on a terminal alone, and gone when that is done."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Final, Self

import click

from liverouter.cli.output import say
from liverouter.secrecy.printable import printable

if TYPE_CHECKING:
    from types import TracebackType

_ERASE: Final = "\r\x1b[2K"


class Progress:
    """Shows what is under way while it is entered. Where standard error is no terminal, it shows nothing."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._what = ""
        self._is_seen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.now("")

    def now(self, what: str) -> None:
        """Show *what* in place of what was shown; "" for nothing."""
        self._what = what
        if self._is_seen:
            width = shutil.get_terminal_size().columns - 1
            click.echo(_ERASE + (printable(f"{what} …")[:width] if what else ""), nl=False, err=True)

    def say(self, line: str) -> None:
        """Print *line* on standard error for good, above what is shown."""
        what = self._what
        self.now("")
        say(line, err=True)
        self.now(what)

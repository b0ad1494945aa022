"""The group of all commands, and how each way to end becomes an exit code: 0 ok, 1 failed, 2 usage, 78 options.

A command's module is imported when that command is asked for: each loads what it needs and no more.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.cli.output import say, show_error
from liverouter.cli.session import is_verbose
from liverouter.errors import LiveRouterError, OptionsError, SecretError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HOMES: Final[Mapping[str, str]] = MappingProxyType(  # in the order in which a newcomer needs them
    dict.fromkeys(("demo", "serve", "migrate", "check"), "operate")
    | dict.fromkeys(("show", "history", "diff", "instances"), "read")
    | dict.fromkeys(("set", "unset", "rollback", "repair"), "write")
    | dict.fromkeys(("export", "apply"), "transfer")
    | {"watch": "watch", "keys": "keys"}
)
_FAILED: Final = 1
_UNWRITTEN: Final = (errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)  # of a disk that standard output goes to
_BAD_OPTIONS: Final = 78  # EX_CONFIG: a restart does not help
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it


class _Commands(click.Group):
    """Finds its commands in their modules; a liverouter error becomes an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        del ctx
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, None where there is none."""
        del ctx
        if cmd_name not in _HOMES:
            return None
        found: Sequence[click.Command] = import_module(f"liverouter.cli.{_HOMES[cmd_name]}").COMMANDS
        return next(command for command in found if command.name == cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a liverouter error becomes an exit code, not a traceback."""
        try:
            return super().invoke(ctx)
        except LiveRouterError as exc:
            show_error(exc, verbose=is_verbose(ctx))
            ctx.exit(_exit_code(exc))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="liverouter", prog_name="liverouter")
def cli() -> None:
    """Change which LLM your processes talk to, live, by rows in PostgreSQL.

    The database is named by LIVEROUTER_DATABASE_URL (or DATABASE_URL, or --database-url).

    \b
    Try it:  liverouter demo
    Start:   liverouter migrate
             liverouter set llm_provider=anthropic llm_model=claude-sonnet-4-6
             liverouter set --secret anthropic_api_key
    Look:    liverouter show
    """  # noqa: D301 - \b is click's mark for "do not rewrap"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit the process with its code."""
    code = run(arguments)
    gc.freeze()  # else the interpreter's end searches all modules for garbage, several times: 30 ms
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if "_LIVEROUTER_COMPLETE" in os.environ:
        from liverouter.cli import shells

        shells.register()
    try:
        code = cli.main(
            arguments,
            prog_name="liverouter",
            standalone_mode=False,
            color=False if os.environ.get("NO_COLOR") else None,
        )
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)  # ends the line of the prompt, or of the ^C
        return _INTERRUPTED
    except OSError as exc:
        if exc.errno not in _UNWRITTEN:
            raise
        sys.stdout = None  # the interpreter's end would try again what is left in there, and complain
        say(f"error: the output cannot be written: {exc.strerror}", err=True)
        return _FAILED
    return code if isinstance(code, int) else 0


def _exit_code(exc: LiveRouterError) -> int:
    """Return the code for *exc*: 78 for a process option, and for a keyring that is missing or cannot be read."""
    is_keyring = isinstance(exc, SecretError) and exc.where.startswith("LIVEROUTER_")
    return _BAD_OPTIONS if isinstance(exc, OptionsError) or is_keyring else _FAILED

"""What commands share: their options, and one connection to the database for as long as a command runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from liverouter.options import Options, load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from liverouter.postgres.repository import SettingsRepository
    from liverouter.secrecy.sealing import Keyring

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one command may use: the process options, the keyring, and the database for as long as `run` lasts.

    Attributes:
        command: "set"; the history shows the application as "liverouter set".
        keyring: None where no key is configured.
    """

    command: str
    options: Options
    keyring: Keyring | None

    def run(self, work: Callable[[SettingsRepository], Awaitable[T]]) -> T:
        """Return what *work* returns; blocks. Its repository is closed afterwards."""
        from liverouter.postgres.repository import SettingsRepository

        async def main() -> T:
            repository = SettingsRepository(url=self.options.dsn, application_name=f"liverouter {self.command}")
            try:
                return await work(repository)
            finally:
                await repository.close()

        return asyncio.run(main())


def access(command: str, database_url: str | None) -> Access:
    """Return the access of *command*; nothing is connected yet.

    Raises:
        OptionsError: no database is named, or another option cannot be used.
        SecretError: the keyring cannot be read.
    """
    options = load(database_url=database_url)
    return Access(command=command, options=options, keyring=options.keyring)


def database_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that talks to the database."""
    for option in reversed(
        (
            click.option(
                "--database-url",
                metavar="URL",
                help="The database; default LIVEROUTER_DATABASE_URL, which keeps the password out of process lists.",
            ),
            verbose_option,
        )
    ):
        function = option(function)
    return function


def _be_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click calls it so
    """Note for `is_verbose` that -v was given; click's callback of that option."""
    if value:
        ctx.find_root().ensure_object(dict)["verbose"] = True


def is_verbose(ctx: click.Context) -> bool:
    """Tell whether -v was given, to whichever command."""
    return bool(ctx.find_root().ensure_object(dict).get("verbose"))


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_be_verbose,
    help="With an error, show what caused it.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")

"""The PostgreSQL that `liverouter serve` runs where no database is named, and who may log in to it."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
from typing import TYPE_CHECKING, Any, Final

from liverouter.embedded.server import EmbeddedPostgres
from liverouter.postgres.connection import NETWORK_ERRORS, connect
from liverouter.postgres.dsn import Dsn
from liverouter.postgres.errors import from_driver
from liverouter.secrecy import private_file
from liverouter.secrecy.sealing import generate_key

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Sequence
    from pathlib import Path

SERVICES: Final = "liverouter_services"  # the login that is shown for services
_CONNECT_S: Final = 10.0
_LOGIN: Final = "SELECT format('%s ROLE %I LOGIN PASSWORD %L', $1::text, $2::text, $3::text)"
_GRANT: Final = "SELECT format('GRANT %I TO %I', $1::text, $2::text)"


def start_own_database(
    stack: contextlib.ExitStack, data_dir: Path, echo: Callable[[str], None]
) -> tuple[EmbeddedPostgres, dict[str, Any]]:
    """Start the embedded server in *data_dir*, migrate it, and return it with the client's options for it.

    *stack* stops it. *echo* is told a login for services, which may not write, and the file that holds the owner's URL;
    the URL itself is never shown.

    Raises:
        EmbeddedError: no PostgreSQL can run here, or another process has the data folder.
        DatabaseError: the database cannot be migrated.
        OptionsError: others than this user may read a file of the data folder.
    """
    from liverouter.postgres import migrate  # with SQLAlchemy, which a database that is given does not need

    server = stack.enter_context(EmbeddedPostgres(data_dir=data_dir))
    url = server.dsn()
    migrate.upgrade(url, echo=echo)
    password = private_file.keep(data_dir / "services-password", lambda: secrets.token_urlsafe(24))
    asyncio.run(make_login(url, SERVICES, password, ["liverouter_client"]))
    owners = data_dir / "owner-dsn"
    private_file.replace(owners, url)  # at each start, since the port may be another
    echo(f"database in {data_dir}; for services:")
    echo(f"  export LIVEROUTER_DATABASE_URL={shlex.quote(server.dsn(user=SERVICES, password=password))}")
    options: dict[str, Any] = {"database_url": url}
    if not (os.environ.get("LIVEROUTER_SECRET_KEYS") or os.environ.get("LIVEROUTER_SECRET_KEYS_FILE")):
        keys = data_dir / "secret-keys"
        options["secret_keys"] = private_file.keep(keys, generate_key)
        echo(f"  export LIVEROUTER_SECRET_KEYS_FILE={shlex.quote(str(keys))}")
    echo(f"to change settings from a shell, as the database's owner, whose DSN only this user can read, in {owners}:")
    echo(f'  LIVEROUTER_DATABASE_URL="$(cat {shlex.quote(str(owners))})" liverouter show')
    return server, options


async def make_login(url: str, name: str, password: str, roles: Sequence[str]) -> None:
    """Make the login *name*, or change it, to have *password* and *roles*; *url* is the database's owner's.

    Raises:
        DatabaseError: the database cannot be used.
    """
    try:
        connection = await connect(Dsn.parse(url), application_name="liverouter serve", timeout_s=_CONNECT_S)
        try:
            known = await connection.fetchval("SELECT to_regrole(quote_ident($1::text)) IS NOT NULL", name)
            verb = "ALTER" if known else "CREATE"
            await connection.execute(await connection.fetchval(_LOGIN, verb, name, password))
            for role in roles:
                await connection.execute(await connection.fetchval(_GRANT, role, name))
        finally:
            await connection.close()
    except NETWORK_ERRORS as exc:
        raise from_driver(exc) from exc

"""One run of migrations, from inside: what the files of `migrations/` call, whoever's Alembic runs them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Text, cast as sql_cast, delete, literal, or_, text, tuple_
from sqlalchemy.dialects.postgresql import JSONB, array, insert
from sqlalchemy.util import await_only

from liverouter.config.specs import known_settings
from liverouter.errors import DatabaseError
from liverouter.postgres.migration_locks import TIMEOUTS, Waits, wait_turn
from liverouter.postgres.rights import restore_rights, shared, use_prefix
from liverouter.postgres.schema import member_providers, providers, setting_specs
from liverouter.postgres.versions import HEAD, REVISIONS, SCHEMA
from liverouter.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import Connection, Table

_PACKAGE: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of migrations.

    Attributes:
        context: Alembic's.
        echo: gets what a person must know.
        role_prefix: what the names of the roles are to begin with; None for what the database remembers.
        told: statements that somebody else has to run, and who has been told.
    """

    context: MigrationContext
    echo: Callable[[str], None]
    role_prefix: str | None = None
    told: list[str] = field(default_factory=list)


_run: Final[ContextVar[_Run]] = ContextVar("_run")
# How the server reads what migrations say, which a database or a role may have set otherwise.
_READ_AS: Final = {"standard_conforming_strings": "on", "quote_all_identifiers": "off", "plpgsql.extra_errors": "none"}


@contextmanager
def running(context: MigrationContext, echo: Callable[[str], None], role_prefix: str | None = None) -> Iterator[None]:
    """Have the migrations that run inside the block do so in *context*. Alembic's `op` would be the host's, if any.

    With a *role_prefix* the database gets roles of that name, and none of another one.
    """
    token = _run.set(_Run(context, echo, role_prefix))
    try:
        yield
    finally:
        _run.reset(token)


@contextmanager
def session_of_a_host(connection: Connection) -> Iterator[None]:
    """Give the transaction of *connection* back, after the block, the settings of its session that a run changes."""
    times = text("SELECT name FROM pg_settings WHERE name = ANY (:names)")
    names = ("lock_timeout", *connection.scalars(times, {"names": list(TIMEOUTS)}), *_READ_AS)
    former = {name: connection.scalar(text("SELECT current_setting(:name, true)"), {"name": name}) for name in names}
    yield
    _set(connection, former)


def _set(connection: Connection, settings: Mapping[str, str | None]) -> None:
    """Set *settings* for the transaction of *connection*; None stands for the default."""
    for name, value in settings.items():
        connection.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})


def begin_run(connection: Connection, waits: Waits) -> None:
    """At the beginning of a run's transaction, wait for others and make the schema that holds Alembic's table.

    Raises:
        DatabaseError: the database is not UTF8, or another run does not end (LR208).
    """
    wait_turn(connection, waits)
    _set(connection, _READ_AS)
    if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
        encoding = connection.scalar(text("SELECT getdatabaseencoding()"))
        if encoding != "UTF8":
            raise DatabaseError(
                f"the encoding of this database is {encoding}, and has to be UTF8",
                code="LR208",
                where="database",
                hint="CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0, and name that one",
            )
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    _forget_older_versions(connection, waits)


def _forget_older_versions(connection: Connection, waits: Waits) -> None:
    """Keep the newest of several schema revisions: a data-only restore of an older dump adds its own to ours."""
    if connection.scalar(text("SELECT to_regclass('liverouter.alembic_version')")) is None:
        return
    found = list(connection.scalars(text("SELECT version_num FROM liverouter.alembic_version")))
    older = sorted(set(found) & set(REVISIONS), key=REVISIONS.index)
    if len(set(found)) == len(older):  # one that this code does not know is newer than all of them
        older = older[:-1]
    if len(found) > 1 and older:
        connection.execute(
            text("DELETE FROM liverouter.alembic_version WHERE version_num = ANY (:older)"), {"older": older}
        )
        waits.echo(f"forgot older revisions of the schema, as of a restore: {', '.join(older)}")


def end_run(context: MigrationContext) -> None:
    """At the end of a run, tell the database what this code knows, and give the roles what they lack.

    Every run does it, also one that finds the schema up to date: a new provider needs no migration, and after a restore
    into another server the roles are missing.
    """
    connection = context.connection
    if connection is None or connection.scalar(text("SELECT to_regclass('liverouter.setting_specs')")) is None:
        return
    if HEAD in context.get_current_heads():  # an older schema may lack a table or a column
        fill_tables(context)
    run = _run.get()
    if run.role_prefix is not None and (statements := use_prefix(connection, run.role_prefix)):
        run.echo(
            "-- The former roles have no rights here any more. For those who are members of them, whoever may, runs:"
        )
        for statement in statements:
            run.echo(statement)
    lacked, statements = restore_rights(connection)
    _tell(statements)
    if lacked and run.role_prefix is None:
        run.echo(f"restored what roles lacked: {', '.join(lacked)}")
    if (warning := shared(connection)) is not None:
        run.echo(f"warning: {warning}")


def run_sql(revision: str, *names: str) -> None:
    """Run files of ``migrations/sql/<revision>/`` inside a migration, each whole, in the order given."""
    context = _run.get().context
    for name in names:
        script = (directory() / "sql" / revision / name).read_text(encoding="utf-8")
        if context.as_sql:
            context.impl.static_output(script)
            continue
        # By the driver itself: a file holds many statements, and SQLAlchemy would look for parameters in it.
        bind = cast("Connection", context.bind)
        driver: Any = bind.connection.driver_connection
        if bind.dialect.is_async:
            await_only(driver.execute(script))
        else:
            driver.cursor().execute(script)


def install_roles() -> None:
    """Inside a migration, create the roles and their rights; what somebody else has to run is told in the end.

    Where the run is to give the database roles of its own, its end does it: no others are made on the way.
    """
    context = _run.get().context
    if _run.get().role_prefix is not None:
        return
    if context.as_sql:
        context.impl.static_output("SELECT liverouter.install_roles();")
        return
    _tell(restore_rights(cast("Connection", context.bind))[1])


def _tell(statements: list[str]) -> None:
    """Tell whoever runs this which *statements* somebody else has to run, each once in a run."""
    run = _run.get()
    if remaining := [statement for statement in statements if statement not in run.told]:
        if not run.told:
            run.echo(
                "-- This role may not create roles. For logins with fewer rights than the owner, whoever may, runs:"
            )
        run.told.extend(remaining)
        for statement in remaining:
            run.echo(statement)


def fill_tables(context: MigrationContext) -> None:
    """Bring the tables of providers and `setting_specs` to what this code knows; rows that are right stay."""
    _fill(
        context,
        providers,
        [
            {
                "name": spec.name,
                "label": spec.label,
                "secrets": array(spec.secret_names, type_=Text),  # typed, because it may be empty
                "secret_aliases": array([field.alias for field in spec.secrets], type_=Text),
                "base": spec.base.name,
                "base_alias": spec.base.alias,
                "takes_ambient": spec.takes_ambient or spec.keyless,  # whether a secret may be missing
            }
            for spec in PROVIDERS.values()
        ],
    )
    _fill(
        context,
        member_providers,
        [
            {
                "name": spec.name,
                "holder": spec.holder.name,
                "base": spec.base.name,
                "secrets": array([field.name for field in spec.members if field.kind == "secret"], type_=Text),
                # As text, which `alembic upgrade --sql` can write out.
                "vendors": sql_cast(literal(json.dumps(dict(spec.vendors)), Text), JSONB),
            }
            for spec in PROVIDERS.values()
            if spec.holder is not None
        ],
    )
    _fill(context, setting_specs, known_settings())


def _fill(context: MigrationContext, table: Table, rows: list[dict[str, Any]]) -> None:
    """Have *table* hold *rows* and no others, told apart by its primary key."""
    key = list(table.primary_key.columns)
    adding = insert(table).values(rows)
    news = {column: adding.excluded[column.name] for column in table.c if column not in key}
    differs = or_(*(column.is_distinct_from(new) for column, new in news.items()))
    for statement in (
        delete(table).where(tuple_(*key).not_in([tuple(row[column.name] for column in key) for row in rows])),
        adding.on_conflict_do_update(index_elements=key, set_=news, where=differs),
    ):
        if context.as_sql:
            script = statement.compile(dialect=context.dialect, compile_kwargs={"literal_binds": True})
            context.impl.static_output(f"{script};")
        else:
            context.execute(statement)


def directory() -> Path:
    """Return the folder of the migrations: inside the package in a wheel, beside `src` in a checkout."""
    shipped = _PACKAGE / "_migrations"
    return shipped if shipped.is_dir() else _PACKAGE.parents[1] / "migrations"

"""The only way to the settings, their history and what the fleet reports; `listener` has a connection of its own."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from liverouter.errors import DatabaseError, RolloutError
from liverouter.postgres import statements as sql, visibility
from liverouter.postgres.json_values import as_json, for_json
from liverouter.postgres.pool import Database
from liverouter.postgres.resealing import Resealed, resealed
from liverouter.revision import Head, Rows, SealedSecret
from liverouter.secrecy.leaving import leaves_bare
from liverouter.secrecy.printable import storable_values

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date, datetime

    from liverouter.postgres.asked_url import Url
    from liverouter.postgres.connection import Connection
    from liverouter.postgres.pool import Lender
    from liverouter.secrecy.sealing import Keyring


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET  # as a value in `write`: remove the row


class SettingsRepository:
    """Reads and writes settings, secrets and their history, and asks what the fleet runs.

    For one event loop; holds at most three connections, none while it is not used. Every failure of driver, network or
    database is a `DatabaseError` with code and hint; nothing in it repeats the DSN's password or a statement's values.
    Rows of views are dicts that json can write, but for their times.
    *url* is as libpq takes it, may lead through a pooler, and is asked for anew at each connect where a function gives
    it; the other arguments are those of `Database`.
    """

    @leaves_bare
    def __init__(
        self,
        *,
        url: Url,
        application_name: str = "liverouter",
        statement_timeout_s: float = 10.0,
        connect_timeout_s: float = 5.0,
        idle_s: float = 5.0,
        max_connection_age_s: float = 120.0,
        lender: Lender | None = None,
    ) -> None:
        self._database = Database(
            url=url,
            application_name=application_name,
            statement_timeout_s=statement_timeout_s,
            connect_timeout_s=connect_timeout_s,
            idle_s=idle_s,
            max_connection_age_s=max_connection_age_s,
            lender=lender,
        )

    # -- the config --------------------------------------------------------------------------------------------

    async def read(self) -> Rows:
        """Return the head revision, whole: one statement, so one snapshot, in one round trip.

        Raises:
            DatabaseError: it cannot be reached, is not migrated, has an unknown schema, or refuses (LR201 to LR209).
        """
        try:
            (row,) = await self._database.select(sql.READ)
            await self._refuse_hidden(guarded=row["guarded"], has_head=row["revision"] is not None)
        except (RecursionError, ValueError) as exc:
            raise DatabaseError(
                "a row of settings holds JSON that cannot be read: nested too deep, or a number with too many digits",
                code="LR208",
                where="settings",
                hint="Remove it; this names the longest: "
                "SELECT key FROM liverouter.settings ORDER BY length(value::text) DESC LIMIT 1",
            ) from exc
        return Rows(
            epoch=row["epoch"],
            revision=row["revision"],
            change_id=row["change_id"],
            committed_at=row["committed_at"],
            age_ms=row["age_ms"],
            settings=row["settings"],
            secrets={
                name: SealedSecret(sealed, mark, tuple(to)) for name, (sealed, mark, to) in row["secrets"].items()
            },
            standby=row["standby"],
        )

    async def _refuse_hidden(self, *, guarded: bool, has_head: bool) -> None:
        """Return where nothing hides a row of the config; *guarded* tells that row-level security may.

        Raises:
            DatabaseError: rows are hidden (LR207), or the head has none (LR208).
        """
        if guarded and (tables := await self._database.select(visibility.HIDDEN)):
            raise visibility.hidden((row["name"] for row in tables), self._database.where)
        if not has_head:
            raise visibility.no_head(self._database.where)

    async def head(self) -> Head:
        """Return which revision is the newest; cheaper than `read`."""
        found = await self._database.select(sql.HEAD)
        if not found:
            await self._refuse_hidden(guarded=True, has_head=False)
        (row,) = found
        return Head(row["epoch"], row["revision"], row["change_id"])

    async def write(
        self,
        changes: Mapping[str, object],
        secrets: Mapping[str, SealedSecret] | None = None,
        *,
        delete: Collection[str] = (),
        expected_revision: int | None = None,
        author: str | None = None,
        comment: str | None = None,
    ) -> int:
        """Change settings and secrets in one transaction; return the revision that holds them.

        A value of `UNSET` removes its row. *delete* names secrets to remove. Where nothing differs from what is stored,
        no revision is made and the head is returned. *author* is the application's user, for the history.

        Raises:
            ConflictError: the head is not *expected_revision* any more (LR211); nothing was changed.
            WriteRefusedError: a plain secret, or a value that is not JSON (LR212); nothing was changed.
            DatabaseError: any other failure; nothing was changed, unless the connection broke during the commit.
        """
        values = as_json({key: value for key, value in changes.items() if value is not UNSET})
        unset = [key for key, value in changes.items() if value is UNSET]

        async def work(connection: Connection) -> int:
            await connection.execute(sql.BEGIN_EDIT, expected_revision, author, comment)
            if len(unset) < len(changes):
                await connection.execute(sql.SET, values)
            if (unset or delete) and (tables := await connection.fetch(visibility.HIDDEN)):
                raise visibility.hidden((row["name"] for row in tables), self._database.where)
            if unset:
                await connection.execute(sql.UNSET, unset)
            for name, secret in (secrets or {}).items():
                # An empty list is not NULL, by which the secret would go to the base URL that stands there by now.
                origins = list(secret.origins)
                await connection.execute(sql.SET_SECRET, name, secret.sealed, secret.fingerprint, origins)
            if delete:
                await connection.execute(sql.UNSET_SECRETS, list(delete))
            return int(await connection.fetchval(sql.REVISION))

        return await self._database.transact(work)

    async def secrets(self) -> list[dict[str, Any]]:
        """Return each stored secret without itself: name, fingerprint, origins, key_id, updated_at/by, role."""
        return await self._rows(sql.STORED_SECRETS)

    # -- history -----------------------------------------------------------------------------------------------

    async def history(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the newest *limit* rows of view `revisions`, newest first."""
        return await self._rows(sql.HISTORY, limit)

    async def diff(self, a: int, b: int) -> list[dict[str, Any]]:
        """Return what differs between two revisions: object, key, old, new; of secrets the fingerprints.

        None is what was not there, unless a member `null`, "old" or "new", says that this one is JSON null.

        Raises:
            DatabaseError: there is no such revision (LR213).
        """
        return [{k: v for k, v in row.items() if k != "null" or v} for row in await self._rows(sql.DIFF, a, b)]

    async def rollback(
        self,
        revision: int,
        *,
        comment: str | None = None,
        author: str | None = None,
        expected_revision: int | None = None,
    ) -> int:
        """Restore settings and secrets of *revision* as a new revision and return that; the head where nothing differs.

        Raises:
            ConflictError: the head is not *expected_revision* any more (LR211).
            DatabaseError: there is no such revision (LR213), or any other failure; nothing was changed.
        """

        async def work(connection: Connection) -> int:
            await connection.execute(sql.BEGIN_EDIT, expected_revision, author, comment)
            return int(await connection.fetchval(sql.ROLLBACK, revision, comment))

        return await self._database.transact(work)

    async def repair(self, *, comment: str | None, author: str | None, expected_revision: int | None) -> int:
        """Make a revision of rows that were written past the triggers, and return it; the head where there are none.

        Raises:
            ConflictError: the head is not *expected_revision* any more (LR211).
            DatabaseError: a trigger is switched off (LR214), or any other failure; nothing was changed.
        """

        async def work(connection: Connection) -> int:
            if found := await connection.fetch(sql.SLEEPING_TRIGGERS):
                hint = f"As the owner: {'; '.join(row['mends'] for row in found)}"
                raise DatabaseError("triggers are switched off", code="LR214", where=self._database.where, hint=hint)
            await connection.execute(sql.BEGIN_EDIT, expected_revision, author, comment)
            await connection.execute(sql.REPAIR)
            return int(await connection.fetchval(sql.REVISION))

        return await self._database.transact(work)

    # -- the fleet ---------------------------------------------------------------------------------------------

    async def report(self, document: Mapping[str, Any]) -> Head:
        """Hand in a process's report (its keys: `migrations/sql/0002_fleet/report.sql`) and return the head.

        Numbers that are not finite go as null, and characters that no database stores as U+FFFD.

        Raises:
            WriteRefusedError: the report cannot be used (LR212).
            DatabaseError: any other failure; the report may have arrived where the connection broke.
        """
        (row,) = await self._database.execute(sql.REPORT, as_json(storable_values(document)))
        return Head(row["epoch"], row["revision"], row["change_id"], row["report_whole"])

    async def wait_applied(self, revision: int, timeout_s: float = 30.0) -> None:
        """Return when every live instance has applied *revision* or a newer one; at once where none is live.

        Raises:
            RolloutError: an instance rejected it (LR403), or not all applied it within *timeout_s* seconds (LR404).
            DatabaseError: there is no such revision (LR213), or any other failure.
        """

        async def work(connection: Connection) -> None:
            await connection.execute(sql.WAIT_APPLIED, revision, timeout_s)

        try:
            await self._database.transact(work, timeout_s=timeout_s + 1)
        except DatabaseError as exc:
            if exc.code in ("LR403", "LR404"):
                raise RolloutError(exc.message, code=exc.code, where=f"revision {revision}", hint=exc.hint) from exc
            raise

    async def instances(self) -> list[dict[str, Any]]:
        """Return view `instances`."""
        return await self._rows(sql.INSTANCES)

    async def active_config(self) -> list[dict[str, Any]]:
        """Return view `active_config`: what processes say they run."""
        return await self._rows(sql.ACTIVE_CONFIG)

    async def desired_config(self) -> list[dict[str, Any]]:
        """Return view `desired_config`: what rows say should run."""
        return await self._rows(sql.DESIRED_CONFIG)

    async def problems(self) -> list[dict[str, Any]]:
        """Return view `problems`; empty means that all is well."""
        return await self._rows(sql.PROBLEMS)

    async def rollout(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the newest *limit* rows of view `rollout`, newest first."""
        return await self._rows(sql.ROLLOUT, limit)

    async def usage(self, since: datetime) -> list[dict[str, Any]]:
        """Return view `usage` from *since* (aware) on, newest first."""
        return await self._rows(sql.USAGE, since)

    async def usage_totals(self, since: datetime) -> list[dict[str, Any]]:
        """Return what view `usage` has of each minute and deployment, all processes together; the busiest 5000."""
        return await self._rows(sql.USAGE_TOTALS, since)

    async def last_answers(self, since: date) -> list[dict[str, Any]]:
        """Return the last day (UTC, from *since* on) on which each deployment answered, by name."""
        return await self._rows(sql.LAST_ANSWERS, since)

    async def next_alert(self) -> dict[str, Any] | None:
        """Return what is to be told of `problems` now, by whoever asks first; None for nothing, or not by this caller.

        ``{"ticket", "gained": [{code, object, message, hint}], "lost": [the same]}``; `settle_alert` within a minute
        says what came of it.
        """
        (row,) = await self._database.execute(sql.NEXT_ALERT)
        news: dict[str, Any] | None = row["news"]
        return news

    async def settle_alert(self, ticket: str, error: str | None) -> None:
        """Tell that the news of *ticket* were delivered, or the *error* because of which they are to be told again."""
        await self._database.execute(sql.SETTLE_ALERT, ticket, error)

    async def due_probes(self, deployments: Collection[str], hours: float) -> list[str]:
        """Return which of *deployments*, ids, nobody called or asked for so many *hours*; each to one caller alone."""
        rows = await self._database.execute(sql.DUE_PROBES, list(deployments), hours)
        return [row["id"] for row in rows]

    # -- keys and schema ---------------------------------------------------------------------------------------

    async def key_usage(self) -> list[dict[str, Any]]:
        """Return how many values each key has sealed: key_id, secrets, in_history. A key not listed can be dropped."""
        return await self._rows(sql.KEY_USAGE)

    async def reseal(self, keyring: Keyring, *, author: str | None = None) -> Resealed:
        """Seal everything with the newest key of *keyring*, history included: one transaction, nothing on a second run.

        For the owner of the schema. Writers wait meanwhile. Values of the history whose key is lost stay as they are.

        Raises:
            SecretError: a secret in force does not open with any key here (LR502, LR503); nothing was changed.
            DatabaseError: any failure; nothing was changed.
        """
        newest = keyring.newest

        async def work(connection: Connection) -> Resealed:
            comment = f"sealed with key {newest}"
            before = await connection.fetchval(sql.BEGIN_EDIT, None, author, comment)  # takes the lock of writers
            found = await connection.fetch(sql.SEALED_OTHERWISE, newest)
            renewed, lost = resealed(found, keyring)
            if renewed:
                # The secrets first: their trigger compares them with the history.
                mapping = as_json(renewed)
                await connection.execute(sql.RESEAL_SECRETS, mapping)
                await connection.execute(sql.RESEAL_HISTORY, mapping)
                await connection.execute(sql.SPEND_ENVELOPES, mapping)
                await connection.execute(sql.MARK_ROTATED, before)
            return Resealed(int(await connection.fetchval(sql.REVISION)), len(renewed), lost)

        return await self._database.transact(work)

    async def close(self) -> None:
        """Close the connections; the repository can be used again and opens new ones."""
        await self._database.close()

    async def _rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a view; a value that Python cannot hold is a DatabaseError, too (LR208)."""
        try:
            rows = await self._database.select(statement, *values)
        except (ArithmeticError, RecursionError, ValueError) as exc:
            raise DatabaseError(
                f"a row holds a value that cannot be read: {type(exc).__name__}",
                code="LR208",
                where="database",
                hint="A time beyond the year 9999, or JSON nested too deep or with too long a number: ask by psql",
            ) from exc
        return [{name: for_json(value) for name, value in row.items()} for row in rows]

"""The only way to the database: reads and writes the config. Listening is another module's, on another connection."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, text
from sqlalchemy.types import BigInteger, Text

from liverouter.database import Database
from liverouter.diagnosis import explain
from liverouter.errors import WriteRefusedError
from liverouter.raw import Head, RawConfig, SealedSecret

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["UNSET", "SettingsRepository", "Unset", "explain"]


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET             # as a value in `write`: remove the row


_READ: Final = text("""
    SELECT liverouter.epoch() AS epoch, h.revision, h.change_id::text AS change_id, h.committed_at,
           greatest(0, extract(epoch FROM clock_timestamp() - h.committed_at) * 1000)::float8 AS age_ms,
           (SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') FROM liverouter.settings s) AS settings,
           (SELECT coalesce(jsonb_object_agg(s.name, jsonb_build_array(s.sealed, s.fingerprint)), '{}')
            FROM liverouter.secrets s) AS secrets,
           pg_is_in_recovery() AS standby
    FROM liverouter.head h
""")
_HEAD: Final = text("""
    SELECT liverouter.epoch() AS epoch, h.revision, h.change_id::text AS change_id FROM liverouter.head h
""")
_BEGIN_EDIT: Final = text("SELECT liverouter.begin_edit(:expected, :author, :comment)").bindparams(
    bindparam("expected", type_=BigInteger), bindparam("author", type_=Text), bindparam("comment", type_=Text)
)
_SET: Final = text("""
    INSERT INTO liverouter.settings AS s (key, value)
    SELECT c.key, c.value FROM jsonb_each(CAST(:changes AS text)::jsonb) c
    ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE s.value IS DISTINCT FROM excluded.value
""")
_UNSET: Final = text("DELETE FROM liverouter.settings WHERE key = ANY(CAST(:keys AS text[]))")
_SET_SECRET: Final = text("""
    INSERT INTO liverouter.secrets (name, sealed, fingerprint) VALUES (:name, :sealed, :fingerprint)
    ON CONFLICT (name) DO UPDATE SET sealed = :sealed, fingerprint = :fingerprint
""")                                   # not excluded.sealed: that would want the right to read the column
_UNSET_SECRETS: Final = text("DELETE FROM liverouter.secrets WHERE name = ANY(CAST(:names AS text[]))")


class SettingsRepository:
    """Reads and writes settings, secrets and their history. For one event loop; holds at most three connections.

    Every failure of driver, network or database is a `DatabaseError` with code and hint (`explain`); nothing in it
    repeats the DSN's password or a statement's values.
    """

    def __init__(
        self,
        *,
        url: str,                          # postgresql://…, as libpq takes it; a pooler is found out
        application_name: str = "liverouter",
        statement_timeout_s: float = 10.0,
        connect_timeout_s: float = 5.0,    # for each host of the DSN
        max_connection_age_s: float = 120.0,   # then names are resolved anew
    ) -> None:
        self._database = Database(
            url=url, application_name=application_name, statement_timeout_s=statement_timeout_s,
            connect_timeout_s=connect_timeout_s, max_connection_age_s=max_connection_age_s,
        )

    async def read(self) -> RawConfig:
        """Return the head revision, whole: one statement, so one snapshot, in one round trip.

        Raises:
            DatabaseError: it cannot be reached, is not migrated, has an unknown schema, or refuses (LR201 to LR209).
        """
        async with self._database.snapshot() as connection:
            row = (await connection.execute(_READ)).one()
        return RawConfig(
            epoch=row.epoch,
            revision=row.revision,
            change_id=row.change_id,
            committed_at=row.committed_at,
            age_ms=row.age_ms,
            settings=row.settings,
            secrets={name: SealedSecret(*sealed) for name, sealed in row.secrets.items()},
            standby=row.standby,
        )

    async def head(self) -> Head:
        """Return which revision is the newest; cheaper than `read`, for polls."""
        async with self._database.snapshot() as connection:
            row = (await connection.execute(_HEAD)).one()
        return Head(row.epoch, row.revision, row.change_id)

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
        values = {key: value for key, value in changes.items() if value is not UNSET}
        unset = [key for key, value in changes.items() if value is UNSET]
        async with self._database.transaction() as connection:
            await connection.execute(_BEGIN_EDIT, {"expected": expected_revision, "author": author, "comment": comment})
            if values:
                await connection.execute(_SET, {"changes": _as_json(values)})
            if unset:
                await connection.execute(_UNSET, {"keys": unset})
            for name, secret in (secrets or {}).items():
                await connection.execute(
                    _SET_SECRET, {"name": name, "sealed": secret.sealed, "fingerprint": secret.fingerprint}
                )
            if delete:
                await connection.execute(_UNSET_SECRETS, {"names": list(delete)})
            return int(await connection.scalar(text("SELECT revision FROM liverouter.head")))

    async def close(self) -> None:
        """Close the connections; the repository can be used again and opens new ones."""
        await self._database.close()


def _as_json(values: Mapping[str, object]) -> str:
    try:
        return json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise WriteRefusedError(
            f"a value is not JSON: {type(exc).__name__}", code="LR212", where="settings",
            hint="Numbers must be finite; dates and the like go as text",
        ) from exc

"""Somebody in psql: writes rows as any client would, and asks."""

from __future__ import annotations

import json
from typing import Any

import psycopg


class Admin:
    """Somebody in psql."""

    def __init__(self, dsn: str) -> None:
        """Connect to *dsn*."""
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True)

    def set(self, **rows: Any) -> int:
        """Write *rows* in one transaction and return the revision."""
        with self.connection.transaction():
            for key, value in rows.items():
                self.connection.execute(
                    "INSERT INTO liverouter.settings (key, value) VALUES (%s, %s)"
                    " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (key, json.dumps(value)),
                )
        return self.revision

    @property
    def revision(self) -> int:
        """The head revision."""
        return int(self.ask("SELECT revision FROM liverouter.head")[0])

    def models(self) -> dict[int, str]:
        """Return the model that each revision names."""
        query = "SELECT revision, content ->> 'llm_model' FROM liverouter.revision_log"
        return dict(self.connection.execute(query).fetchall())

    def ask(self, query: str, *arguments: Any) -> Any:
        """Return the first row."""
        return self.connection.execute(query, arguments or None).fetchone()

    def execute(self, statement: str, *arguments: Any) -> None:
        """Run a statement in a transaction of its own."""
        self.connection.execute(statement, arguments or None)

    def reconnect(self, dsn: str = "") -> None:
        """Connect anew, to *dsn* or as before."""
        self.connection.close()
        self.connection = psycopg.connect(dsn or self.dsn, autocommit=True)

    def close(self) -> None:
        """Disconnect."""
        self.connection.close()

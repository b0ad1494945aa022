"""What the SQL tests share: one thing done to a database per function, and the shape of a process's report."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Iterator

# A minute that was counted; one that is older than a week would be brought near, to another one in each report.
AN_HOUR_AGO: Final = (datetime.now(UTC) - timedelta(hours=1)).replace(second=0, microsecond=0).isoformat()

_CLOCK: Final = "clock_timestamp()"
_DEFINITIONS: Final = b"""
    SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname IN ('liverouter', 'liverouter_internal')
    UNION ALL
    SELECT format('CREATE OR REPLACE VIEW %s %s AS %s',
                  c.oid::regclass, 'WITH (' || array_to_string(c.reloptions, ', ') || ')', pg_get_viewdef(c.oid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('liverouter', 'liverouter_internal') AND c.relkind = 'v'
    UNION ALL
    SELECT format('ALTER TABLE %s ALTER %I SET DEFAULT %s', c.oid::regclass, a.attname, pg_get_expr(d.adbin, c.oid))
    FROM pg_attrdef d
    JOIN pg_class c ON c.oid = d.adrelid AND c.relnamespace = 'liverouter'::regnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum AND a.attgenerated = ''
"""


def rows(db: psycopg.Connection[Any], query: str, *values: object) -> list[dict[str, Any]]:
    """Return the rows of *query* as dicts."""
    with db.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()


def value(db: psycopg.Connection[Any], query: str, *values: object) -> Any:
    """Return the first column of the first row of *query*."""
    row = db.execute(query.encode(), values).fetchone()
    assert row is not None, f"no row: {query}"
    return row[0]


def put(db: psycopg.Connection[Any], **settings: object) -> int:
    """Write settings in one statement, as any client would; return the head revision."""
    db.execute(
        "INSERT INTO liverouter.settings (key, value) SELECT * FROM jsonb_each(%s)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [Jsonb(settings)],
    )
    return revision(db)


def revision(db: psycopg.Connection[Any]) -> int:
    """Return the head revision."""
    return int(value(db, "SELECT revision FROM liverouter.head"))


def stop_clock(db: psycopg.Connection[Any]) -> datetime:
    """Have the clock of schema liverouter stand still, and return its time: nothing grows older on a busy machine.

    A `wait_applied` that has to wait would never end.
    """
    moment: datetime = value(db, f"SELECT {_CLOCK}")
    for (definition,) in db.execute(_DEFINITIONS).fetchall():
        if _CLOCK in definition:
            db.execute(definition.replace(_CLOCK, f"timestamptz '{moment.isoformat()}'").encode())
    return moment


def verifier(password: str) -> str:
    """Return what a server may keep of *password*: hashed once, where it would 4096 times, and each login with it."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    proof = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, proof64 = (base64.b64encode(part).decode() for part in (salt, stored, proof))
    return f"SCRAM-SHA-256$1:{salt64}${stored64}:{proof64}"


def sealed(key_id: str = "0a1b2c3d") -> str:
    """Return what looks like a sealed value; nothing opens it."""
    text = base64.urlsafe_b64encode(secrets.token_bytes(33)).decode()
    return f"v1:{key_id}:{text[:16]}:{text[16:]}"


def put_secret(db: psycopg.Connection[Any], name: str, fingerprint: str = "12345678", envelope: str = "") -> int:
    """Store a sealed value as *name*; return the head revision."""
    envelope = envelope or sealed()
    db.execute(
        "INSERT INTO liverouter.secrets (name, sealed, fingerprint) VALUES (%s, %s, %s)"
        " ON CONFLICT (name) DO UPDATE SET sealed = %s, fingerprint = %s",
        [name, envelope, fingerprint, envelope, fingerprint],
    )
    return revision(db)


@dataclass
class Refusal:
    """What the database said when it refused."""

    message: str = ""
    hint: str = ""
    everything: str = ""  # detail and context included


@contextlib.contextmanager
def refused(sqlstate: str) -> Iterator[Refusal]:
    """Expect the block to fail with *sqlstate*; what was said can be read afterwards."""
    refusal = Refusal()
    with pytest.raises(psycopg.Error) as caught:
        yield refusal
    diag = caught.value.diag
    assert caught.value.sqlstate == sqlstate, str(caught.value)
    refusal.message, refusal.hint = diag.message_primary or "", diag.message_hint or ""
    refusal.everything = f"{caught.value} {diag.message_detail} {diag.message_hint} {diag.context}"


class Process:
    """A stand-in for one process's reporter: sends documents, as the client does."""

    def __init__(self, db: psycopg.Connection[Any], **identity: object) -> None:
        """Speak over *db*."""
        self.db, self.identity = db, identity
        self.instance, self.key = str(uuid.uuid4()), secrets.token_hex(16)

    def send(self, **document: object) -> dict[str, Any]:
        """Report *document*, by itself a heartbeat; return the row that report() answers with."""
        whole = {"instance": self.instance, "key": self.key, **document}
        (row,) = rows(self.db, "SELECT * FROM liverouter.report(%s)", Jsonb(whole))
        return row

    def run(self, applied_revision: int | None, **more: object) -> dict[str, Any]:
        """Report everything, with *applied_revision* live."""
        document: dict[str, Any] = {
            "app": "billing",
            "host": "host-1",
            "pid": 7,
            "labels": {"region": "eu"},
            "versions": {"liverouter": "0.1.0", "litellm": "1.106.2", "python": "3.11.7"},
            "state": "live" if applied_revision is not None else "initializing",
            "mode": "listen",
            "mode_cause": None,
            "since": AN_HOUR_AGO,
            "epoch": value(self.db, "SELECT liverouter.epoch()"),
            "applied_revision": applied_revision,
            "generation": 1,
            "litellm_enable": True,
            "rejected_revision": None,
            "rejected_epoch": None,
            "problems": [],
            "last_error": None,
            "listener": {"backend_pid": 4711, "reconnects": 0},
            "deployments": [],
        }
        return self.send(**document | self.identity | more)

    def applied(self, number: int, age_ms: float = 0.0, **more: object) -> dict[str, Any]:
        """Report that *number* went live *age_ms* ago."""
        outcome = {"revision": number, "outcome": "applied", "stage": "live", "age_ms": age_ms, "read_ms": 1.5}
        return self.run(number, applies=[outcome], **more)

    def rejected(
        self, number: int, kept: int | None, message: str = "the key is missing", **more: object
    ) -> dict[str, Any]:
        """Report that *number* was refused and *kept* serves on."""
        problem = {"severity": "error", "code": "LR102", "where": "secrets.x", "message": message, "hint": "Store it"}
        epoch = more.setdefault("rejected_epoch", value(self.db, "SELECT liverouter.epoch()"))
        outcome = {"revision": number, "epoch": epoch, "outcome": "rejected", "stage": "validate", "code": "LR102"}
        return self.run(
            kept,
            **{
                "rejected_revision": number,
                "problems": [problem],
                "last_error": problem | {"revision": number},
                "applies": [outcome | {"message": message}],
            }
            | more,
        )

    def silent_for(self, seconds: float) -> None:
        """Have the process's last report be *seconds* old, by the database's clock, also where that stands still."""
        with self.db.transaction():
            # the default is the time by that clock
            self.db.execute(
                "UPDATE liverouter.processes SET heartbeat_at = DEFAULT WHERE instance = %s", [self.instance]
            )
            self.db.execute(
                "UPDATE liverouter.processes SET heartbeat_at = heartbeat_at - make_interval(secs => %s)"
                " WHERE instance = %s",
                [seconds, self.instance],
            )


def deployment(provider: str, model: str, order: int = 1, **more: object) -> dict[str, Any]:
    """Return one deployment as a process reports it."""
    return {
        "deployment_id": f"{provider}/{model}#1a2b3c4d",
        "role": "primary" if order == 1 else "fallback",
        "order": order,
        "weight": 1,
        "provider": provider,
        "model": model,
        "params": {},
        "endpoint": f"https://api.{provider}.example",
        "credential_source": "environment X",
        "credential_fingerprint": "12345678",
        "cooling_ms": None,
        **more,
    }

"""${message}."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    run_sql(${repr(up_revision)}, "….sql")


def downgrade() -> None:
    run_sql(${repr(up_revision)}, "downgrade.sql")

"""Who takes the turn to send alerts and tells nothing comes last; a transaction left open does not keep it."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0019_turns"
down_revision = "0018_vendors"


def upgrade() -> None:
    run_sql("0012_health", "change_function.sql")
    run_sql(revision, "upgrade.sql")
    run_sql("0012_health", "drop_change_function.sql")
    run_sql(revision, "serves.sql")


def downgrade() -> None:
    run_sql("0012_health", "change_function.sql")
    run_sql(revision, "downgrade.sql")
    run_sql("0012_health", "drop_change_function.sql")
    run_sql(down_revision, "serves.sql")

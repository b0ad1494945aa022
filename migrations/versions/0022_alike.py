"""What is not there, null under a name that is none, a row that is no object: judged by SQL as by processes."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0022_alike"
down_revision = "0021_judges"


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

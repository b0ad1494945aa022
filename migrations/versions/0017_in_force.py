"""A secret is bound to bases that are in force, and not to one that waits in a row."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0017_in_force"
down_revision = "0016_roles"


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

"""A secret of one of litellm's vendors is bound to that vendor; views say whose credential such a deployment has."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0018_vendors"
down_revision = "0017_in_force"


def upgrade() -> None:
    run_sql("0012_health", "change_function.sql")
    run_sql(revision, "providers.sql", "entries.sql", "origins.sql", "rebind.sql")
    run_sql("0012_health", "drop_change_function.sql")
    run_sql(revision, "serves.sql")


def downgrade() -> None:
    run_sql("0012_health", "change_function.sql")
    run_sql(revision, "downgrade.sql")
    run_sql("0012_health", "drop_change_function.sql")
    run_sql(down_revision, "serves.sql")

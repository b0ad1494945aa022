"""Rows are judged by SQL as by processes, words, members of objects and what a library would look up included."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0021_judges"
down_revision = "0020_words"


def upgrade() -> None:
    run_sql("0012_health", "change_function.sql")
    run_sql(revision, "specs.sql", "params.sql", "together.sql", "arguments.sql", "health.sql")
    run_sql("0012_health", "drop_change_function.sql")
    run_sql(revision, "serves.sql")


def downgrade() -> None:
    run_sql("0012_health", "change_function.sql")
    run_sql(revision, "downgrade.sql", "downgrade_arguments.sql", "downgrade_health.sql")
    run_sql("0012_health", "drop_change_function.sql")
    run_sql(down_revision, "serves.sql")

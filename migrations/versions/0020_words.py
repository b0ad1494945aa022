"""`problems` is true of equal orders, missing models and webhooks; a login that reconnects comes last for alerts."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0020_words"
down_revision = "0019_turns"


def upgrade() -> None:
    run_sql("0012_health", "change_function.sql")
    run_sql(revision, "upgrade.sql")
    run_sql("0012_health", "drop_change_function.sql")
    run_sql(revision, "serves.sql")


def downgrade() -> None:
    run_sql("0012_health", "change_function.sql")
    run_sql(revision, "downgrade.sql")
    run_sql("0015_psql", "former_names.sql")
    run_sql("0012_health", "drop_change_function.sql")
    install_roles()
    run_sql(down_revision, "serves.sql")

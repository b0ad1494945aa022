"""Without litellm the fallbacks serve as well, so what runs and what should run lists them."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0008_native"
down_revision = "0007_providers"


def upgrade() -> None:
    run_sql(revision, "active_config.sql", "desired_config.sql", "serves.sql")


def downgrade() -> None:
    run_sql(down_revision, "desired_config.sql", "serves.sql")
    run_sql(revision, "downgrade.sql")

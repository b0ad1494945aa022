"""Who starts is not pending; who was killed is soon no problem any more, and who hangs is."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0014_goodbye"
down_revision = "0012_health"


def upgrade() -> None:
    run_sql(revision, "ask_fleet.sql", "upgrade.sql", "rollout.sql", "serves.sql")


def downgrade() -> None:
    run_sql(revision, "ask_fleet.sql", "downgrade.sql")
    run_sql(down_revision, "serves.sql")

"""What runs where: processes report, views answer, `wait_applied` waits."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0002_fleet"
down_revision = "0001_config"


def upgrade() -> None:
    run_sql(
        revision,
        "processes.sql",
        "apply_log.sql",
        "usage_minutes.sql",
        "fleet.sql",
        "prune.sql",
        "report_parts.sql",
        "report.sql",
        "wait_applied.sql",
        "instances.sql",
        "active_config.sql",
        "desired_config.sql",
        "rollout.sql",
        "revisions.sql",
        "usage.sql",
        "secret_keys.sql",
        "problems.sql",
        "serves.sql",
    )


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")

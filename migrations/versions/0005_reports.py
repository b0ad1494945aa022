"""What processes report is a stranger's word: typed, bounded and clipped where it enters."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0005_reports"
down_revision = "0004_origins"


def upgrade() -> None:
    run_sql(
        revision,
        "clean.sql",
        "authors.sql",
        "quota.sql",
        "parts.sql",
        "report.sql",
        "prune.sql",
        "wait_applied.sql",
        "views.sql",
        "instances.sql",
        "adopt.sql",
        "serves.sql",
    )
    install_roles()


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")
    run_sql(
        "0002_fleet", "prune.sql", "report_parts.sql", "report.sql", "wait_applied.sql", "instances.sql", "usage.sql"
    )
    install_roles()

"""Views that answer at once, however long the history and the usage are; what is kept, and for how long."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0009_aging"
down_revision = "0008_native"


def upgrade() -> None:
    run_sql(
        revision,
        "views.sql",
        "problems.sql",
        "settings.sql",
        "revision_changes.sql",
        "rollout.sql",
        "usage.sql",
        "usage_daily.sql",
        "prune.sql",
        "roles.sql",
        "serves.sql",
    )
    install_roles()


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")
    run_sql("0002_fleet", "rollout.sql", "revisions.sql", "secret_keys.sql")
    run_sql("0005_reports", "instances.sql", "views.sql", "prune.sql")
    run_sql(down_revision, "active_config.sql", "desired_config.sql", "serves.sql")
    run_sql("0007_providers", "problems.sql")
    run_sql(revision, "downgrade_problems.sql")
    install_roles()

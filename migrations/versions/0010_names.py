"""Named models: who asked by which name, what each name should run; rows judged while nobody runs."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0010_names"
down_revision = "0009_aging"


def upgrade() -> None:
    run_sql(
        revision,
        "usage.sql",
        "reports.sql",
        "entries.sql",
        "views.sql",
        "origins.sql",
        "plain_secrets.sql",
        "setting_specs.sql",
        "problems.sql",
        "roles.sql",
        "serves.sql",
    )
    install_roles()


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")
    run_sql("0002_fleet", "active_config.sql", "desired_config.sql", "usage.sql")
    run_sql("0005_reports", "views.sql")
    run_sql(down_revision, "views.sql", "usage.sql", "problems.sql")
    run_sql("0007_providers", "origins_in_force.sql")
    run_sql(revision, "downgrade_rest.sql")
    run_sql(down_revision, "serves.sql")
    install_roles()

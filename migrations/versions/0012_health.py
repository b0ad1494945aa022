"""How it goes with providers stands in `problems`, by what processes report of their calls."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0012_health"
down_revision = "0010_names"


def upgrade() -> None:
    run_sql(revision, "change_function.sql", "reports.sql", "alerts.sql", "probes.sql", "find_health.sql")
    run_sql(revision, "drop_change_function.sql", "serves.sql")
    install_roles()


def downgrade() -> None:
    run_sql(revision, "change_function.sql", "downgrade.sql", "drop_change_function.sql")
    run_sql(down_revision, "serves.sql")
    install_roles()

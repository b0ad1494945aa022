"""Which providers there are is a table that each run fills in: a new provider needs no migration."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0007_providers"
down_revision = "0006_plain_secrets"


def upgrade() -> None:
    run_sql(revision, "providers.sql", "desired_config.sql", "problems.sql", "origins_in_force.sql", "serves.sql")
    install_roles()


def downgrade() -> None:
    run_sql("0004_origins", "desired_config.sql")
    run_sql(revision, "free_views.sql")
    run_sql("0004_origins", "problems.sql")
    run_sql(revision, "downgrade.sql")
    install_roles()

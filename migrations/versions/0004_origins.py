"""Secrets are bound to the addresses that they may be sent to; what is stored, to where it is sent now."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0004_origins"
down_revision = "0003_roles"


def upgrade() -> None:
    run_sql(
        revision,
        "origins_in_force.sql",
        "secrets.sql",
        "history.sql",
        "desired_config.sql",
        "problems.sql",
        "install_roles.sql",
        "serves.sql",
    )
    install_roles()


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")

"""Roles with the least rights for services, for who changes settings, and for who looks; nothing for PUBLIC."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0003_roles"
down_revision = "0002_fleet"


def upgrade() -> None:
    run_sql(revision, "install_roles.sql", "serves.sql")
    install_roles()


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")

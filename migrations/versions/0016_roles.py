"""Roles of its own for a database, as `migrate --role-prefix` asks for them."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0016_roles"
down_revision = "0015_psql"


def upgrade() -> None:
    run_sql(revision, "role_prefix.sql", "serves.sql")
    install_roles()


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")
    run_sql(down_revision, "serves.sql")
    install_roles()

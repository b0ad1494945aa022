"""The rule on plain secrets in time that grows with the text, not with its square."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0006_plain_secrets"
down_revision = "0005_reports"


def upgrade() -> None:
    run_sql(revision, "plain_secrets.sql", "serves.sql")
    install_roles()


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")

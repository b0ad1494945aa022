"""What processes report is a stranger's word: typed, bounded and clipped where it enters."""

from __future__ import annotations

from liverouter.migrate import install_roles, run_sql

revision = "0005_reports"
down_revision = "0004_origins"


def upgrade() -> None:
    run_sql(revision, "serves.sql")
    install_roles()


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")

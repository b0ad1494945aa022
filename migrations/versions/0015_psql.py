"""Views that fit psql; what only our code calls in a schema of its own; what was done to our tables, in `problems`."""

from __future__ import annotations

from liverouter.postgres.migrate import install_roles, run_sql

revision = "0015_psql"
down_revision = "0014_goodbye"


def upgrade() -> None:
    run_sql(revision, "internal_schema.sql", "move.sql", "upgrade.sql", "former_names.sql", "fitted.sql", "views.sql")
    run_sql(revision, "problems.sql", "install_roles.sql", "serves.sql")
    install_roles()


def downgrade() -> None:
    run_sql(revision, "move.sql", "downgrade.sql")
    run_sql(down_revision, "serves.sql")
    install_roles()

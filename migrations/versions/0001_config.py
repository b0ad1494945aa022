"""Settings, secrets, the head revision and its history, kept by statement-level triggers."""

from __future__ import annotations

from liverouter.postgres.migrate import run_sql

revision = "0001_config"
down_revision = None


def upgrade() -> None:
    run_sql(
        revision,
        "schema.sql",
        "settings.sql",
        "secrets.sql",
        "head.sql",
        "revision_log.sql",
        "epoch.sql",
        "revisions_triggers.sql",
        "plain_secrets.sql",
        "begin_edit.sql",
        "set_secret.sql",
        "history.sql",
        "serves.sql",
    )


def downgrade() -> None:
    run_sql(revision, "downgrade.sql")

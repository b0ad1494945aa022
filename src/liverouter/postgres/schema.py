"""The tables of schema `liverouter` as SQLAlchemy knows them: for queries, and for `alembic check`.

The DDL itself, with comments, triggers, functions, views and rights, stands as SQL in `migrations/sql/`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB, TIMESTAMP, UUID

from liverouter.postgres.versions import SCHEMA

metadata: Final = MetaData(schema=SCHEMA)

_WHEN: Final = TIMESTAMP(timezone=True)
_NOW: Final = text("clock_timestamp()")
_ROLE: Final = text("SESSION_USER")

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSONB(none_as_null=False), nullable=False),  # stores None as JSON null, not as NULL
    Column("updated_at", _WHEN, nullable=False, server_default=_NOW),
    Column("updated_by", Text, nullable=False, server_default=_ROLE),
    Column("role", Text),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("key_id", Text, Computed("split_part(sealed, ':'::text, 2)", persisted=True)),
    Column("updated_at", _WHEN, nullable=False, server_default=_NOW),
    Column("updated_by", Text, nullable=False, server_default=_ROLE),
    Column("origins", ARRAY(Text), nullable=False),
    Column("role", Text),
)

head = Table(
    "head",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("revision", BigInteger, nullable=False),
    Column("change_id", UUID(as_uuid=False), nullable=False),
    Column("committed_at", _WHEN, nullable=False),
    Column("xid", BigInteger, nullable=False),
    Column("xact_at", _WHEN, nullable=False),
    CheckConstraint("only_row", name="head_one_row"),
)

revision_log = Table(
    "revision_log",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("change_id", UUID(as_uuid=False), nullable=False),
    Column("kind", Text, nullable=False),
    Column("author_role", Text, nullable=False),
    Column("author", Text),
    Column("application_name", Text),
    Column("comment", Text),
    Column("committed_at", _WHEN, nullable=False),
    Column("content", JSONB, nullable=False),
    Column("sealed", JSONB, nullable=False),
    CheckConstraint("kind IN ('edit', 'rollback', 'rotate')", name="revision_log_kind"),
)

revision_changes = Table(
    "revision_changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("changed", Text),
    Column("ours_alone", Boolean, nullable=False, server_default=text("false")),
)

alerts = Table(
    "alerts",
    metadata,
    Column("code", Text, primary_key=True),
    Column("object", Text, primary_key=True),
    Column("message", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("stands", Boolean, nullable=False),
    Column("changed_at", _WHEN, nullable=False),
    Column("told", Boolean, nullable=False, server_default=text("false")),
    Column("times", Integer, nullable=False, server_default=text("0")),
)

alert_turn = Table(
    "alert_turn",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("next_at", _WHEN, nullable=False, server_default=_NOW),
    Column("ticket", UUID(as_uuid=False)),
    Column("news", JSONB),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("holder", Integer),
    Column("holder_login", Text),
    CheckConstraint("only_row", name="alert_turn_one_row"),
)

probes = Table(
    "probes",
    metadata,
    Column("deployment_id", Text, primary_key=True),
    Column("asked_at", _WHEN, nullable=False),
)

retention = Table(
    "retention",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("history_days", Integer, nullable=False, server_default=text("731")),
    Column("history_revisions", Integer, nullable=False, server_default=text("1000")),
    Column("usage_daily_days", Integer, nullable=False, server_default=text("731")),
    CheckConstraint("only_row", name="retention_one_row"),
    CheckConstraint("history_days >= 0", name="retention_history_days"),
    CheckConstraint("history_revisions >= 1", name="retention_history_revisions"),
    CheckConstraint("usage_daily_days >= 1", name="retention_usage_daily_days"),
)

providers = Table(
    "providers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("label", Text, nullable=False),
    Column("secrets", ARRAY(Text), nullable=False),
    Column("secret_aliases", ARRAY(Text), nullable=False),
    Column("base", Text, nullable=False),
    Column("base_alias", Text, nullable=False),
    Column("takes_ambient", Boolean, nullable=False),
)

member_providers = Table(
    "member_providers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("secrets", ARRAY(Text), nullable=False),
    Column("vendors", JSONB, nullable=False),
)

setting_specs = Table(
    "setting_specs",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("provider", Text),
    Column("alias", Text, nullable=False),
    Column("low", Numeric),
    Column("above_low", Boolean, nullable=False),
    Column("high", Numeric),
    Column("pattern", Text),
    Column("may_be_list", Boolean, nullable=False),
    Column("hint", Text, nullable=False),
    Column("severity", Text, nullable=False, server_default="error"),
    Column("words", ARRAY(Text)),
    Column("refused", ARRAY(Text)),
    CheckConstraint("scope IN ('row', 'member', 'param', 'part', 'thinking', 'model')", name="setting_specs_scope"),
)

processes = Table(
    "processes",
    metadata,
    Column("instance", UUID(as_uuid=False), primary_key=True),
    Column("key_hash", LargeBinary, nullable=False),
    Column("role", Text, nullable=False, server_default=_ROLE),
    Column("app", Text, nullable=False, server_default=""),
    Column("host", Text, nullable=False, server_default=""),
    Column("pid", Integer),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("versions", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("state", Text, nullable=False, server_default="initializing"),
    Column("mode", Text, nullable=False, server_default="none"),
    Column("mode_cause", Text),
    Column("since", _WHEN),
    Column("epoch", Text),
    Column("applied_revision", BigInteger),
    Column("applied_at", _WHEN),
    Column("generation", BigInteger),
    Column("litellm_enable", Boolean),
    Column("rejected_revision", BigInteger),
    Column("rejected_epoch", Text),
    Column("problems", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("last_error", JSONB),
    Column("listener", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("deployments", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("started_at", _WHEN, nullable=False, server_default=_NOW),
    Column("heartbeat_at", _WHEN, nullable=False, server_default=_NOW),
    Column("bye_at", _WHEN),
    Index("processes_role", "role"),
)

spent_envelopes = Table("spent_envelopes", metadata, Column("digest", LargeBinary, primary_key=True))

report_quota = Table(
    "report_quota",
    metadata,
    Column("role", Text, primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("minute", _WHEN, nullable=False),
    Column("added", BigInteger, nullable=False),
)

apply_log = Table(
    "apply_log",
    metadata,
    Column("revision", BigInteger, primary_key=True),
    Column("instance", UUID(as_uuid=False), primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("stage", Text),
    Column("finished_at", _WHEN, nullable=False),
    Column("lag_ms", DOUBLE_PRECISION),
    Column("read_ms", DOUBLE_PRECISION),
    Column("validate_ms", DOUBLE_PRECISION),
    Column("build_ms", DOUBLE_PRECISION),
    Column("warm_ms", DOUBLE_PRECISION),
    Column("code", Text),
    Column("message", Text),
    Index("apply_log_finished_at", "finished_at"),
    Index("apply_log_instance", "instance"),
)

rollout_totals = Table(
    "rollout_totals",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("applied", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("p50_ms", Numeric),
    Column("p99_ms", Numeric),
    Column("slowest", UUID(as_uuid=False)),
)

usage_minutes = Table(
    "usage_minutes",
    metadata,
    Column("instance", UUID(as_uuid=False), primary_key=True),
    Column("minute", _WHEN, primary_key=True),
    Column("deployment_id", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("failures", JSONB, nullable=False),
    Column("failovers", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost_usd", Numeric, nullable=False),
    Column("latency_ms_sum", DOUBLE_PRECISION, nullable=False),
    Column("latency_ms_max", DOUBLE_PRECISION, nullable=False),
    Column("name", Text, primary_key=True, server_default="default"),
    Index("usage_minutes_minute", "minute"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("instance", UUID(as_uuid=False), primary_key=True),
    Column("deployment_id", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("app", Text),
    Column("host", Text),
    Column("pid", Integer),
    Column("login", Text),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("failures", JSONB, nullable=False),
    Column("failovers", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost_usd", Numeric, nullable=False),
    Column("latency_ms_sum", DOUBLE_PRECISION, nullable=False),
    Column("latency_ms_max", DOUBLE_PRECISION, nullable=False),
    Column("name", Text, primary_key=True, server_default="default"),
)

"""A database as years make it: its history, what processes reported of it, and what was called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import psycopg

_FILL: Final = """
    INSERT INTO liverouter.processes
        (instance, key_hash, app, host, pid, state, epoch, applied_revision, deployments)
    SELECT md5(i::text)::uuid, '', 'billing', 'host-' || i, i, 'live', liverouter.epoch(), {revisions},
           '[{{"deployment_id": "openai/gpt-4o#1a2b3c4d", "role": "primary", "order": 1, "weight": 1,
               "provider": "openai", "model": "gpt-4o", "params": {{}}, "cooling_until": null}}]'
    FROM generate_series(1, {instances}) i;

    INSERT INTO liverouter.revision_log (revision, change_id, kind, author_role, committed_at, content, sealed)
    SELECT r, gen_random_uuid(), 'edit', 'postgres', now() - make_interval(mins => {revisions} - r),
           jsonb_build_object('llm_provider', 'openai', 'llm_model', 'model-' || r), '{{}}'
    FROM generate_series(1, {revisions}) r;
    UPDATE liverouter.head h SET revision = l.revision, change_id = l.change_id
    FROM liverouter.revision_log l WHERE l.revision = {revisions};

    INSERT INTO liverouter.apply_log (revision, instance, outcome, stage, finished_at, lag_ms)
    SELECT r, md5(i::text)::uuid, 'applied', 'live', now() - make_interval(mins => {revisions} - r), 5 + r * i % 100
    FROM generate_series(1, {revisions}) r, generate_series(1, {instances}) i;

    -- Over thirty days, whatever their number.
    INSERT INTO liverouter.usage_minutes
        (instance, minute, deployment_id, role, provider, model, calls, failures, failovers, prompt_tokens,
         completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
    SELECT md5(i::text)::uuid, date_trunc('minute', now()) - interval '30 days' * m / {minutes},
           'openai/gpt-4o#1a2b3c4d', 'primary', 'openai', 'gpt-4o', 10,
           CASE m % 50 WHEN 0 THEN '{{"RateLimitError 429": 1}}' ELSE '{{}}' END::jsonb, 0, 1000, 500, 0.0125, 5000, 900
    FROM generate_series(1, {minutes}) m, generate_series(1, {instances}) i;
"""


def fill(db: psycopg.Connection[Any], *, revisions: int, instances: int, minutes: int) -> None:
    """Fill the new database of *db* and have the planner know it.

    Args:
        db: a session of the schema's owner.
        revisions: how many; each was applied by each process.
        instances: processes, all live.
        minutes: how many each of them made calls in, over thirty days.
    """
    with db.transaction():
        db.execute(b"SET LOCAL synchronous_commit = off")
        for statement in _FILL.format(revisions=revisions, instances=instances, minutes=minutes).split(";\n"):
            db.execute(statement.encode())
    db.execute(b"ANALYZE")

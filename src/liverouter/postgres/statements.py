"""The SQL that `repository` sends. Names and columns are the contract of `migrations/sql/`."""

from __future__ import annotations

from typing import Final

from liverouter.postgres import visibility

# One statement, so one snapshot: settings, secrets and head cannot be of two revisions. Of other software's rows only a
# few are read; which are ours, the function settings_content() says in the same words, to whoever may call it.
READ: Final = f"""
    SELECT liverouter.epoch() AS epoch, h.revision, h.change_id::text AS change_id, h.committed_at,
           greatest(0, extract(epoch FROM clock_timestamp() - h.committed_at) * 1000)::float8 AS age_ms,
           (SELECT coalesce(jsonb_object_agg(s.key, s.value), '{{}}') FROM liverouter.settings s
            WHERE few.are OR split_part(translate(s.key, ':', '_'), '_', 1) = ANY (own.words)) AS settings,
           (SELECT coalesce(jsonb_object_agg(s.name, jsonb_build_array(s.sealed, s.fingerprint, s.origins)), '{{}}')
            FROM liverouter.secrets s) AS secrets,
           pg_is_in_recovery() AS standby, {visibility.GUARDED} AS guarded
    FROM (VALUES (true)) always
    LEFT JOIN liverouter.head h ON true
    CROSS JOIN (
        SELECT '{{llm,litellm}}'::text[] || ARRAY(SELECT split_part(p.base, '_', 1) FROM liverouter.providers p)
    ) own (words)
    CROSS JOIN LATERAL (
        SELECT count(*) <= 200 FROM (
            SELECT FROM liverouter.settings s
            WHERE split_part(translate(s.key, ':', '_'), '_', 1) <> ALL (own.words) LIMIT 201) stranger
    ) few (are)
"""  # noqa: S608 - of constants of ours
HEAD: Final = """
    SELECT liverouter.epoch() AS epoch, h.revision, h.change_id::text AS change_id FROM liverouter.head h
"""
REPORT: Final = """
    SELECT r.epoch, r.revision, r.change_id::text AS change_id, r.report_whole
    FROM liverouter_internal.report($1::text::jsonb) r
"""

BEGIN_EDIT: Final = "SELECT liverouter.begin_edit($1::bigint, $2::text, $3::text)"
SET: Final = """
    INSERT INTO liverouter.settings AS s (key, value)
    SELECT c.key, c.value FROM jsonb_each($1::text::jsonb) c
    ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE s.value IS DISTINCT FROM excluded.value
"""
UNSET: Final = "DELETE FROM liverouter.settings WHERE key = ANY($1::text[])"
SET_SECRET: Final = "SELECT liverouter.set_secret($1::text, $2::text, $3::text, $4::text[])"  # noqa: S105 - a statement
UNSET_SECRETS: Final = "DELETE FROM liverouter.secrets WHERE name = ANY($1::text[])"
REVISION: Final = "SELECT h.revision FROM liverouter.head h"
ROLLBACK: Final = "SELECT liverouter.rollback($1::bigint, $2::text)"
# The statement-level trigger compares all rows with the newest revision, and makes one of what differs.
REPAIR: Final = "DELETE FROM liverouter.settings WHERE false"
SLEEPING_TRIGGERS: Final = """
    SELECT DISTINCT format('ALTER TABLE %s ENABLE TRIGGER USER', t.tgrelid::regclass) AS mends
    FROM pg_trigger t
    WHERE NOT t.tgisinternal AND t.tgenabled NOT IN ('O', 'A')
      AND t.tgrelid = ANY ('{liverouter.settings,liverouter.secrets,liverouter.head}'::regclass[])
    ORDER BY mends
"""
# The busiest 5000: a login that makes up names hides nobody's.
LAST_ANSWERS: Final = """
    SELECT u.name, u.deployment_id, max(u.day) AS day FROM liverouter.usage_daily_detail u
    WHERE u.day >= $1 AND u.calls > 0
    GROUP BY 1, 2 ORDER BY sum(u.calls) DESC LIMIT 5000
"""
WAIT_APPLIED: Final = "SELECT liverouter.wait_applied($1::bigint, $2::numeric)"

STORED_SECRETS: Final = """
    SELECT s.name, s.fingerprint, s.origins, s.key_id, s.updated_at, s.updated_by, s.role
    FROM liverouter.secrets s ORDER BY s.name
"""
HISTORY: Final = "SELECT * FROM liverouter.revisions_detail ORDER BY revision DESC LIMIT $1"
DIFF: Final = """
    SELECT d.*, CASE WHEN d.old = 'null' THEN 'old' WHEN d.new = 'null' THEN 'new' END AS null
    FROM liverouter.revision_diff($1::bigint, $2::bigint) d
"""
INSTANCES: Final = "SELECT * FROM liverouter.instances_detail ORDER BY app, host, pid, instance LIMIT 10000"
# Bounded, and fair: a process that reports much hides no other. The first deployment of each comes before any second.
ACTIVE_CONFIG: Final = """
    SELECT app, host, pid, revision, role, "order", provider, model, params, credential_source, fingerprint,
           cooling_until, applied_at, weight, endpoint, deployment_id, instance, name
    FROM (
        SELECT a.*, row_number() OVER (
            PARTITION BY a.instance
            ORDER BY a.name <> 'default', a.name COLLATE "C", a."order", a.role DESC, a.deployment_id) AS nth
        FROM liverouter.active_config_detail a ORDER BY nth, a.app, a.host, a.pid, a.instance LIMIT 10000) a
    ORDER BY app, host, pid, instance, nth
"""
# The default first. Of equal orders the primary first, then fallbacks as they are listed: their places end in [0], [1],
# [10].
DESIRED_CONFIG: Final = """
    SELECT * FROM liverouter.desired_config_detail
    ORDER BY name <> 'default', name COLLATE "C", "order", length(place), place COLLATE "C"
"""
# Bounded, and fair by what no process chooses: logins take turns, and within a login its processes do.
PROBLEMS: Final = """
    WITH told AS (
        SELECT p.*, array_position('{error,warning,info}', p.severity) AS rank
        FROM liverouter_internal.problems_by_login p
    ),
    ranked AS MATERIALIZED (
        SELECT p.*, row_number() OVER (
            PARTITION BY p.login ORDER BY p.place, p.rank, p.code, p.object, p.message) AS nth
        FROM (
            SELECT p.*, row_number() OVER (
                PARTITION BY p.login, p.instance ORDER BY p.rank, p.code, p.object, p.message) AS place
            FROM told p) p
    ),
    first AS (SELECT * FROM ranked ORDER BY nth, rank, code, object, message LIMIT 5000)
    (SELECT f.severity, f.code, f.object, f.message, f.hint
     FROM (SELECT DISTINCT rank, severity, code, object, message, hint FROM first) f
     ORDER BY f.rank, f.code, f.object, f.message)
    UNION ALL
    SELECT 'warning', 'LR212', 'database', format('and %s more problems', count(*) - 5000),
           'Mend the first ones, or see which login reports so many: liverouter.instances_detail'
    FROM ranked HAVING count(*) > 5000
"""
# Revisions have no gaps; a bound, unlike a limit, reaches the index below both halves of the view.
ROLLOUT: Final = """
    SELECT * FROM liverouter.rollout_detail
    WHERE revision > (SELECT r.revision FROM liverouter.revisions r ORDER BY r.revision DESC LIMIT 1) - $1::bigint
    ORDER BY revision DESC
"""
USAGE: Final = """
    SELECT * FROM liverouter.usage_detail
    WHERE minute >= $1 ORDER BY minute DESC, app, host, pid, role DESC, deployment_id
"""
# All processes together. Bounded, and fair: logins take turns, each with its busiest cells first. So a login that makes
# up names or numbers neither fills a reader's memory nor hides what others report.
USAGE_TOTALS: Final = """
    WITH cell AS (
        SELECT u.login, u.minute, u.name, u.provider, u.model, u.deployment_id, u.role, sum(u.calls) AS calls,
               coalesce(sum((
                   SELECT sum(f.value::bigint)
                   FROM jsonb_each_text(CASE jsonb_typeof(u.failures) WHEN 'object' THEN u.failures END) f
                   WHERE f.value ~ '^[0-9]{1,15}$')), 0) AS failures,
               sum(u.failovers) AS failovers, sum(u.prompt_tokens) AS prompt_tokens,
               sum(u.completion_tokens) AS completion_tokens, sum(u.cost_usd) AS cost_usd,
               sum(u.latency_ms * u.calls) AS latency_ms,
               sum(u.calls) FILTER (WHERE u.latency_ms IS NOT NULL) AS timed
        FROM liverouter.usage_detail u WHERE u.minute >= $1 GROUP BY 1, 2, 3, 4, 5, 6, 7
    ),
    ranked AS (
        SELECT c.*, row_number() OVER (
            PARTITION BY c.login ORDER BY c.calls DESC, c.minute DESC, c.name, c.deployment_id, c.role) AS nth
        FROM cell c ORDER BY nth, c.calls DESC LIMIT 5000
    )
    SELECT r.minute, r.name, r.provider, r.model, r.deployment_id, r.role, sum(r.calls)::bigint AS calls,
           sum(r.failures)::bigint AS failures, sum(r.failovers)::bigint AS failovers,
           sum(r.prompt_tokens)::bigint AS prompt_tokens, sum(r.completion_tokens)::bigint AS completion_tokens,
           sum(r.cost_usd)::float8 AS cost_usd, (sum(r.latency_ms) / nullif(sum(r.timed), 0))::float8 AS latency_ms
    FROM ranked r GROUP BY 1, 2, 3, 4, 5, 6
"""
NEXT_ALERT: Final = "SELECT liverouter_internal.next_alert() AS news"
SETTLE_ALERT: Final = "SELECT liverouter_internal.settle_alert($1::uuid, $2::text)"
DUE_PROBES: Final = "SELECT liverouter_internal.due_probes($1::text[], $2::float8) AS id"
KEY_USAGE: Final = "SELECT * FROM liverouter.secret_keys ORDER BY secrets DESC, in_history DESC, key_id"

# Rotation, by the owner: every value that is not sealed with the newest key, and whether it is in force.
SEALED_OTHERWISE: Final = """
    SELECT name, sealed, bool_or(current) AS current FROM (
        SELECT s.name, s.sealed, true FROM liverouter.secrets s
        UNION ALL
        SELECT e.key, e.value ->> 'sealed', false
        FROM liverouter.revision_log r CROSS JOIN LATERAL jsonb_each(r.sealed) e
    ) v (name, sealed, current)
    WHERE split_part(sealed, ':', 2) <> $1
    GROUP BY name, sealed
"""
RESEAL_SECRETS: Final = """
    UPDATE liverouter.secrets s SET sealed = m.new
    FROM jsonb_each_text($1::text::jsonb) m (old, new) WHERE s.sealed = m.old
"""
RESEAL_HISTORY: Final = """
    UPDATE liverouter.revision_log r SET sealed = (
        SELECT jsonb_object_agg(e.key, CASE
            WHEN m.renewed ? (e.value ->> 'sealed')
            THEN jsonb_set(e.value, '{sealed}', m.renewed -> (e.value ->> 'sealed')) ELSE e.value END)
        FROM jsonb_each(r.sealed) e)
    FROM (SELECT $1::text::jsonb) m (renewed)
    WHERE EXISTS (SELECT FROM jsonb_each(r.sealed) e WHERE m.renewed ? (e.value ->> 'sealed'))
"""
SPEND_ENVELOPES: Final = """
    INSERT INTO liverouter.spent_envelopes (digest)
    SELECT sha256(convert_to(m.old, 'UTF8')) FROM jsonb_object_keys($1::text::jsonb) m (old)
    ON CONFLICT DO NOTHING
"""
MARK_ROTATED: Final = """
    UPDATE liverouter.revision_log r SET kind = 'rotate' FROM liverouter.head h
    WHERE r.revision = h.revision AND h.revision > $1
"""

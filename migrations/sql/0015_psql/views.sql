-- A bare SELECT * is at most 160 columns wide in psql; what does not fit has a view with _detail behind its name. psql takes
-- for each column the wider one of name and values, and 3: the widths here add up to that.

ALTER VIEW liverouter.active_config RENAME TO active_config_detail;
ALTER VIEW liverouter.desired_config RENAME TO desired_config_detail;
ALTER VIEW liverouter.instances RENAME TO instances_detail;
ALTER VIEW liverouter.problems RENAME TO problems_detail;
ALTER VIEW liverouter.revisions RENAME TO revisions_detail;
ALTER VIEW liverouter.usage RENAME TO usage_detail;
ALTER VIEW liverouter.usage_daily RENAME TO usage_daily_detail;

CREATE VIEW liverouter.active_config AS
SELECT
    liverouter_internal.fitted(d.app, 8) AS app,
    liverouter_internal.fitted(d.host, 9) AS host,
    d.pid,
    d.revision,
    d.role,
    d."order",
    liverouter_internal.fitted(d.provider, 11) AS provider,
    liverouter_internal.fitted(d.model, 17) AS model,
    liverouter_internal.fitted(d.params, 9) AS params,
    d.fingerprint,
    d.cooling_until,
    liverouter_internal.fitted(d.name, 7) AS name
FROM liverouter.active_config_detail d;

CREATE VIEW liverouter.desired_config AS
SELECT
    d.revision,
    d.role,
    d."order",
    liverouter_internal.fitted(d.provider, 16) AS provider,
    liverouter_internal.fitted(d.model, 24) AS model,
    liverouter_internal.fitted(d.params, 23) AS params,
    liverouter_internal.fitted(d.credential_source, 29) AS credential_source,
    d.fingerprint,
    liverouter_internal.fitted(d.name, 10) AS name
FROM liverouter.desired_config_detail d;

CREATE VIEW liverouter.instances AS
SELECT
    liverouter_internal.fitted(d.app, 10) AS app,
    liverouter_internal.fitted(d.host, 12) AS host,
    d.pid,
    d.state,
    d.applied_revision,
    d.rejected_revision,
    d.error_code,
    liverouter_internal.wrapped(d.error, 18) AS error,
    liverouter_internal.wrapped(d.hint, 17) AS hint,
    d.mode
FROM liverouter.instances_detail d;

CREATE VIEW liverouter.problems AS
SELECT
    d.severity,
    d.code,
    liverouter_internal.wrapped(d.object, 33) AS object,
    liverouter_internal.wrapped(d.message, 54) AS message,
    liverouter_internal.wrapped(d.hint, 46) AS hint
FROM liverouter.problems_detail d;

CREATE VIEW liverouter.revisions AS
SELECT
    d.revision,
    d.committed_at,
    liverouter_internal.fitted(d.author, 16) AS author,
    liverouter_internal.fitted(d.application, 15) AS application,
    d.kind,
    liverouter_internal.wrapped(d.changed, 28) AS changed,
    liverouter_internal.wrapped(d.comment, 24) AS comment,
    liverouter_internal.fitted(d.role, 16) AS role
FROM liverouter.revisions_detail d;

-- Which names a revision changed is told beside how it came to the processes.
CREATE VIEW liverouter.rollout_detail AS
SELECT
    o.revision,
    o.committed_at,
    o.applied,
    o.rejected,
    o.pending,
    o.p50_ms,
    o.p99_ms,
    o.slowest,
    o.waiting_for,
    o.slowest_instance,
    CASE WHEN strpos(c.changed, 'llm:') = 0 THEN 'default' ELSE (
        SELECT string_agg(n.name, ', ' ORDER BY n.name <> 'default', n.name COLLATE "C")
        FROM (
            SELECT DISTINCT coalesce(substring(k.key FROM '^llm:(.*)$'), 'default')
            FROM string_to_table(c.changed, ', ') k (key)) n (name)
    ) END AS name
FROM liverouter_internal.rollout_outcomes o
LEFT JOIN liverouter.revision_changes c ON c.revision = o.revision;

CREATE VIEW liverouter.rollout AS
SELECT
    d.revision,
    liverouter_internal.fitted(d.committed_at) AS committed_at,
    d.applied,
    d.rejected,
    d.pending,
    d.p50_ms,
    d.p99_ms,
    liverouter_internal.wrapped(d.slowest, 28) AS slowest,
    liverouter_internal.wrapped(d.waiting_for, 22) AS waiting_for,
    liverouter_internal.wrapped(d.name, 11) AS name
FROM liverouter.rollout_detail d;

CREATE VIEW liverouter.usage AS
SELECT
    d.minute,
    liverouter_internal.fitted(d.app, 7) AS app,
    liverouter_internal.fitted(d.name, 7) AS name,
    liverouter_internal.fitted(d.model, 17) AS model,
    d.calls,
    liverouter_internal.fitted(d.failures, 9) AS failures,
    d.failovers,
    d.prompt_tokens,
    d.completion_tokens,
    trim_scale(round(d.cost_usd, 9)) AS cost_usd,
    d.latency_ms
FROM liverouter.usage_detail d;

CREATE VIEW liverouter.usage_daily AS
SELECT
    d.day,
    liverouter_internal.fitted(d.app, 9) AS app,
    liverouter_internal.fitted(d.name, 8) AS name,
    liverouter_internal.fitted(d.model, 20) AS model,
    d.calls,
    liverouter_internal.fitted(d.failures, 10) AS failures,
    d.failovers,
    d.prompt_tokens,
    d.completion_tokens,
    trim_scale(round(d.cost_usd, 9)) AS cost_usd,
    d.latency_ms
FROM liverouter.usage_daily_detail d;

COMMENT ON VIEW liverouter.rollout_detail IS
    'How each revision came to the processes: who applied it, who refused it, who is still to come, and how long it took.';
COMMENT ON COLUMN liverouter.rollout_detail.name IS
    'Which models the revision changed: NAME of rows llm:NAME, default for all else; NULL for none';
COMMENT ON VIEW liverouter_internal.rollout_outcomes IS 'Building block of view rollout_detail';
DO $$
DECLARE
    told record;
BEGIN
    FOR told IN  -- rollout_detail comes first: rollout takes its comments over
        SELECT format('COMMENT ON COLUMN %s.%I IS %L', v.oid::regclass, a.attname, col_description(d.oid, b.attnum)) AS statement
        FROM pg_class v
        JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
        JOIN pg_class d ON d.oid = 'liverouter_internal.rollout_outcomes'::regclass
        JOIN pg_attribute b ON b.attrelid = d.oid AND b.attname = a.attname
        WHERE v.oid = 'liverouter.rollout_detail'::regclass
    LOOP
        EXECUTE told.statement;
    END LOOP;
    FOR told IN
        SELECT format('COMMENT ON COLUMN %s.%I IS %L', v.oid::regclass, a.attname, col_description(d.oid, b.attnum)) AS statement
        FROM pg_class d
        JOIN pg_class v ON v.relnamespace = d.relnamespace AND v.relname || '_detail' = d.relname
        JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
        JOIN pg_attribute b ON b.attrelid = d.oid AND b.attname = a.attname
        WHERE d.relnamespace = 'liverouter'::regnamespace
        UNION ALL
        SELECT format('COMMENT ON VIEW %s IS %L', v.oid::regclass, format(
            '%s In psql it fits into 160 columns; whole, and with all columns: %s',
            obj_description(d.oid, 'pg_class'), d.oid::regclass))
        FROM pg_class d
        JOIN pg_class v ON v.relnamespace = d.relnamespace AND v.relname || '_detail' = d.relname
        WHERE d.relnamespace = 'liverouter'::regnamespace
    LOOP
        EXECUTE told.statement;
    END LOOP;
END $$;

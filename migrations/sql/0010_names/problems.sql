-- Each kind of problem is found by a function of its own, all of one shape; all_problems() puts them together.

CREATE FUNCTION liverouter.secret_problems(
    OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'warning', 'LR102', 'secrets.' || d.secret_name,
           format('no secret for %s/%s is stored', d.provider, d.model),
           format('Store it: liverouter set --secret %s', d.secret_name)
               || coalesce('; or set the environment variable ' || d.variable || ' of each process', '')
    FROM liverouter.desired_deployments() d
    WHERE d.secret_name IS NOT NULL AND NOT d.is_stored
      AND d.provider NOT IN (SELECT p.name FROM liverouter.providers p WHERE p.takes_ambient)
$$;
COMMENT ON FUNCTION liverouter.secret_problems() IS 'Problems: secrets that rows need and nobody stored';

CREATE FUNCTION liverouter.drifted(OUT label text, OUT login text, OUT instance uuid, OUT message text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
    WITH desired AS (
        SELECT d.name,
               array_agg(l.label ORDER BY d."order", l.label) AS places,
               array_agg(l.label) FILTER (WHERE d.position = 0) AS alone,
               bool_and(d.provider IS NOT NULL AND d.model IS NOT NULL) AND bool_or(d.position = 0) AS whole
        FROM liverouter.desired_deployments() d
        CROSS JOIN LATERAL (SELECT format('%s %s/%s',
            CASE d."order" WHEN 1 THEN 'primary' ELSE 'fallback' END, d.provider, d.model)) l (label)
        GROUP BY d.name
    ),
    active AS MATERIALIZED (
        SELECT f.instance, coalesce(d.value ->> 'name', 'default') AS name,
               array_agg(l.label ORDER BY (d.value ->> 'order')::integer, l.label) AS places,
               (array_agg(l.label ORDER BY d.position))[:1] AS first,
               bool_or(d.value ->> 'credential_source' LIKE 'secret %' AND NOT EXISTS (
                   SELECT FROM liverouter.secrets s
                   WHERE 'secret ' || s.name = d.value ->> 'credential_source'
                     AND s.fingerprint = d.value ->> 'credential_fingerprint')) AS otherwise_keyed
        FROM liverouter.fleet f
        CROSS JOIN LATERAL jsonb_array_elements(f.deployments) WITH ORDINALITY d (value, position)
        CROSS JOIN LATERAL (SELECT format('%s %s/%s',
            d.value ->> 'role', d.value ->> 'provider', d.value ->> 'model')) l (label)
        WHERE f.live
        GROUP BY f.instance, 2
    ),
    pair AS (
        SELECT a.instance, a.name, a.places, a.first, a.otherwise_keyed FROM active a
        UNION ALL  -- names of rows that a process runs nothing for
        SELECT i.instance, d.name, '{}', '{}', false
        FROM (SELECT DISTINCT a.instance FROM active a) i CROSS JOIN desired d
        WHERE NOT EXISTS (SELECT FROM active a WHERE a.instance = i.instance AND a.name = d.name)
    ),
    -- What can be compared: fallbacks that are in no row, or off by no row, are the environment's business.
    compared AS (
        SELECT f.label, p.role AS login, f.instance, a.name, a.otherwise_keyed,
               CASE WHEN fallbacks.known THEN a.places ELSE a.first END AS runs,
               CASE WHEN fallbacks.known THEN d.places ELSE d.alone END AS wanted
        FROM liverouter.fleet f
        JOIN liverouter.processes p ON p.instance = f.instance
        CROSS JOIN liverouter.head h
        CROSS JOIN liverouter.head_settings() settings
        JOIN pair a ON a.instance = f.instance
        LEFT JOIN desired d ON d.name = a.name
        CROSS JOIN LATERAL (SELECT a.name <> 'default'
            OR settings ? 'llm_fallback_config'
               AND (settings ? 'litellm_enable' OR f.litellm_enable IS DISTINCT FROM false)) fallbacks (known)
        WHERE f.live AND f.epoch IS NOT DISTINCT FROM liverouter.epoch()
          AND f.applied_revision IS NOT DISTINCT FROM h.revision
          AND (d.whole OR d.name IS NULL AND a.name <> 'default')
    )
    SELECT c.label, c.login, c.instance, CASE
        WHEN c.runs IS NOT DISTINCT FROM c.wanted
        THEN format('it runs%s with another credential than the stored one', named.by)
        ELSE format('it runs%s %s, rows say %s', named.by,
            coalesce(nullif(array_to_string(c.runs, ', '), ''), 'nothing'),
            coalesce(nullif(array_to_string(c.wanted, ', '), ''), 'nothing of it')) END
    FROM compared c
    CROSS JOIN LATERAL (SELECT CASE c.name WHEN 'default' THEN '' ELSE format(' for %s', c.name) END) named (by)
    WHERE c.runs IS DISTINCT FROM c.wanted OR c.otherwise_keyed
$$;
COMMENT ON FUNCTION liverouter.drifted() IS
    'Part of process_problems(): live processes that applied the head and run something else for a name than its row says';

CREATE FUNCTION liverouter.process_problems(
    OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text, OUT login text,
    OUT instance uuid)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
    WITH head AS (
        SELECT h.*, liverouter.epoch() AS epoch FROM liverouter.head h
    ),
    fleet AS (
        SELECT f.*,
               f.epoch IS NOT DISTINCT FROM h.epoch AND f.applied_revision IS NOT DISTINCT FROM h.revision AS current,
               (f.rejected_epoch, f.rejected_revision) IS NOT DISTINCT FROM (h.epoch, h.revision) AS refuses,
               f.applied_revision
                   || CASE WHEN f.epoch IS DISTINCT FROM h.epoch THEN ' of another line of history' ELSE '' END
                   AS applied,
               p.role AS login
        FROM liverouter.fleet f JOIN liverouter.processes p ON p.instance = f.instance CROSS JOIN head h
    )
    SELECT CASE WHEN p.value ->> 'severity' IN ('warning', 'info') THEN p.value ->> 'severity' ELSE 'error' END,
           coalesce(p.value ->> 'code', ''), f.label || coalesce(', ' || nullif(p.value ->> 'where', ''), ''),
           p.value ->> 'message', coalesce(p.value ->> 'hint', ''), f.login, f.instance
    FROM fleet f CROSS JOIN LATERAL jsonb_array_elements(f.problems) p
    WHERE f.live
    UNION ALL
    SELECT 'error', 'LR403', f.label,
           format('it rejected revision %s and %s', f.rejected_revision,
               coalesce('goes on with ' || f.applied, 'has none to serve with')),
           coalesce(nullif(f.last_error ->> 'hint', ''), 'SELECT * FROM liverouter.instances says why'),
           f.login, f.instance
    FROM fleet f
    WHERE f.live AND NOT f.current AND f.refuses
    UNION ALL
    SELECT 'warning', 'LR404', f.label,
           format('revision %s is pending there for %s s: it %s', h.revision,
               round(extract(epoch FROM clock_timestamp() - h.committed_at)),
               coalesce('runs ' || f.applied, 'has none to serve with')),
           'It follows by polling within a minute. If not, look at its log.', f.login, f.instance
    FROM fleet f CROSS JOIN head h
    WHERE f.live AND NOT f.current AND NOT f.refuses
      AND h.committed_at < clock_timestamp() - interval '5 seconds'
      AND f.started_at < clock_timestamp() - interval '5 seconds'
    UNION ALL
    SELECT 'warning', 'LR210', f.label,
           'it hears of changes by polling only' || coalesce(': ' || nullif(f.mode_cause, ''), ''),
           CASE f.mode_cause
               WHEN 'pooler' THEN 'Give it a direct DSN for LISTEN: LIVEROUTER_LISTEN_URL'
               WHEN 'standby' THEN 'Name the primary in its DSN: a standby delivers no notifications'
               WHEN 'half_open' THEN 'Something between drops idle connections: it reconnects by itself'
               WHEN 'redis' THEN 'Redis, which LIVEROUTER_WAKE_URL names, passes nothing on: is it reachable from there?'
               ELSE 'It tries again by itself; is the database reachable from there?' END,
           f.login, f.instance
    FROM fleet f
    WHERE f.live AND f.mode = 'poll_only'
    UNION ALL
    SELECT 'warning', 'LR407', f.label,
           format('no report for %s s, and it did not say that it ends',
               round(extract(epoch FROM clock_timestamp() - f.heartbeat_at))),
           'It was killed, hangs, or cannot reach this database. It leaves this list an hour after its last report.',
           f.login, f.instance
    FROM fleet f
    WHERE NOT f.live AND f.bye_at IS NULL AND f.heartbeat_at > clock_timestamp() - interval '1 hour'
    UNION ALL
    SELECT 'warning', 'LR408', d.label, d.message,
           'Compare liverouter.active_config with liverouter.desired_config; restart it if this stays',
           d.login, d.instance
    FROM liverouter.drifted() d
$$;
COMMENT ON FUNCTION liverouter.process_problems() IS
    'Problems: what processes report, and what is to be said of them: behind, deaf, silent, on another config';

CREATE FUNCTION liverouter.server_problems(
    OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'error', 'LR208', 'database', format('the notification queue is %s %% full', round(100 * q.usage::numeric)),
           'A session that listens sits in an open transaction: see pg_stat_activity, state ''idle in transaction'''
    FROM (SELECT pg_notification_queue_usage() AS usage) q
    WHERE q.usage > 0.5
$$;
COMMENT ON FUNCTION liverouter.server_problems() IS 'Problems: the server';

-- Whatever the planner believes of so many parts, compiling them takes seconds and running them milliseconds. A setting
-- of a session would not come through every pooler; a function's own does.
CREATE FUNCTION liverouter.all_problems(
    OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text, OUT login text,
    OUT instance uuid)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT DISTINCT p.* FROM liverouter.process_problems() p
        UNION ALL
        SELECT p.*, NULL, NULL FROM liverouter.server_problems() p;
    -- What SQL sees of rows is silent where a process runs the head: it knows its environment.
    IF NOT EXISTS (
        SELECT FROM liverouter.fleet f CROSS JOIN liverouter.head h
        WHERE f.live AND f.applied_revision = h.revision AND f.epoch = liverouter.epoch())
    THEN
        RETURN QUERY
            SELECT p.*, NULL::text, NULL::uuid FROM liverouter.judge_settings(liverouter.head_settings()) p
            UNION
            SELECT p.*, NULL, NULL FROM liverouter.secret_problems() p;
    END IF;
END $$;
COMMENT ON FUNCTION liverouter.all_problems() IS 'The rows of view problems_by_login';

CREATE OR REPLACE VIEW liverouter.problems_by_login WITH (security_barrier) AS
SELECT p.severity, p.code, p.object, p.message, p.hint, p.login, p.instance FROM liverouter.all_problems() p;
DROP FUNCTION liverouter.find_problems();

-- DISTINCT ON, unlike DISTINCT, sorts to find what is double: errors come first.
CREATE OR REPLACE VIEW liverouter.problems WITH (security_barrier) AS
SELECT DISTINCT ON (array_position('{error,warning,info}', p.severity), p.code, p.object, p.message, p.hint)
    p.severity, p.code, p.object, p.message, p.hint
FROM liverouter.problems_by_login p;
COMMENT ON COLUMN liverouter.problems.severity IS
    'error: somebody must act; warning: calls are served; info: nobody has to act';
COMMENT ON COLUMN liverouter.problems_by_login.severity IS
    'error: somebody must act; warning: calls are served; info: nobody has to act';

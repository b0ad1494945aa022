-- Whatever the planner believes of so many parts, compiling them takes seconds and running them milliseconds. A setting
-- of a session would not come through every pooler; a function's own does.
CREATE FUNCTION liverouter.find_problems(
    OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text, OUT login text,
    OUT instance uuid)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
WITH config AS (
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') AS settings FROM liverouter.settings s
    WHERE s.key IN ('llm_provider', 'llm_model', 'llm_fallback_config', 'litellm_enable')
),
head AS (
    SELECT h.*, liverouter.epoch() AS epoch FROM liverouter.head h
),
fleet AS (
    SELECT f.*, f.epoch IS NOT DISTINCT FROM h.epoch AND f.applied_revision IS NOT DISTINCT FROM h.revision AS current,
           (f.rejected_epoch, f.rejected_revision) IS NOT DISTINCT FROM (h.epoch, h.revision) AS refuses,
           f.applied_revision || CASE WHEN f.epoch IS DISTINCT FROM h.epoch THEN ' of another line of history' ELSE '' END
               AS applied,
           p.role AS login
    FROM liverouter.fleet f JOIN liverouter.processes p ON p.instance = f.instance CROSS JOIN head h
),
desired AS (
    SELECT array_agg(format('%s %s/%s', d.role, d.provider, d.model)
                     ORDER BY d."order", d.role DESC, d.provider, d.model) AS places,
           array_agg(format('%s %s/%s', d.role, d.provider, d.model)) FILTER (WHERE d.place = 'settings') AS alone,
           bool_and(d.provider IS NOT NULL AND d.model IS NOT NULL) AND bool_or(d.place = 'settings') AS whole
    FROM liverouter.desired_config d
),
active AS (
    SELECT a.instance,
           array_agg(format('%s %s/%s', a.role, a.provider, a.model)
                     ORDER BY a."order", a.role DESC, a.provider, a.model) AS places,
           bool_or(a.credential_source LIKE 'secret %' AND NOT EXISTS (
               SELECT FROM liverouter.secrets s
               WHERE 'secret ' || s.name = a.credential_source AND s.fingerprint = a.fingerprint)) AS otherwise_keyed
    FROM liverouter.active_config a
    GROUP BY a.instance
),
-- What of it can be compared: fallbacks that are in no row, or off by no row, are the environment's business.
drift AS (
    SELECT f.label, f.login, f.instance, s.runs, s.wanted, a.otherwise_keyed
    FROM fleet f CROSS JOIN desired d CROSS JOIN config c JOIN active a ON a.instance = f.instance
    CROSS JOIN LATERAL (
        SELECT CASE WHEN fallbacks.known THEN a.places
                    ELSE ARRAY[format('%s %s/%s', p ->> 'role', p ->> 'provider', p ->> 'model')] END,
               CASE WHEN fallbacks.known THEN d.places ELSE d.alone END
        FROM (VALUES (f.deployments -> 0)) first (p), (VALUES (
            c.settings ? 'llm_fallback_config'
            AND (c.settings ? 'litellm_enable' OR f.litellm_enable IS DISTINCT FROM false))) fallbacks (known)
    ) s (runs, wanted)
    WHERE f.live AND f.current AND d.whole
),
-- What rows lack or hold wrong, as far as SQL can see; silent where a process runs the head: it knows its environment.
setting AS (
    SELECT 'LR100', 'error', 'settings.' || want.key, format('''%s'' is not set', want.key),
           format('Set it: liverouter set %s=%s; or the environment variable %s of each process',
               want.key, want.example, upper(want.key))
    FROM config c, (VALUES ('llm_provider', 'anthropic'), ('llm_model', 'claude-sonnet-4-6')) want (key, example)
    WHERE coalesce(c.settings -> want.key, 'null') = 'null'
    UNION ALL
    SELECT 'LR103', 'error', 'settings.' || wrong.key,
           format('%s stands where %s belongs', jsonb_typeof(c.settings -> wrong.key), wrong.want),
           format('Write it like this: %s', wrong.example)
    FROM config c, (VALUES
        ('llm_provider', 'text', '{string,"null"}'::text[], '"anthropic"'),
        ('llm_model', 'text', '{string,"null"}', '"claude-sonnet-4-6"'),
        ('litellm_enable', 'true or false', '{boolean,"null"}', 'true'),
        ('llm_fallback_config', 'an object, a list of them or null', '{object,array,"null"}',
         '{"provider": "openai", "model": "gpt-4o"}')
    ) wrong (key, want, kinds, example)
    WHERE c.settings ? wrong.key AND jsonb_typeof(c.settings -> wrong.key) <> ALL (wrong.kinds)
    UNION ALL
    SELECT 'LR101', 'error', CASE d.place WHEN 'settings' THEN 'settings.llm_provider' ELSE d.place || '.provider' END,
           format('provider ''%s'' is not one of %s', left(d.provider, 60), known.names),
           'Choose one of them'
    FROM liverouter.desired_config d
    CROSS JOIN (SELECT string_agg(p.name, ', ' ORDER BY p.name COLLATE "C") FROM liverouter.providers p) known (names)
    WHERE d.provider NOT IN (SELECT p.name FROM liverouter.providers p)
    UNION ALL
    SELECT 'LR100', 'error', d.place || '.' || missing.member, format('the fallback has no ''%s''', missing.member),
           'Write it like this: {"provider": "openai", "model": "gpt-4o"}'
    FROM liverouter.desired_config d
    CROSS JOIN LATERAL (VALUES ('provider', d.provider), ('model', d.model)) missing (member, value)
    WHERE d.place <> 'settings' AND missing.value IS NULL
    UNION ALL
    SELECT 'LR102', 'warning', 'secrets.' || secret.name, format('no secret for %s/%s is stored', d.provider, d.model),
           format('Store it: liverouter set --secret %s', secret.name)
               || coalesce('; or set the environment variable ' || looked_for.variable || ' of each process', '')
    FROM liverouter.desired_config d
    CROSS JOIN config c
    CROSS JOIN LATERAL (
        SELECT substring(d.credential_source FROM '^environment (.*)'),
               jsonb_path_query_first(c.settings, ('$' || substr(d.place, length('settings') + 1))::jsonpath)
    ) looked_for (variable, entry)
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN looked_for.variable IS NULL THEN substr(d.credential_source, length('secret ') + 1)
            WHEN looked_for.variable LIKE 'LIVEROUTER\_SECRET\_%' THEN (  -- of which no name can be made again
                SELECT m.value ->> 'secret' FROM jsonb_each(looked_for.entry) m
                WHERE 'LIVEROUTER_SECRET_' || regexp_replace(upper(m.value ->> 'secret'), '[^A-Z0-9_]', '_', 'g')
                    = looked_for.variable
                LIMIT 1)
            ELSE lower(looked_for.variable) END
    ) secret (name)
    WHERE d.credential_source IS NOT NULL AND d.fingerprint IS NULL
      AND d.provider NOT IN (SELECT p.name FROM liverouter.providers p WHERE p.takes_ambient)
),
instance AS (
    SELECT coalesce(p.value ->> 'code', ''), CASE p.value ->> 'severity' WHEN 'warning' THEN 'warning' ELSE 'error' END,
           f.label || coalesce(', ' || nullif(p.value ->> 'where', ''), ''),
           p.value ->> 'message', coalesce(p.value ->> 'hint', ''), f.login, f.instance
    FROM fleet f CROSS JOIN LATERAL jsonb_array_elements(f.problems) p
    WHERE f.live
    UNION ALL
    SELECT 'LR403', 'error', f.label,
           format('it rejected revision %s and %s', f.rejected_revision,
               coalesce('goes on with ' || f.applied, 'has none to serve with')),
           coalesce(nullif(f.last_error ->> 'hint', ''), 'SELECT * FROM liverouter.instances says why'),
           f.login, f.instance
    FROM fleet f
    WHERE f.live AND NOT f.current AND f.refuses
    UNION ALL
    SELECT 'LR404', 'warning', f.label,
           format('revision %s is pending there for %s s: it %s', h.revision,
               round(extract(epoch FROM clock_timestamp() - h.committed_at)),
               coalesce('runs ' || f.applied, 'has none to serve with')),
           'It follows by polling within a minute. If not, look at its log.', f.login, f.instance
    FROM fleet f CROSS JOIN head h
    WHERE f.live AND NOT f.current AND NOT f.refuses
      AND h.committed_at < clock_timestamp() - interval '5 seconds'
      AND f.started_at < clock_timestamp() - interval '5 seconds'
    UNION ALL
    SELECT 'LR210', 'warning', f.label,
           'it hears of changes by polling only' || coalesce(': ' || nullif(f.mode_cause, ''), ''),
           CASE f.mode_cause
               WHEN 'pooler' THEN 'Give it a direct DSN for LISTEN: LIVEROUTER_LISTEN_URL'
               WHEN 'standby' THEN 'Name the primary in its DSN: a standby delivers no notifications'
               WHEN 'half_open' THEN 'Something between drops idle connections: it reconnects by itself'
               ELSE 'It tries again by itself; is the database reachable from there?' END,
           f.login, f.instance
    FROM fleet f
    WHERE f.live AND f.mode = 'poll_only'
    UNION ALL
    SELECT 'LR407', 'warning', f.label,
           format('no report for %s s, and it did not say that it ends',
               round(extract(epoch FROM clock_timestamp() - f.heartbeat_at))),
           'It was killed, hangs, or cannot reach this database. It leaves this list an hour after its last report.',
           f.login, f.instance
    FROM fleet f
    WHERE NOT f.live AND f.bye_at IS NULL AND f.heartbeat_at > clock_timestamp() - interval '1 hour'
    UNION ALL
    SELECT 'LR408', 'warning', d.label,
           CASE WHEN d.runs IS DISTINCT FROM d.wanted
                THEN format('it runs %s, rows say %s', array_to_string(d.runs, ', '), array_to_string(d.wanted, ', '))
                ELSE 'it runs with another credential than the stored one' END,
           'Compare liverouter.active_config with liverouter.desired_config; restart it if this stays',
           d.login, d.instance
    FROM drift d
    WHERE d.runs IS DISTINCT FROM d.wanted OR d.otherwise_keyed
),
server AS (
    SELECT 'LR208', 'error', 'database', format('the notification queue is %s %% full', round(100 * q.usage::numeric)),
           'A session that listens sits in an open transaction: see pg_stat_activity, state ''idle in transaction'''
    FROM (SELECT pg_notification_queue_usage() AS usage) q
    WHERE q.usage > 0.5
)
SELECT p.severity, p.code, p.object, p.message, p.hint, p.login, p.instance
FROM (
    SELECT s.*, NULL::text, NULL::uuid FROM setting s WHERE NOT EXISTS (SELECT FROM fleet f WHERE f.live AND f.current)
    UNION
    SELECT * FROM instance
    UNION
    SELECT s.*, NULL, NULL FROM server s
) p (code, severity, object, message, hint, login, instance);
END $$;
COMMENT ON FUNCTION liverouter.find_problems() IS 'The rows of view problems_by_login';

CREATE OR REPLACE VIEW liverouter.problems_by_login WITH (security_barrier) AS
SELECT p.severity, p.code, p.object, p.message, p.hint, p.login, p.instance FROM liverouter.find_problems() p;

-- DISTINCT ON, unlike DISTINCT, sorts to find what is double: errors come before warnings.
CREATE OR REPLACE VIEW liverouter.problems WITH (security_barrier) AS
SELECT DISTINCT ON (p.severity, p.code, p.object, p.message, p.hint)
    p.severity, p.code, p.object, p.message, p.hint
FROM liverouter.problems_by_login p;

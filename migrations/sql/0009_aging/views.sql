-- Views order nothing: whoever reads them says in which order, and sorts no more than he wants.

CREATE OR REPLACE VIEW liverouter.instances WITH (security_barrier) AS
SELECT
    f.app,
    f.host,
    f.pid,
    f.state,
    f.applied_revision,
    f.rejected_revision,
    f.last_error ->> 'code' AS error_code,
    f.last_error ->> 'message' AS error,
    f.last_error ->> 'hint' AS hint,
    f.mode,
    f.mode_cause,
    date_trunc('second', f.heartbeat_at) AS heartbeat_at,
    date_trunc('second', f.since) AS since,
    f.applied_at,
    f.generation,
    f.litellm_enable,
    jsonb_path_query_first(f.listener, '$.backend_pid ? (@ >= 0 && @ < 1e18)')::bigint AS listener_pid,
    jsonb_path_query_first(f.listener, '$.reconnects ? (@ >= 0 && @ < 1e18)')::bigint AS reconnects,
    jsonb_path_query_first(f.listener, '$.last_probe_age_ms ? (@ >= 0 && @ < 1e18)')::bigint AS probe_age_ms,
    f.versions ->> 'liverouter' AS liverouter,
    f.versions ->> 'litellm' AS litellm,
    f.versions ->> 'python' AS python,
    f.labels,
    date_trunc('second', f.started_at) AS started_at,
    f.epoch,
    f.instance,
    p.role
FROM liverouter.fleet f
JOIN liverouter.processes p ON p.instance = f.instance
WHERE f.bye_at IS NULL AND f.heartbeat_at > clock_timestamp() - interval '1 day';

CREATE OR REPLACE VIEW liverouter.active_config WITH (security_barrier) AS
SELECT
    f.app,
    f.host,
    f.pid,
    f.applied_revision AS revision,
    d.value ->> 'role' AS role,
    (d.value ->> 'order')::integer AS "order",
    d.value ->> 'provider' AS provider,
    d.value ->> 'model' AS model,
    d.value -> 'params' AS params,
    d.value ->> 'credential_source' AS credential_source,
    d.value ->> 'credential_fingerprint' AS fingerprint,
    CASE WHEN (d.value ->> 'cooling_until')::timestamptz > clock_timestamp()
         THEN date_trunc('second', (d.value ->> 'cooling_until')::timestamptz) END AS cooling_until,
    f.applied_at,
    (d.value ->> 'weight')::integer AS weight,
    d.value ->> 'endpoint' AS endpoint,
    d.value ->> 'deployment_id' AS deployment_id,
    f.instance
FROM liverouter.fleet f
CROSS JOIN LATERAL jsonb_array_elements(f.deployments) d (value)
WHERE f.live;

CREATE OR REPLACE VIEW liverouter.desired_config WITH (security_barrier) AS
WITH config AS (
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') AS settings FROM liverouter.settings s
    WHERE s.key IN ('llm_provider', 'llm_model', 'llm_fallback_config', 'llm_temperature', 'llm_max_tokens')
),
entry AS (
    SELECT 'settings' AS place, 0 AS position, '{}'::jsonb AS own,
           c.settings ->> 'llm_provider' AS provider, c.settings ->> 'llm_model' AS model
    FROM config c
    WHERE c.settings ->> 'llm_provider' IS NOT NULL OR c.settings ->> 'llm_model' IS NOT NULL
    UNION ALL
    SELECT 'settings.llm_fallback_config' || CASE jsonb_typeof(c.settings -> 'llm_fallback_config')
               WHEN 'array' THEN format('[%s]', e.position - 1) ELSE '' END,
           e.position::integer, e.value, e.value ->> 'provider', e.value ->> 'model'
    FROM config c
    CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(c.settings -> 'llm_fallback_config')
        WHEN 'array' THEN c.settings -> 'llm_fallback_config'
        WHEN 'object' THEN jsonb_build_array(c.settings -> 'llm_fallback_config')
        END) WITH ORDINALITY e (value, position)
    WHERE e.position <= 100 AND jsonb_typeof(e.value) = 'object'
),
deployment AS (
    SELECT e.place, e.position, e.own,
           coalesce(jsonb_path_query_first(e.own, '$.order ? (@ >= 1 && @ <= 1000)')::integer, e.position + 1)
               AS "order",
           btrim(e.provider, blank.characters) AS provider, btrim(e.model, blank.characters) AS model
    FROM entry e, (VALUES (  -- what processes strip: all that is blank in Unicode
        E' \t\n\u000b\f\r\u001c\u001d\u001e\u001f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006'
        '\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')) blank (characters)
)
SELECT
    h.revision,
    CASE e."order" WHEN 1 THEN 'primary' ELSE 'fallback' END AS role,
    e."order",
    e.provider,
    e.model,
    jsonb_strip_nulls(jsonb_build_object(
        'temperature', coalesce(nullif(e.own -> 'temperature', 'null'), c.settings -> 'llm_temperature'),
        'max_tokens', coalesce(nullif(e.own -> 'max_tokens', 'null'), c.settings -> 'llm_max_tokens'))) AS params,
    CASE WHEN credential.stored OR upper(credential.name) = 'KEYS' OR upper(credential.name) LIKE '%\_FILE'
             THEN 'secret ' || credential.name  -- the latter two have no variable of their own
         -- a name that is no provider's own is looked for under one that only references have
         WHEN credential.own THEN 'environment ' || upper(credential.name)
         ELSE 'environment LIVEROUTER_SECRET_' || regexp_replace(upper(credential.name), '[^A-Z0-9_]', '_', 'g') END
        AS credential_source,
    credential.fingerprint,
    coalesce(jsonb_path_query_first(e.own, '$.weight ? (@ >= 1 && @ <= 1000)')::integer, 1) AS weight,
    e.place
FROM deployment e
CROSS JOIN config c
CROSS JOIN liverouter.head h
LEFT JOIN LATERAL (
    SELECT w.name, s.name IS NOT NULL AS stored, s.fingerprint,
           EXISTS (SELECT FROM liverouter.providers p WHERE w.name = ANY (p.secrets)) AS own
    FROM (
        SELECT coalesce(
                   e.own -> k.name ->> 'secret', e.own -> nullif(k.alias, '') ->> 'secret', k.name) AS name,
               k.preference
        FROM liverouter.providers p
        CROSS JOIN unnest(p.secrets, p.secret_aliases) WITH ORDINALITY k (name, alias, preference)
        WHERE p.name = e.provider
    ) w
    LEFT JOIN liverouter.secrets s ON s.name = w.name
    ORDER BY s.name IS NULL, w.preference
    LIMIT 1
) credential ON true;

CREATE OR REPLACE VIEW liverouter.secret_keys WITH (security_barrier) AS
SELECT k.key_id, count(*) FILTER (WHERE k.current) AS secrets, count(*) FILTER (WHERE NOT k.current) AS in_history
FROM (
    SELECT s.key_id, true FROM liverouter.secrets s
    UNION ALL
    SELECT split_part(e.value ->> 'sealed', ':', 2), false
    FROM liverouter.revision_log r CROSS JOIN LATERAL jsonb_each(r.sealed) e
) k (key_id, current)
GROUP BY k.key_id;

-- What report() is made of.

DROP FUNCTION liverouter.whole_number(jsonb), liverouter.add_usage(uuid, jsonb, timestamptz);

CREATE OR REPLACE FUNCTION liverouter.report_fault(doc jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN jsonb_typeof(doc) IS DISTINCT FROM 'object' THEN 'it is not a JSON object'
        WHEN pg_column_size(doc) > 1000000 THEN 'it is larger than 1 MB'
        WHEN coalesce(doc ->> 'instance', '') !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            THEN 'instance is not a UUID'
        WHEN coalesce(doc ->> 'key', '') !~ '^[0-9A-Za-z_-]{32,128}$' THEN 'key is not 32 to 128 letters and digits'
        WHEN doc ->> 'state' NOT IN ('initializing', 'live', 'stale', 'poll_only', 'offline')
            THEN 'state is none of ours'
        WHEN doc ->> 'mode' NOT IN ('listen', 'poll_only', 'none') THEN 'mode is none of ours'
        ELSE (
            SELECT format('%s is not a JSON %s', m.key, want.kind)
            FROM jsonb_each(doc) m
            JOIN (VALUES
                ('labels', 'object'), ('versions', 'object'), ('listener', 'object'), ('last_error', 'object'),
                ('problems', 'array'), ('deployments', 'array'), ('applies', 'array'), ('usage', 'array')
            ) want (key, kind) ON want.key = m.key
            WHERE jsonb_typeof(m.value) NOT IN (want.kind, 'null')
               OR want.kind = 'array' AND jsonb_path_exists(m.value, '$[*] ? (@.type() != "object")')
            UNION ALL
            SELECT format('%s is longer than 4000 characters', m.key)
            FROM jsonb_each(doc) m
            WHERE m.key IN ('labels', 'versions') AND jsonb_typeof(m.value) = 'object' AND (
                -- never the whole as text: a number of a few bytes can have 131072 digits
                SELECT sum(length(w.key)
                    + CASE jsonb_typeof(w.value) WHEN 'string' THEN length(w.value #>> '{}') ELSE 1 END)
                FROM jsonb_each(m.value) w) > 4000
            LIMIT 1)
    END
$$;

CREATE OR REPLACE FUNCTION liverouter.report_problem(problem jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'severity', CASE problem -> 'severity' WHEN '"warning"' THEN 'warning' ELSE 'error' END,
        'code', coalesce(substring(liverouter.clean_text(problem -> 'code', 20) from '^LR[0-9]{3}$'), 'LR699'),
        'where', coalesce(liverouter.clean_text(problem -> 'where', 300), ''),
        'message', coalesce(nullif(liverouter.clean_text(problem -> 'message', 1000), ''), 'it gave no reason'),
        'hint', coalesce(liverouter.clean_text(problem -> 'hint', 1000), ''),
        'revision', liverouter.clean_number(problem -> 'revision', 9007199254740991)::bigint)
    WHERE jsonb_typeof(problem) = 'object'
$$;
COMMENT ON FUNCTION liverouter.report_problem(jsonb) IS
    'Part of report(): one of its problems, or its last error, every member there and cut to size; LR699 where the '
    'code is none';

CREATE OR REPLACE FUNCTION liverouter.report_problems(problems jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(s.value ORDER BY s.position), '[]')
    FROM (
        SELECT c.value, p.position, sum(pg_column_size(c.value)) OVER (ORDER BY p.position) AS size
        FROM jsonb_array_elements(CASE jsonb_typeof(problems) WHEN 'array' THEN problems END)
            WITH ORDINALITY p (value, position)
        CROSS JOIN LATERAL liverouter.report_problem(p.value) c (value)
        WHERE p.position <= 20 AND jsonb_typeof(p.value) = 'object') s
    WHERE s.size <= 30000
$$;
COMMENT ON FUNCTION liverouter.report_problems(jsonb) IS
    'Part of report(): its problems, the first twenty, and no more than 30 kB of them';

CREATE OR REPLACE FUNCTION liverouter.report_deployments(deployments jsonb, moment timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(s.value ORDER BY s.position), '[]') FROM (
        SELECT c.value, d.position, sum(pg_column_size(c.value)) OVER (ORDER BY d.position) AS size
        FROM jsonb_array_elements(CASE jsonb_typeof(deployments) WHEN 'array' THEN deployments END)
            WITH ORDINALITY d (value, position)
        CROSS JOIN LATERAL jsonb_build_object(
            'deployment_id', coalesce(liverouter.clean_text(d.value -> 'deployment_id', 300), '?'),
            'role', CASE d.value -> 'role' WHEN '"primary"' THEN 'primary' ELSE 'fallback' END,
            'order', greatest(coalesce(liverouter.clean_number(d.value -> 'order', 1000), d.position), 1)::integer,
            'weight', coalesce(liverouter.clean_number(d.value -> 'weight', 1000), 1)::integer,
            'provider', coalesce(liverouter.clean_text(d.value -> 'provider', 100), '?'),
            'model', coalesce(liverouter.clean_text(d.value -> 'model', 200), '?'),
            'params', CASE
                WHEN d.value -> 'params' = '{}' OR jsonb_typeof(d.value -> 'params') IS DISTINCT FROM 'object'
                     OR pg_column_size(d.value -> 'params') > 8000 THEN '{}'
                ELSE liverouter.clean_json(d.value -> 'params') END,
            'endpoint', liverouter.clean_text(d.value -> 'endpoint', 500),
            'credential_source', liverouter.clean_text(d.value -> 'credential_source', 300),
            'credential_fingerprint', liverouter.clean_text(d.value -> 'credential_fingerprint', 8),
            'cooling_until', CASE WHEN jsonb_typeof(d.value -> 'cooling_ms') = 'number' THEN moment + make_interval(
                secs => liverouter.clean_number(d.value -> 'cooling_ms', 2147483647)::double precision / 1000) END) c (value)
        WHERE d.position <= 30 AND jsonb_typeof(d.value) = 'object') s
    WHERE s.size <= 40000
$$;
COMMENT ON FUNCTION liverouter.report_deployments(jsonb, timestamptz) IS
    'Part of report(): its deployments, every member there as the views promise it, with a time instead of the '
    'milliseconds they go on cooling; the first thirty, and no more than 40 kB of them';

CREATE OR REPLACE FUNCTION liverouter.report_applies(
    doc jsonb, moment timestamptz, OUT revision bigint, OUT epoch text, OUT outcome text, OUT stage text,
    OUT timed boolean, OUT finished_at timestamptz, OUT read_ms double precision, OUT validate_ms double precision,
    OUT build_ms double precision, OUT warm_ms double precision, OUT code text, OUT message text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT liverouter.clean_number(a.value -> 'revision', 9007199254740991)::bigint,
           liverouter.clean_text(a.value -> 'epoch', 200), a.value ->> 'outcome',
           liverouter.clean_text(a.value -> 'stage', 20), a.value -> 'timed' IS DISTINCT FROM 'false',
           moment - make_interval(
               secs => coalesce(liverouter.clean_number(a.value -> 'age_ms', 604800000), 0)::double precision / 1000),
           liverouter.clean_number(a.value -> 'read_ms', 1e12)::double precision,
           liverouter.clean_number(a.value -> 'validate_ms', 1e12)::double precision,
           liverouter.clean_number(a.value -> 'build_ms', 1e12)::double precision,
           liverouter.clean_number(a.value -> 'warm_ms', 1e12)::double precision,
           liverouter.clean_text(a.value -> 'code', 20), liverouter.clean_text(a.value -> 'message', 1000)
    FROM jsonb_array_elements(CASE jsonb_typeof(doc -> 'applies') WHEN 'array' THEN doc -> 'applies' END)
        WITH ORDINALITY a (value, position)
    WHERE a.position <= 100 AND a.value -> 'outcome' IN ('"applied"', '"rejected"')
      AND jsonb_typeof(a.value -> 'revision') = 'number'
$$;

CREATE OR REPLACE FUNCTION liverouter.summed(counts jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(g.class, g.n), '{}') FROM (
        SELECT CASE WHEN s.place <= 30 THEN s.class ELSE 'other' END AS class, least(sum(s.n), 1e12)::bigint AS n
        FROM (
            SELECT liverouter.clean_text(to_jsonb(c.key), 100) AS class,
                   sum(liverouter.clean_number(c.value, 1e12)) AS n,
                   row_number() OVER (ORDER BY sum(liverouter.clean_number(c.value, 1e12)) DESC, min(c.key)) AS place
            FROM jsonb_array_elements(counts) e
            CROSS JOIN LATERAL (
                SELECT * FROM jsonb_each(CASE jsonb_typeof(e) WHEN 'object' THEN e END) LIMIT 100) c
            WHERE jsonb_typeof(c.value) = 'number'
            GROUP BY 1) s
        GROUP BY 1) g
$$;
COMMENT ON FUNCTION liverouter.summed(jsonb) IS
    'Adds up counts by class: [{"a": 1}, {"a": 2, "b": 1}] becomes {"a": 3, "b": 1}; what is not among the thirty most '
    'frequent is "other"';

CREATE FUNCTION liverouter.add_usage(instance uuid, usage jsonb, moment timestamptz) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    WITH told AS (
        SELECT
            -- a process whose clock is off must not write into the future, nor where it would be pruned at once
            date_trunc('minute', least(greatest(
                coalesce(liverouter.clean_time(x.value -> 'minute'), moment), moment - interval '7 days'), moment))
                AS minute,
            coalesce(liverouter.clean_text(x.value -> 'deployment_id', 300), '') AS deployment_id,
            CASE x.value -> 'role' WHEN '"primary"' THEN 'primary' ELSE 'fallback' END AS role,
            coalesce(liverouter.clean_text(x.value -> 'provider', 100), '') AS provider,
            coalesce(liverouter.clean_text(x.value -> 'model', 200), '') AS model,
            x.value -> 'failures' AS failures,
            coalesce(liverouter.clean_number(x.value -> 'calls', 1e12), 0) AS calls,
            coalesce(liverouter.clean_number(x.value -> 'failovers', 1e12), 0) AS failovers,
            coalesce(liverouter.clean_number(x.value -> 'prompt_tokens', 1e12), 0) AS prompt_tokens,
            coalesce(liverouter.clean_number(x.value -> 'completion_tokens', 1e12), 0) AS completion_tokens,
            coalesce(liverouter.clean_number(x.value -> 'cost_usd', 1e9), 0) AS cost_usd,
            coalesce(liverouter.clean_number(x.value -> 'latency_ms_sum', 1e15), 0) AS latency_ms_sum,
            coalesce(liverouter.clean_number(x.value -> 'latency_ms_max', 1e12), 0) AS latency_ms_max
        FROM jsonb_array_elements(CASE jsonb_typeof(usage) WHEN 'array' THEN usage END)
            WITH ORDINALITY x (value, position)
        WHERE x.position <= 2000
    ),
    added AS (
        INSERT INTO liverouter.usage_minutes AS m
            (instance, minute, deployment_id, role, provider, model, calls, failures, failovers, prompt_tokens,
             completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
        SELECT
            add_usage.instance, u.minute, u.deployment_id, u.role, max(u.provider), max(u.model),
            least(sum(u.calls), 1e12),
            CASE WHEN bool_and(u.failures = '{}') THEN '{}' ELSE liverouter.summed(jsonb_agg(u.failures)) END,
            least(sum(u.failovers), 1e12), least(sum(u.prompt_tokens), 1e12), least(sum(u.completion_tokens), 1e12),
            least(sum(u.cost_usd), 1e9), least(sum(u.latency_ms_sum), 1e15), max(u.latency_ms_max)
        FROM told u
        GROUP BY u.minute, u.deployment_id, u.role
        ON CONFLICT ON CONSTRAINT usage_minutes_pkey DO UPDATE SET
            calls = least(m.calls + excluded.calls, 1000000000000),
            failures = CASE WHEN excluded.failures = '{}' THEN m.failures
                ELSE liverouter.summed(jsonb_build_array(m.failures, excluded.failures)) END,
            failovers = least(m.failovers + excluded.failovers, 1000000000000),
            prompt_tokens = least(m.prompt_tokens + excluded.prompt_tokens, 1000000000000),
            completion_tokens = least(m.completion_tokens + excluded.completion_tokens, 1000000000000),
            cost_usd = least(m.cost_usd + excluded.cost_usd, 1000000000),
            latency_ms_sum = least(m.latency_ms_sum + excluded.latency_ms_sum, 1e15),
            latency_ms_max = greatest(m.latency_ms_max, excluded.latency_ms_max)
        -- a large one counts as several, also where it grew: what is bounded is the room they take
        RETURNING (m.xmax = 0)::integer + (pg_column_size(m.failures) + octet_length(m.deployment_id)
            + octet_length(m.provider) + octet_length(m.model)) / 250 AS rows
    )
    SELECT coalesce(sum(a.rows), 0) FROM added a
$$;
COMMENT ON FUNCTION liverouter.add_usage(uuid, jsonb, timestamptz) IS
    'Part of report(): adds up its counts, two thousand at most, and returns how many rows that made; one counts again for each '
    '250 bytes of its text';

-- What report() is made of.

CREATE FUNCTION liverouter.report_fault(doc jsonb) RETURNS text
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
            FROM jsonb_each(doc) m WHERE m.key IN ('labels', 'versions') AND length(m.value::text) > 4000
            LIMIT 1)
    END
$$;
COMMENT ON FUNCTION liverouter.report_fault(jsonb) IS 'What is wrong with the shape of a report, or NULL';

CREATE FUNCTION liverouter.whole_number(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN jsonb_typeof(value) = 'number'
                THEN round(least(greatest(value::numeric, 0), 2147483647))::bigint END
$$;
COMMENT ON FUNCTION liverouter.whole_number(jsonb) IS
    'Part of report(): a number from 0 to 2147483647, or NULL; whatever a process reports, no view breaks on it';

CREATE FUNCTION liverouter.report_problem(problem jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'severity', left(problem ->> 'severity', 20),
        'code', left(problem ->> 'code', 20),
        'where', left(problem ->> 'where', 300),
        'message', left(problem ->> 'message', 1000),
        'hint', left(problem ->> 'hint', 1000),
        'revision', liverouter.whole_number(problem -> 'revision'))
$$;
COMMENT ON FUNCTION liverouter.report_problem(jsonb) IS
    'Part of report(): one of its problems, or its last error, cut to size';

CREATE FUNCTION liverouter.report_problems(problems jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(liverouter.report_problem(p.value) ORDER BY p.position), '[]')
    FROM jsonb_array_elements(problems) WITH ORDINALITY p (value, position)
    WHERE p.position <= 50
$$;
COMMENT ON FUNCTION liverouter.report_problems(jsonb) IS 'Part of report(): its problems, the first fifty';

CREATE FUNCTION liverouter.report_deployments(deployments jsonb, moment timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(
        jsonb_build_object(
            'deployment_id', left(d.value ->> 'deployment_id', 300),
            'role', left(d.value ->> 'role', 20),
            'order', liverouter.whole_number(d.value -> 'order'),
            'weight', liverouter.whole_number(d.value -> 'weight'),
            'provider', left(d.value ->> 'provider', 100),
            'model', left(d.value ->> 'model', 200),
            'params', CASE WHEN jsonb_typeof(d.value -> 'params') = 'object'
                                AND length((d.value -> 'params')::text) <= 4000
                           THEN d.value -> 'params' ELSE '{}' END,
            'endpoint', left(d.value ->> 'endpoint', 500),
            'credential_source', left(d.value ->> 'credential_source', 300),
            'credential_fingerprint', left(d.value ->> 'credential_fingerprint', 8),
            'cooling_until',
                moment + make_interval(
                    secs => liverouter.whole_number(d.value -> 'cooling_ms') / 1000.0::double precision))
        ORDER BY d.position), '[]')
    FROM jsonb_array_elements(deployments) WITH ORDINALITY d (value, position)
    WHERE d.position <= 100
$$;
COMMENT ON FUNCTION liverouter.report_deployments(jsonb, timestamptz) IS
    'Part of report(): its deployments, with a time instead of the milliseconds they go on cooling';

CREATE FUNCTION liverouter.report_applies(
    doc jsonb, moment timestamptz, OUT revision bigint, OUT epoch text, OUT outcome text, OUT stage text,
    OUT timed boolean, OUT finished_at timestamptz, OUT read_ms double precision, OUT validate_ms double precision,
    OUT build_ms double precision, OUT warm_ms double precision, OUT code text, OUT message text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.revision, a.epoch, a.outcome, a.stage, coalesce(a.timed, true),
           moment - make_interval(secs => least(greatest(coalesce(a.age_ms, 0), 0), 604800000) / 1000),
           a.read_ms, a.validate_ms, a.build_ms, a.warm_ms, a.code, a.message
    FROM jsonb_to_recordset(jsonb_path_query_array(doc, '$.applies[0 to 999] ? (@.type() == "object")')) AS a (
        revision bigint, epoch text, outcome text, stage text, timed boolean, age_ms double precision,
        read_ms double precision, validate_ms double precision, build_ms double precision, warm_ms double precision,
        code text, message text)
    WHERE a.outcome IN ('applied', 'rejected') AND a.revision IS NOT NULL
$$;
COMMENT ON FUNCTION liverouter.report_applies(jsonb, timestamptz) IS
    'Part of report(): its applies, with times instead of ages; timed = it had not been live before';

CREATE FUNCTION liverouter.summed(counts jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(s.class, s.n), '{}') FROM (
        SELECT left(c.key, 100) AS class, sum((c.value #>> '{}')::numeric) AS n
        FROM jsonb_array_elements(counts) e, jsonb_each(CASE jsonb_typeof(e) WHEN 'object' THEN e END) c
        WHERE jsonb_typeof(c.value) = 'number'
        GROUP BY 1) s
$$;
COMMENT ON FUNCTION liverouter.summed(jsonb) IS
    'Adds up counts by class: [{"a": 1}, {"a": 2, "b": 1}] becomes {"a": 3, "b": 1}';

CREATE FUNCTION liverouter.add_usage(instance uuid, usage jsonb, moment timestamptz) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO liverouter.usage_minutes AS m
        (instance, minute, deployment_id, role, provider, model, calls, failures, failovers, prompt_tokens,
         completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
    SELECT
        add_usage.instance, u.minute, u.deployment_id, u.role, max(u.provider), max(u.model), sum(u.calls),
        liverouter.summed(jsonb_agg(u.failures)), sum(u.failovers), sum(u.prompt_tokens), sum(u.completion_tokens),
        sum(u.cost_usd), sum(u.latency_ms_sum), max(u.latency_ms_max)
    FROM (
        SELECT
            -- a process whose clock is off must not write into the future, nor where it would be pruned at once
            date_trunc('minute', least(greatest(coalesce(x.minute, moment), moment - interval '7 days'), moment))
                AS minute,
            left(coalesce(x.deployment_id, ''), 300) AS deployment_id, left(coalesce(x.role, ''), 20) AS role,
            left(coalesce(x.provider, ''), 100) AS provider, left(coalesce(x.model, ''), 200) AS model,
            greatest(coalesce(x.calls, 0), 0) AS calls, coalesce(x.failures, '{}') AS failures,
            greatest(coalesce(x.failovers, 0), 0) AS failovers,
            greatest(coalesce(x.prompt_tokens, 0), 0) AS prompt_tokens,
            greatest(coalesce(x.completion_tokens, 0), 0) AS completion_tokens,
            greatest(coalesce(x.cost_usd, 0), 0) AS cost_usd,
            greatest(coalesce(x.latency_ms_sum, 0), 0) AS latency_ms_sum,
            greatest(coalesce(x.latency_ms_max, 0), 0) AS latency_ms_max
        FROM jsonb_to_recordset(jsonb_path_query_array(add_usage.usage, '$[0 to 9999]')) AS x (
            minute timestamptz, deployment_id text, role text, provider text, model text, calls bigint, failures jsonb,
            failovers bigint, prompt_tokens bigint, completion_tokens bigint, cost_usd numeric,
            latency_ms_sum double precision, latency_ms_max double precision)
    ) u
    GROUP BY u.minute, u.deployment_id, u.role
    ON CONFLICT ON CONSTRAINT usage_minutes_pkey DO UPDATE SET
        calls = m.calls + excluded.calls,
        failures = liverouter.summed(jsonb_build_array(m.failures, excluded.failures)),
        failovers = m.failovers + excluded.failovers,
        prompt_tokens = m.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = m.completion_tokens + excluded.completion_tokens,
        cost_usd = m.cost_usd + excluded.cost_usd,
        latency_ms_sum = m.latency_ms_sum + excluded.latency_ms_sum,
        latency_ms_max = greatest(m.latency_ms_max, excluded.latency_ms_max)
$$;
COMMENT ON FUNCTION liverouter.add_usage(uuid, jsonb, timestamptz) IS 'Part of report(): adds up its counts';

-- What processes report says by which name a deployment is asked for, and may hold what nobody has to act on.

CREATE OR REPLACE FUNCTION liverouter.report_problem(problem jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'severity', CASE WHEN problem -> 'severity' IN ('"warning"', '"info"') THEN problem ->> 'severity' ELSE 'error' END,
        'code', coalesce(substring(liverouter.clean_text(problem -> 'code', 20) from '^LR[0-9]{3}$'), 'LR699'),
        'where', coalesce(liverouter.clean_text(problem -> 'where', 300), ''),
        'message', coalesce(nullif(liverouter.clean_text(problem -> 'message', 1000), ''), 'it gave no reason'),
        'hint', coalesce(liverouter.clean_text(problem -> 'hint', 1000), ''),
        'revision', liverouter.clean_number(problem -> 'revision', 9007199254740991)::bigint)
    WHERE jsonb_typeof(problem) = 'object'
$$;

CREATE OR REPLACE FUNCTION liverouter.report_deployments(deployments jsonb, moment timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(s.value ORDER BY s.position), '[]') FROM (
        SELECT c.value, d.position, sum(pg_column_size(c.value)) OVER (ORDER BY d.position) AS size
        FROM jsonb_array_elements(CASE jsonb_typeof(deployments) WHEN 'array' THEN deployments END)
            WITH ORDINALITY d (value, position)
        CROSS JOIN LATERAL jsonb_build_object(
            'name', coalesce(nullif(liverouter.clean_text(d.value -> 'name', 32), ''), 'default'),
            'deployment_id', coalesce(liverouter.clean_text(d.value -> 'deployment_id', 300), '?'),
            'role', CASE d.value -> 'role' WHEN '"primary"' THEN 'primary' ELSE 'fallback' END,
            'order', greatest(coalesce(liverouter.clean_number(d.value -> 'order', 1000), d.position), 1)::integer,
            'weight', coalesce(liverouter.clean_number(d.value -> 'weight', 1000), 1),
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
        WHERE d.position <= 200 AND jsonb_typeof(d.value) = 'object') s
    WHERE s.size <= 80000
$$;
COMMENT ON FUNCTION liverouter.report_deployments(jsonb, timestamptz) IS
    'Part of report(): its deployments, every member there as the views promise it, with a time instead of the '
    'milliseconds they go on cooling; the first two hundred, and no more than 80 kB of them';

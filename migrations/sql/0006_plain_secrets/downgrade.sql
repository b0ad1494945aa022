CREATE OR REPLACE FUNCTION liverouter.plain_secret(key text, value jsonb, OUT place text, OUT reason text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- Every node of the value with the name it goes by; an element goes by its array's name.
    WITH RECURSIVE node (place, depth, name, value, kind, is_reference) AS (
        SELECT '', 0, $1, $2, jsonb_typeof($2), false           -- a row is not a reference: secrets are found by name
        UNION ALL
        SELECT n.place || child.step, n.depth + 1, coalesce(child.name, n.name), child.value,
               jsonb_typeof(child.value), liverouter.is_secret_reference(child.value)
        FROM node n
        CROSS JOIN LATERAL (
            SELECT '.' || CASE
                       WHEN m.key ~ '^[A-Za-z0-9_.-]{1,40}$' AND NOT liverouter.looks_like_key(m.key)
                       THEN m.key ELSE chr(8230) END,
                   m.key, m.value
            FROM jsonb_each(CASE n.kind WHEN 'object' THEN n.value END) m
            UNION ALL
            SELECT '[' || e.position - 1 || ']', NULL, e.value
            FROM jsonb_array_elements(CASE n.kind WHEN 'array' THEN n.value END) WITH ORDINALITY e (value, position)
        ) child (step, name, value)
        WHERE NOT n.is_reference
    ),
    judged AS (
        SELECT n.place, n.depth, CASE
            WHEN liverouter.looks_like_key(n.name) THEN 'key'
            WHEN n.kind = 'string' AND liverouter.looks_like_key(n.value #>> '{}') THEN 'key'
            WHEN n.kind = 'string' AND n.value #>> '{}' ~* (
                '[a-z][a-z0-9+.-]*://[^/?#[:space:]]*:[^/?#[:space:]]*@'
                '|[?&][^=&#]*(key|token|password|secret|signature|sig)=[^&#]') THEN 'url'
            WHEN n.is_reference OR n.kind = 'null' OR NOT liverouter.is_secret_name(n.name) THEN NULL
            -- a number is a limit or a price there, max_token or cost_per_token, unless it is the row itself
            WHEN n.depth = 0 OR n.kind IN ('string', 'object') THEN 'name'
        END AS reason
        FROM node n
    )
    SELECT j.place, j.reason FROM judged j WHERE j.reason IS NOT NULL ORDER BY j.depth, j.place LIMIT 1
$$;

CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0003_roles', '0004_origins', '0005_reports')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0005_reports'
$$;

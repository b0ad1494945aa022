-- The rule on plain secrets, in time that grows with the length of a value and with nothing else: a member's name is
-- judged once and not again for each element of its list, each pattern reads a stretch of text once, paths have a bound.

CREATE OR REPLACE FUNCTION liverouter.plain_secret(key text, value jsonb, OUT place text, OUT reason text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- Every node of the value with what the name it goes by gives away; an element goes by its array's name.
    WITH RECURSIVE node (place, depth, named_by_key, named_like_secret, value, kind, is_reference) AS (
        SELECT '', 0, liverouter.looks_like_key($1), liverouter.is_secret_name($1), $2, jsonb_typeof($2),
               false                                            -- a row is not a reference: secrets are found by name
        UNION ALL
        SELECT left(n.place || child.step, 200), n.depth + 1, coalesce(child.named_by_key, n.named_by_key),
               coalesce(child.named_like_secret, n.named_like_secret), child.value, jsonb_typeof(child.value),
               liverouter.is_secret_reference(child.value)
        FROM node n
        CROSS JOIN LATERAL (
            SELECT '.' || CASE WHEN m.key ~ '^[A-Za-z0-9_.-]{1,40}$' AND NOT m.is_key THEN m.key ELSE chr(8230) END,
                   m.is_key, liverouter.is_secret_name(m.key), m.value
            FROM (
                SELECT e.key, e.value, liverouter.looks_like_key(e.key) AS is_key
                FROM jsonb_each(CASE n.kind WHEN 'object' THEN n.value END) e
            ) m
            UNION ALL
            SELECT '[' || e.position - 1 || ']', NULL, NULL, e.value
            FROM jsonb_array_elements(CASE n.kind WHEN 'array' THEN n.value END) WITH ORDINALITY e (value, position)
        ) child (step, named_by_key, named_like_secret, value)
        WHERE NOT n.is_reference
    ),
    judged AS (
        SELECT n.place, n.depth, CASE
            WHEN n.named_by_key THEN 'key'
            WHEN n.kind = 'string' AND liverouter.looks_like_key(n.value #>> '{}') THEN 'key'
            WHEN n.kind = 'string' AND n.value #>> '{}' ~* (
                '://[^/?#[:space:]:]*:[^/?#[:space:]@]*@'
                '|[?&][^?=&#]*(key|token|password|secret|signature|sig)=[^&#]') THEN 'url'
            WHEN n.is_reference OR n.kind = 'null' OR NOT n.named_like_secret THEN NULL
            -- a number is a limit or a price there, max_token or cost_per_token, unless it is the row itself
            WHEN n.depth = 0 OR n.kind IN ('string', 'object') THEN 'name'
        END AS reason
        FROM node n
    )
    SELECT j.place, j.reason FROM judged j WHERE j.reason IS NOT NULL ORDER BY j.depth, j.place LIMIT 1
$$;

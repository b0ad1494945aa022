CREATE OR REPLACE VIEW liverouter.desired_config WITH (security_barrier) AS
WITH config AS (
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') AS settings FROM liverouter.settings s
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
) credential ON true
ORDER BY 3, e.position;

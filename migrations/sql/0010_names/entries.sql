-- The one place that reads rows as deployments: those of the default, whose members are rows, and those of each llm:NAME.

CREATE FUNCTION liverouter.head_settings() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    -- Of the history, not of settings itself, whose rows of other software may be many; unless it was emptied by hand.
    SELECT coalesce(
        (SELECT l.content FROM liverouter.revision_log l WHERE l.revision = (SELECT h.revision FROM liverouter.head h)),
        liverouter.settings_content())
$$;
COMMENT ON FUNCTION liverouter.head_settings() IS 'The settings of the head revision as {key: value}';

CREATE FUNCTION liverouter.stripped(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT btrim(value,  -- what processes strip: all that is blank in Unicode
        E' \t\n\u000b\f\r\u001c\u001d\u001e\u001f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006'
        '\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')
$$;
COMMENT ON FUNCTION liverouter.stripped(text) IS 'A text without the blanks around it';

CREATE FUNCTION liverouter.config_entries(
    settings jsonb, OUT name text, OUT place text, OUT "position" integer, OUT own jsonb, OUT inherited jsonb)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 5 SET search_path = pg_catalog, pg_temp
AS $$
    WITH model (name, place, own, fallbacks, fallbacks_at) AS (
        SELECT 'default', 'settings',
               jsonb_build_object(
                   'provider', settings -> 'llm_provider', 'model', settings -> 'llm_model',
                   'temperature', settings -> 'llm_temperature', 'max_tokens', settings -> 'llm_max_tokens',
                   'params', settings -> 'llm_params', 'weight', settings -> 'llm_weight',
                   'timeout', settings -> 'llm_timeout',
                   'first_token_timeout', settings -> 'llm_first_token_timeout'),
               settings -> 'llm_fallback_config', 'settings.llm_fallback_config'
        UNION ALL
        SELECT substr(r.key, 5), 'settings.' || r.key, r.value - 'fallbacks', r.value -> 'fallbacks',
               'settings.' || r.key || '.fallbacks'
        FROM jsonb_each(settings) r
        WHERE r.key ~ '^llm:[a-z][a-z0-9_-]{0,31}$' AND r.key <> 'llm:default' AND jsonb_typeof(r.value) = 'object'
    )
    SELECT m.name, m.place, 0, m.own, '{}'::jsonb FROM model m
    UNION ALL
    SELECT m.name, m.fallbacks_at || CASE jsonb_typeof(m.fallbacks)
               WHEN 'array' THEN format('[%s]', e.position - 1) ELSE '' END,
           e.position::integer, e.value,
           m.own
    FROM model m
    CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(m.fallbacks)
        WHEN 'array' THEN m.fallbacks WHEN 'object' THEN jsonb_build_array(m.fallbacks) END)
        WITH ORDINALITY e (value, position)
    WHERE e.position <= 100 AND jsonb_typeof(e.value) = 'object'
$$;
COMMENT ON FUNCTION liverouter.config_entries(jsonb) IS
    'What settings say should run, unjudged: the name it is asked for by, the place that says so, its position (0 = '
    'primary, 1 = first fallback), its members as of an entry of llm_fallback_config, and those of its primary';

CREATE FUNCTION liverouter.sent_params(own jsonb, inherited jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- `params` are taken over whole or not at all, and what is in one provider's words not by another.
    WITH further (params) AS (
        SELECT CASE
            WHEN coalesce(own -> 'params', 'null') <> 'null' THEN own -> 'params'
            WHEN liverouter.stripped(own ->> 'provider') = liverouter.stripped(inherited ->> 'provider')
            THEN inherited -> 'params'
            WHEN jsonb_typeof(inherited -> 'params') = 'object' THEN (inherited -> 'params') - 'extra_body' END
    )
    SELECT coalesce(jsonb_object_agg(p.key, p.value), '{}') FROM (
        SELECT m.key, m.value
        FROM further f
        CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(f.params) WHEN 'object' THEN f.params END) m
        WHERE m.key NOT IN ('temperature', 'max_tokens')
        UNION ALL
        SELECT m.key, coalesce(nullif(own -> m.key, 'null'), inherited -> m.key)
        FROM (VALUES ('temperature'), ('max_tokens')) m (key)
    ) p WHERE p.value <> 'null'
$$;
COMMENT ON FUNCTION liverouter.sent_params(jsonb, jsonb) IS
    'The parameters that rows have sent with each call of a deployment: its own, and those that it inherits';

CREATE FUNCTION liverouter.desired_deployments(
    OUT revision bigint, OUT name text, OUT place text, OUT "position" integer, OUT own jsonb, OUT "order" integer,
    OUT provider text, OUT model text, OUT params jsonb, OUT weight numeric, OUT secret_name text, OUT variable text,
    OUT is_stored boolean, OUT fingerprint text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
    SELECT
        h.revision, e.name, e.place, e.position, e.own,
        CASE e.position WHEN 0 THEN 1
            ELSE coalesce(jsonb_path_query_first(e.own, '$.order ? (@ >= 1 && @ <= 1000)')::integer, e.position + 1) END,
        s.provider, s.model,
        liverouter.sent_params(e.own, e.inherited),
        coalesce(jsonb_path_query_first(e.own, '$.weight ? (@ > 0 && @ <= 1000)')::numeric, 1),
        credential.name, credential.variable, credential.is_stored, credential.fingerprint
    FROM liverouter.head h
    CROSS JOIN liverouter.config_entries(liverouter.head_settings()) e
    CROSS JOIN LATERAL (
        SELECT liverouter.stripped(e.own ->> 'provider'), liverouter.stripped(e.own ->> 'model')) s (provider, model)
    LEFT JOIN LATERAL (
        SELECT w.name, k.name IS NOT NULL AS is_stored, k.fingerprint,
               CASE -- a name that is no provider's own is looked for under one that only references have
                   WHEN EXISTS (SELECT FROM liverouter.providers p WHERE w.name = ANY (p.secrets)) THEN upper(w.name)
                   WHEN upper(w.name) <> 'KEYS' AND upper(w.name) NOT LIKE '%\_FILE'  -- these have no variable
                   THEN 'LIVEROUTER_SECRET_' || regexp_replace(upper(w.name), '[^A-Z0-9_]', '_', 'g') END AS variable
        FROM (
            SELECT coalesce(
                       e.own -> k.name ->> 'secret', e.own -> nullif(k.alias, '') ->> 'secret', k.name) AS name,
                   k.preference
            FROM liverouter.providers p
            CROSS JOIN unnest(p.secrets, p.secret_aliases) WITH ORDINALITY k (name, alias, preference)
            WHERE p.name = s.provider
        ) w
        LEFT JOIN liverouter.secrets k ON k.name = w.name
        ORDER BY k.name IS NULL, w.preference
        LIMIT 1
    ) credential ON true
    WHERE e.place <> 'settings' OR s.provider IS NOT NULL OR s.model IS NOT NULL
$$;
COMMENT ON FUNCTION liverouter.desired_deployments() IS
    'The rows of view desired_config with what it is made of: the entry, its secret and the environment variable that '
    'serves where none is stored, NULL where there is none';

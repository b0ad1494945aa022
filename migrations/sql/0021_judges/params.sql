-- Parameters, the members of objects, models: part by part as a process reads them.

CREATE FUNCTION liverouter_internal.names_credential(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT lower(name) ~ (
        '(^|[^a-z0-9])(auth|authentication|authorization|bearer|cookie2?|credentials?|jwt|key|passphrase|passwd'
        '|signature|[a-z0-9]*(apikey|token|secret|password))([^a-z0-9]|$)')
$$;
COMMENT ON FUNCTION liverouter_internal.names_credential(text) IS
    'Whether a header or a member of a request''s body is called as what carries a credential';
SELECT liverouter.change_function(
    'liverouter_internal.header_secret(jsonb)',
    $old$WHERE lower(h.key) ~ (
                '(^|[^a-z0-9])(auth|authentication|authorization|bearer|cookie2?|credentials?|jwt|key|passphrase|passwd'
                '|signature|[a-z0-9]*(apikey|token|secret|password))([^a-z0-9]|$)')$old$,
    $new$WHERE liverouter_internal.names_credential(h.key)$new$);

CREATE FUNCTION liverouter_internal.judge_thinking(
    thinking jsonb, place text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH spec AS (SELECT s AS spec, s.name FROM liverouter.setting_specs s WHERE s.scope = 'thinking'),
    typed (fits) AS (
        SELECT coalesce((
            SELECT m.code FROM spec s CROSS JOIN LATERAL liverouter_internal.misfit(s.spec, thinking -> 'type') m
            WHERE s.name = 'type') IS NULL AND thinking ->> 'type' IS NOT NULL
            AND CASE coalesce(jsonb_typeof(thinking -> 'budget_tokens'), 'null')
                WHEN 'null' THEN thinking ->> 'type' <> 'enabled'
                WHEN 'number' THEN scale((thinking -> 'budget_tokens')::numeric) = 0
                ELSE false END, false)
    )
    SELECT 'LR103', place, 'an object stands where what says how to think belongs',
           'Write {"type": "enabled", "budget_tokens": 2048}, or the type "adaptive" or "disabled"'
    FROM typed t WHERE NOT t.fits
    UNION ALL
    (SELECT 'LR106', place, format('''%s'' is not known here', liverouter_internal.shown(m.key)),
            format('It knows %s', (SELECT string_agg(s.name, ', ' ORDER BY s.name DESC) FROM spec s))
     FROM jsonb_each(thinking) m, typed t
     WHERE t.fits AND m.value <> 'null' AND m.key NOT IN (SELECT s.name FROM spec s) LIMIT 1)
    UNION ALL
    SELECT f.code, place || '.' || s.name, f.message, f.hint
    FROM typed t, spec s CROSS JOIN LATERAL liverouter_internal.misfit(s.spec, thinking -> s.name) f
    WHERE t.fits AND f.code IS NOT NULL
$$;
COMMENT ON FUNCTION liverouter_internal.judge_thinking(jsonb, text) IS
    'Part of judge_params(): what is wrong with the parameter thinking, an object, that stands at place';

CREATE FUNCTION liverouter_internal.judge_headers(
    headers jsonb, place text, refused text[], OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    WITH header AS (SELECT h.key, h.value, jsonb_typeof(h.value) AS kind FROM jsonb_each(headers) h),
    fault (much) AS (SELECT count(*) > 20 OR sum(length(h.key) + length(h.value #>> '{}')) > 8000 FROM header h)
    SELECT 'LR104', place, 'these are too many headers, or too long ones', '20 are taken' FROM fault f WHERE f.much
    UNION ALL
    SELECT m.code, place || '.' || liverouter_internal.shown(h.key),
           coalesce(m.message, format('%s stands where text belongs', liverouter_internal.kind_of(h.value))), m.hint
    FROM fault f, header h CROSS JOIN LATERAL (VALUES (
        CASE WHEN h.key !~ '^[A-Za-z0-9!#$%&''*+.^_`|~-]{1,100}$' OR lower(h.key) = ANY (refused) THEN 'name'
             WHEN h.kind <> 'string' THEN 'kind'
             WHEN h.value #>> '{}' !~ '^[!-~]([ -~]*[!-~])?$' THEN 'text' END)) fault_of (part)
    JOIN (VALUES
        ('name', 'LR104', 'no header can be set by this name', 'Remove it'),
        ('kind', 'LR103', NULL, 'Write text in quotes: "search"'),
        ('text', 'LR104', 'the text cannot stand in a header', 'Write plain ASCII, without line breaks')
    ) m (part, code, message, hint) ON m.part = fault_of.part
    WHERE f.much IS NOT TRUE
$$;
COMMENT ON FUNCTION liverouter_internal.judge_headers(jsonb, text, text[]) IS
    'Part of judge_params(): what is wrong with headers of a request, an object that stands at place, beside those with '
    'credentials, which no setting may hold';

CREATE FUNCTION liverouter_internal.judge_body(
    body jsonb, place text, refused text[], OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    WITH node AS MATERIALIZED (SELECT n.* FROM liverouter_internal.nodes(body) n),
    fault (message) AS (
        SELECT CASE
            WHEN count(*) > 501 OR max(n.depth) > 20
                OR sum(length(n.name) + CASE n.kind WHEN 'string' THEN length(n.value #>> '{}') ELSE 0 END) > 8000
            THEN 'this is too large'
            WHEN bool_or(abs(CASE n.kind WHEN 'number' THEN n.value::numeric END) > 9223372036854775807)
            THEN 'a number is out of range' END
        FROM node n
    )
    SELECT 'LR104', place, f.message, 'Write a few plain members' FROM fault f WHERE f.message IS NOT NULL
    UNION ALL
    SELECT 'LR104', place || '.' || liverouter_internal.shown(m.key),
           format('''%s'' cannot be set here', liverouter_internal.shown(m.key)),
           'Remove it: settings and parameters have a place of their own'
    FROM fault f, jsonb_object_keys(body) m (key) WHERE f.message IS NULL AND m.key = ANY (refused)
    UNION ALL
    SELECT 'LR110', place, 'what looks like a credential stands here',
           'Keys are stored sealed, liverouter set --secret NAME, and sent by the provider''s own field alone'
    FROM fault f WHERE f.message IS NULL AND EXISTS (
        SELECT FROM node n WHERE CASE n.kind
            WHEN 'object' THEN n.value ? 'secret' AND n.value - 'secret' = '{}'
            WHEN 'string' THEN n.value <> '""' AND (liverouter_internal.names_credential(n.name)
                OR n.value #>> '{}' ~* '^(apikey|aws4-hmac-sha256|basic|bearer|digest|negotiate|token)[[:space:]]') END)
$$;
COMMENT ON FUNCTION liverouter_internal.judge_body(jsonb, text, text[]) IS
    'Part of judge_params(): what is wrong with members of a request''s body, an object that stands at place';

CREATE FUNCTION liverouter_internal.judge_params(
    params jsonb, place text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH given AS (
        SELECT m.key, m.value, s AS spec, place || '.' || liverouter_internal.shown(m.key) AS place,
               jsonb_typeof(m.value) = 'object' AND s.kind = 'json' AS is_object
        FROM (SELECT * FROM jsonb_each(CASE jsonb_typeof(params) WHEN 'object' THEN params END) LIMIT 50) m
        LEFT JOIN liverouter.setting_specs s ON s.scope = 'param' AND s.name = m.key
    )
    SELECT 'LR106', g.place, format('''%s'' is no parameter of rows', liverouter_internal.shown(g.key)),
           coalesce(liverouter_internal.did_you_mean(g.key, known.names),
               format('Rows may give %s', array_to_string(known.names, ', ')))
    FROM given g,
         (SELECT array_agg(s.name ORDER BY s.name) FROM liverouter.setting_specs s WHERE s.scope = 'param') known (names)
    WHERE (g.spec).name IS NULL
    UNION ALL
    SELECT f.code, g.place, f.message, f.hint
    FROM given g CROSS JOIN LATERAL liverouter_internal.misfit(g.spec, g.value) f
    WHERE (g.spec).name IS NOT NULL AND f.code IS NOT NULL
    UNION ALL
    SELECT f.* FROM given g CROSS JOIN LATERAL liverouter_internal.judge_thinking(g.value, g.place) f
    WHERE g.key = 'thinking' AND g.is_object
    UNION ALL
    SELECT f.* FROM given g CROSS JOIN LATERAL liverouter_internal.judge_headers(g.value, g.place, (g.spec).refused) f
    WHERE g.key = 'extra_headers' AND g.is_object
    UNION ALL
    SELECT f.* FROM given g CROSS JOIN LATERAL liverouter_internal.judge_body(g.value, g.place, (g.spec).refused) f
    WHERE g.key = 'extra_body' AND g.is_object
$$;
COMMENT ON FUNCTION liverouter_internal.judge_params(jsonb, text) IS
    'Part of judge_settings(): what is wrong with parameters that stand at place';

CREATE FUNCTION liverouter_internal.judge_profile(
    profile jsonb, place text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'LR103', place, format('''%s'' is neither true, false nor a whole number', liverouter_internal.shown(m.key)),
           'Write {"max_input_tokens": 128000, "image_inputs": false}'
    FROM jsonb_each(CASE jsonb_typeof(profile) WHEN 'object' THEN profile END) m
    WHERE CASE jsonb_typeof(m.value)
        WHEN 'boolean' THEN false
        WHEN 'number' THEN m.value::numeric < 0 OR scale(m.value::numeric) > 0
        ELSE true END
    LIMIT 1
$$;
COMMENT ON FUNCTION liverouter_internal.judge_profile(jsonb, text) IS
    'Part of judge_settings(): what is wrong with the fields of a profile that stand at place';

CREATE FUNCTION liverouter_internal.judge_parts(
    own jsonb, place text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.code, CASE place WHEN 'settings' THEN 'settings.llm_model' ELSE place || '.model' END, f.message, f.hint
    FROM liverouter.setting_specs s CROSS JOIN LATERAL liverouter_internal.misfit(s, own -> 'model') f
    WHERE s.scope = 'model' AND s.name = liverouter_internal.stripped(own ->> 'provider') AND f.code IS NOT NULL
    UNION ALL
    SELECT coalesce(f.code, 'LR106'), place || '.' || p.holder || '.' || liverouter_internal.shown(m.key),
           coalesce(f.message, format('''%s'' is not known here', liverouter_internal.shown(m.key))),
           coalesce(f.hint, liverouter_internal.did_you_mean(m.key, known.names),
               format('It knows %s', array_to_string(known.names, ', ')))
    FROM liverouter.member_providers p
    CROSS JOIN LATERAL (
        SELECT array_agg(s.name ORDER BY s.name) FROM liverouter.setting_specs s
        WHERE s.scope = 'part' AND s.provider = p.name) known (names)
    CROSS JOIN LATERAL (
        SELECT * FROM jsonb_each(CASE jsonb_typeof(own -> p.holder) WHEN 'object' THEN own -> p.holder END) LIMIT 50) m
    LEFT JOIN liverouter.setting_specs s ON s.scope = 'part' AND s.provider = p.name AND s.name = m.key
    LEFT JOIN LATERAL liverouter_internal.misfit(s, m.value) f ON s.name IS NOT NULL
    WHERE p.name = liverouter_internal.stripped(own ->> 'provider') AND (f.code IS NOT NULL OR s.name IS NULL)
$$;
COMMENT ON FUNCTION liverouter_internal.judge_parts(jsonb, text) IS
    'Part of judge_entry(): what is wrong with the model of a deployment, and with the object that holds its settings';

SELECT liverouter.change_function(
    'liverouter_internal.judge_entry(text, boolean, jsonb)',
    $old$spec.pattern, spec.may_be_list, spec.hint, spec.severity)::liverouter.setting_specs$old$,
    $new$spec.pattern, spec.may_be_list, spec.hint, spec.severity, spec.words, spec.refused)::liverouter.setting_specs$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_entry(text, boolean, jsonb)',
    $old$    SELECT coalesce(f.code, 'LR106'), params.place || '.' || liverouter_internal.shown(m.key),
           coalesce(f.message, format('''%s'' is no parameter of rows', liverouter_internal.shown(m.key))),
           coalesce(f.hint, liverouter_internal.did_you_mean(m.key, known.names),
               format('Rows may give %s', array_to_string(known.names, ', ')))
    FROM (SELECT CASE WHEN is_row THEN 'settings.llm_params' ELSE place || '.params' END) params (place)
    CROSS JOIN (SELECT array_agg(s.name ORDER BY s.name) FROM liverouter.setting_specs s WHERE s.scope = 'param')
        known (names)
    CROSS JOIN LATERAL (
        SELECT * FROM jsonb_each(CASE jsonb_typeof(own -> 'params') WHEN 'object' THEN own -> 'params' END) LIMIT 50) m
    LEFT JOIN liverouter.setting_specs s ON s.scope = 'param' AND s.name = m.key
    LEFT JOIN LATERAL liverouter_internal.misfit(s, m.value) f ON s.name IS NOT NULL
    WHERE f.code IS NOT NULL OR m.key <> ALL (known.names)
$old$,
    $new$    SELECT f.* FROM liverouter_internal.judge_params(
        own -> 'params', CASE WHEN is_row THEN 'settings.llm_params' ELSE place || '.params' END) f
    UNION ALL
    SELECT f.* FROM liverouter_internal.judge_profile(own -> 'profile', place || '.profile') f
    UNION ALL
    SELECT f.* FROM whole w CROSS JOIN LATERAL liverouter_internal.judge_parts(own, place) f WHERE w.is
$new$);

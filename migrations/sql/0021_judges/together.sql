-- What a library would look up, wherever it stands, and what rows say only together.

CREATE FUNCTION liverouter_internal.is_looked_up(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT value ~* 'os\.environ/'
        OR liverouter_internal.stripped(translate(value, '"''', '  '))
            ~* '^(oidc|hashicorp_vault|aws_secret_manager|google_secret_manager|azure_key_vault)/'
$$;
COMMENT ON FUNCTION liverouter_internal.is_looked_up(text) IS
    'Whether a library would take a text for the name of a value and not for a value';

CREATE FUNCTION liverouter_internal.judge_together(
    settings jsonb, OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH entry AS MATERIALIZED (
        SELECT e.*, liverouter_internal.stripped(e.own ->> 'provider') AS provider,
               liverouter_internal.stripped(e.own ->> 'model') AS model,
               CASE e.name WHEN 'default' THEN 'settings.llm_fallback_config'
                   ELSE 'settings.llm:' || e.name || '.fallbacks' END AS list
        FROM liverouter_internal.config_entries(settings) e
    ),
    counted (names, deployments) AS (
        SELECT (SELECT count(*) FROM jsonb_object_keys(settings) r (key)
                WHERE r.key ~ '^llm:[a-z][a-z0-9_-]{0,31}$' AND r.key <> 'llm:default'),
               sum(1 + CASE coalesce(jsonb_typeof(l.value), 'null')
                   WHEN 'array' THEN jsonb_array_length(l.value) WHEN 'null' THEN 0 ELSE 1 END)
        FROM entry e CROSS JOIN LATERAL (
            SELECT CASE e.name WHEN 'default' THEN settings -> 'llm_fallback_config'
                ELSE settings -> ('llm:' || e.name) -> 'fallbacks' END) l (value)
        WHERE e.position = 0
    ),
    -- What makes one deployment another: all that its provider takes, its own or of rows; the environment serves both alike.
    place AS (
        SELECT e.name, e.list, e.provider, e.model, (
            SELECT jsonb_object_agg(s.name, coalesce(
                nullif(e.own -> s.name, 'null'), nullif(e.own -> nullif(s.alias, ''), 'null'),
                CASE WHEN s.kind <> 'json' THEN nullif(settings -> s.name, 'null') END))
            FROM liverouter.setting_specs s WHERE s.scope = 'row' AND s.kind <> 'rejected' AND s.provider = e.provider) AS says
        FROM entry e JOIN liverouter.providers p ON p.name = e.provider
        WHERE e.model <> ''
          -- of a primary that has a deployment of the user's own the environment may say which
          AND NOT (e.place = 'settings' AND EXISTS (
              SELECT FROM liverouter.setting_specs s
              WHERE s.scope = 'row' AND s.provider = e.provider AND s.alias = 'deployment'))
    )
    (SELECT DISTINCT 'error', 'LR112', 'settings.' || liverouter_internal.shown(r.key) || n.place,
            'what stands here is a reference that a library would look up elsewhere',
            'Write the value itself. A key goes into the database sealed, liverouter set --secret NAME, or into the '
            'environment under its own name'
     FROM jsonb_each(settings) r CROSS JOIN LATERAL liverouter_internal.nodes(r.value) n
     WHERE r.value::text ~* '(os\.environ|oidc|hashicorp_vault|aws_secret_manager|google_secret_manager|azure_key_vault)/'
       AND (r.key ~ '^llm:[a-z][a-z0-9_-]{0,31}$' AND r.key <> 'llm:default'
            OR r.key IN (SELECT s.name FROM liverouter.setting_specs s WHERE s.scope = 'row' AND s.kind <> 'rejected'))
       AND (liverouter_internal.is_looked_up(n.member)
            OR n.kind = 'string' AND liverouter_internal.is_looked_up(n.value #>> '{}'))
     ORDER BY 3 LIMIT 100)
    UNION ALL
    SELECT 'error', f.code, f.object, f.message, f.hint
    FROM liverouter_internal.judge_profile(settings -> 'llm_profile', 'settings.llm_profile') f
    UNION ALL
    SELECT 'error', 'LR104', 'settings', format('%s named models are more than 50', c.names),
           'Remove the rows of those that nobody asks for'
    FROM counted c WHERE c.names > 50
    UNION ALL
    SELECT 'error', 'LR104', 'settings', format('all names have %s deployments, more than 200', c.deployments),
           'Keep the few fallbacks that would really serve'
    FROM counted c WHERE c.names <= 50 AND c.deployments > 200
    UNION ALL
    SELECT 'error', 'LR116', 'settings.litellm_model_name',
           format('''%s'' is the name of a named model as well', liverouter_internal.shown(e.name)),
           'Give one of them another name'
    FROM entry e WHERE e.position = 0 AND e.name = liverouter_internal.stripped(settings ->> 'litellm_model_name')
    UNION ALL
    SELECT 'error', 'LR108', p.list,
           format('%s/%s stands twice with the same credentials', p.provider, liverouter_internal.shown(p.model)),
           'Remove one, or give the fallback another model, endpoint or key'
    FROM place p GROUP BY p.name, p.list, p.provider, p.model, p.says HAVING count(*) > 1
    UNION ALL
    SELECT 'warning', 'LR114',
           CASE e.name WHEN 'default' THEN 'settings.llm_params' ELSE 'settings.llm:' || e.name || '.params' END || '.extra_body',
           format('the extra_body of a primary of %s is not sent to the fallback at %s',
               liverouter_internal.shown(liverouter_internal.stripped(e.inherited ->> 'provider')), e.place),
           format('Give this fallback ''params'' of its own, at %s', e.place)
    FROM entry e
    WHERE e.position > 0 AND coalesce(e.own -> 'params', 'null') = 'null'
      AND jsonb_typeof(e.inherited -> 'params' -> 'extra_body') = 'object'
      AND e.provider <> liverouter_internal.stripped(e.inherited ->> 'provider')
$$;
COMMENT ON FUNCTION liverouter_internal.judge_together(jsonb) IS
    'Part of judge_settings(): what a library would look up, and what no row says alone: names and deployments that are too '
    'many, or that stand twice';

SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$    FROM entry e CROSS JOIN LATERAL liverouter_internal.judge_entry(e.place, e.place = 'settings', e.own) j
$old$,
    $new$    FROM entry e CROSS JOIN LATERAL liverouter_internal.judge_entry(e.place, e.place = 'settings', e.own) j
    UNION ALL
    SELECT j.* FROM liverouter_internal.judge_together(settings) j
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$own_words()) AS is_ours$old$,
    $new$own_words()) OR r.key ~* '^(llm_|litellm_|llm:)' AS is_ours$new$);

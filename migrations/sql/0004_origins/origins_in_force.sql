CREATE FUNCTION liverouter.origin_of(url text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    -- Only what every URL parser reads alike: no user, no backslash, a host in plain ASCII, a port that servers have.
    SELECT CASE WHEN coalesce(p.part[4], '')::text ~ '^0*$' AND p.part[4] IS NOT NULL OR p.part[4]::integer > 65535 THEN NULL
                ELSE lower(p.part[1] || '://' || p.part[2])
                     || CASE WHEN p.part[4]::integer IN (80, 443)
                              AND (lower(p.part[1]) = 'https') = (p.part[4]::integer = 443) THEN ''
                             ELSE coalesce(':' || p.part[4]::integer, '') END END
    FROM (SELECT regexp_match(left(btrim(url, E' \t\n\r\f\u000b'), 2100),
        '^([Hh][Tt][Tt][Pp][Ss]?)://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:([0-9]{1,5}))?(?=[/?#]|$)')) p (part)
    WHERE p.part IS NOT NULL
$$;
COMMENT ON FUNCTION liverouter.origin_of(text) IS
    'Scheme, host and port of a URL, in lower case and without the scheme''s own port; NULL where it has none';

CREATE FUNCTION liverouter.origins_in_force(settings jsonb, secret_name text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH provider (name, secret, alias, base, base_alias) AS (VALUES
        ('anthropic', 'anthropic_api_key', 'api_key', 'anthropic_api_base', 'api_base'),
        ('azure-openai', 'azure_openai_api_key', 'api_key', 'azure_openai_endpoint', 'api_base'),
        ('azure-openai', 'azure_openai_ad_token', 'ad_token', 'azure_openai_endpoint', 'api_base'),
        ('openai', 'openai_api_key', 'api_key', 'openai_api_base', 'api_base'),
        ('snowflake-cortex', 'snowflake_token', 'api_key', 'snowflake_api_base', 'api_base'),
        ('vertex-ai', 'vertex_ai_credentials', 'api_key', 'vertex_ai_api_base', 'api_base')
    ),
    entry (value) AS (
        SELECT e.value
        FROM jsonb_array_elements(CASE jsonb_typeof(settings -> 'llm_fallback_config')
            WHEN 'array' THEN settings -> 'llm_fallback_config'
            WHEN 'object' THEN jsonb_build_array(settings -> 'llm_fallback_config') END) e (value)
        WHERE jsonb_typeof(e.value) = 'object'
    ),
    place (base) AS (
        SELECT settings -> p.base FROM provider p WHERE p.secret = secret_name
        UNION ALL
        SELECT coalesce(
                   nullif(e.value -> p.base, 'null'), nullif(e.value -> p.base_alias, 'null'), settings -> p.base)
        FROM entry e
        JOIN provider p ON jsonb_typeof(e.value -> 'provider') = 'string'
            AND p.name = btrim(e.value ->> 'provider', E' \t\n\r\f\u000b')
        CROSS JOIN LATERAL (
            SELECT coalesce(nullif(e.value -> p.secret, 'null'), nullif(e.value -> p.alias, 'null'))) r (reference)
        WHERE CASE WHEN r.reference IS NULL THEN p.secret
                   WHEN jsonb_typeof(r.reference -> 'secret') = 'string' THEN r.reference ->> 'secret' END = secret_name
    )
    SELECT coalesce(array_agg(DISTINCT o.origin COLLATE "C" ORDER BY o.origin COLLATE "C"), '{}')
    FROM place p CROSS JOIN LATERAL liverouter.origin_of(p.base #>> '{}') o (origin)
    WHERE jsonb_typeof(p.base) = 'string' AND o.origin IS NOT NULL
$$;
COMMENT ON FUNCTION liverouter.origins_in_force(jsonb, text) IS
    'Where settings have a secret sent to: the origins of the base URLs beside which it is the credential. A secret is '
    'bound to them when it is stored and no others are named.';

COMMENT ON COLUMN liverouter.active_config.provider IS 'anthropic, azure-openai, openai, snowflake-cortex or vertex-ai';
COMMENT ON COLUMN liverouter.desired_config.provider IS
    'anthropic, azure-openai, openai, snowflake-cortex or vertex-ai';
COMMENT ON COLUMN liverouter.desired_config.credential_source IS
    'secret NAME where one is stored; else environment NAME, which each process must have (vertex-ai: or ambient '
    'credentials)';

CREATE OR REPLACE FUNCTION liverouter.origins_in_force(settings jsonb, secret_name text) RETURNS text[]
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

DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('liverouter.install_roles()'::regprocedure),
        'SELECT ON liverouter.alembic_version, liverouter.providers', 'SELECT ON liverouter.alembic_version');
END $$;
DROP TABLE liverouter.providers;

CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0003_roles', '0004_origins', '0005_reports', '0006_plain_secrets')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0006_plain_secrets'
$$;

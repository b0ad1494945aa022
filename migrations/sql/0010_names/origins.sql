-- A secret is bound to where any name has it sent.

CREATE OR REPLACE FUNCTION liverouter.origins_in_force(settings jsonb, secret_name text) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH provider (name, secret, alias, base, base_alias) AS (
        SELECT p.name, k.secret, nullif(k.alias, ''), p.base, nullif(p.base_alias, '')
        FROM liverouter.providers p CROSS JOIN unnest(p.secrets, p.secret_aliases) k (secret, alias)
    ),
    place (base) AS (
        SELECT settings -> p.base FROM provider p WHERE p.secret = secret_name
        UNION ALL
        SELECT coalesce(nullif(e.own -> p.base, 'null'), nullif(e.own -> p.base_alias, 'null'), settings -> p.base)
        FROM liverouter.config_entries(settings) e
        JOIN provider p ON jsonb_typeof(e.own -> 'provider') = 'string'
            AND p.name = liverouter.stripped(e.own ->> 'provider')
        CROSS JOIN LATERAL (
            SELECT coalesce(nullif(e.own -> p.secret, 'null'), nullif(e.own -> p.alias, 'null'))) r (reference)
        WHERE CASE WHEN r.reference IS NULL THEN p.secret
                   WHEN jsonb_typeof(r.reference -> 'secret') = 'string' THEN r.reference ->> 'secret' END = secret_name
    )
    SELECT coalesce(array_agg(DISTINCT o.origin COLLATE "C" ORDER BY o.origin COLLATE "C"), '{}')
    FROM place p CROSS JOIN LATERAL liverouter.origin_of(p.base #>> '{}') o (origin)
    WHERE jsonb_typeof(p.base) = 'string' AND o.origin IS NOT NULL
$$;

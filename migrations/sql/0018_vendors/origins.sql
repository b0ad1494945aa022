CREATE FUNCTION liverouter_internal.vendor_base(vendors jsonb, model text, members jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN strpos(known.base, '{aws_region_name}') = 0 THEN known.base
        WHEN known.region ~ '^[A-Za-z0-9][A-Za-z0-9-]{0,62}$' COLLATE "C" THEN
            replace(known.base, '{aws_region_name}', known.region)
                || CASE WHEN known.region LIKE 'cn-%' THEN '.cn' ELSE '' END
        END
    FROM (SELECT
        vendors ->> split_part(liverouter_internal.stripped(model), '/', 1),
        CASE jsonb_typeof(members -> 'aws_region_name')
            WHEN 'string' THEN liverouter_internal.stripped(members ->> 'aws_region_name') END) known (base, region)
$$;
COMMENT ON FUNCTION liverouter_internal.vendor_base(jsonb, text, jsonb) IS
    'Where calls of a model go whose entry says no base, of those vendors; NULL where it is not known';

-- A secret that is named in an object of members is bound to the base there, else to the vendor's own: to none where
-- it is another provider's.
SELECT liverouter.change_function(
    'liverouter_internal.origins_in_force(jsonb, text)',
    'THEN r.reference ->> ''secret'' END = secret_name
    )',
    'THEN r.reference ->> ''secret'' END = secret_name
        UNION ALL
        SELECT coalesce(
            nullif(held.members -> p.base, ''null''),
            CASE WHEN secret_name NOT IN (SELECT f.secret FROM provider f) THEN
                to_jsonb(liverouter_internal.vendor_base(
                    p.vendors, CASE jsonb_typeof(e.own -> ''model'') WHEN ''string'' THEN e.own ->> ''model'' END,
                    held.members)) END)
        FROM liverouter_internal.config_entries(settings) e
        JOIN liverouter.member_providers p ON CASE coalesce(jsonb_typeof(e.own -> ''provider''), ''null'')
            WHEN ''null'' THEN e.place = ''settings''
            WHEN ''string'' THEN liverouter_internal.stripped(e.own ->> ''provider'') = p.name
            ELSE false END
        CROSS JOIN LATERAL (
            SELECT CASE jsonb_typeof(e.own -> p.holder) WHEN ''object'' THEN e.own -> p.holder END) held (members)
        WHERE EXISTS (
            SELECT FROM unnest(p.secrets) m (name)
            WHERE held.members -> m.name -> ''secret'' = to_jsonb(secret_name))
    )');

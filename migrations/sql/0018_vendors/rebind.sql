-- What is stored went to every vendor that is known. Each envelope is bound to those that some revision has it sent to,
-- so that a rollback serves as it did. This is no change of the config: neither a revision nor a stamp comes of it.
CREATE VIEW liverouter_internal.sent AS
SELECT e.name, e.sealed, array_agg(DISTINCT f.origin) AS origins
FROM (
    SELECT s.name, s.sealed, liverouter_internal.settings_content() FROM liverouter.secrets s
    UNION ALL
    SELECT s.key, s.value ->> 'sealed', r.content
    FROM liverouter.revision_log r CROSS JOIN LATERAL jsonb_each(r.sealed) s
    WHERE strpos(r.content::text, '"litellm_params"') > 0
) e (name, sealed, content)
CROSS JOIN LATERAL unnest(liverouter_internal.origins_in_force(e.content, e.name)) f (origin)
WHERE NOT EXISTS (SELECT FROM liverouter.providers p WHERE e.name = ANY (p.secrets))
  AND (f.origin ~ '^https://bedrock-runtime\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?$'
       OR f.origin IN (
           SELECT liverouter_internal.origin_of(v.value)
           FROM liverouter.member_providers p CROSS JOIN LATERAL jsonb_each_text(p.vendors) v))
GROUP BY e.name, e.sealed;

CREATE FUNCTION liverouter_internal.together(a text[], b text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT array_agg(DISTINCT o.origin COLLATE "C" ORDER BY o.origin COLLATE "C") FROM unnest(a || b) o (origin) $$;

-- Only where there is something to bind: nobody's transaction is waited for without need.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM liverouter.secrets s JOIN liverouter_internal.sent n
            ON (n.name, n.sealed) = (s.name, s.sealed) AND NOT s.origins @> n.origins)
    THEN
        ALTER TABLE liverouter.secrets DISABLE TRIGGER USER;
        UPDATE liverouter.secrets s SET origins = liverouter_internal.together(s.origins, n.origins)
        FROM liverouter_internal.sent n
        WHERE (n.name, n.sealed) = (s.name, s.sealed);
        ALTER TABLE liverouter.secrets ENABLE TRIGGER USER;
    END IF;
END $$;

UPDATE liverouter.revision_log l SET sealed = l.sealed || b.changed
FROM (
    SELECT r.revision, jsonb_object_agg(n.name, s.value || jsonb_build_object('origins', to_jsonb(
        liverouter_internal.together(ARRAY(SELECT jsonb_array_elements_text(s.value -> 'origins')), n.origins))))
    FROM liverouter.revision_log r
    CROSS JOIN LATERAL jsonb_each(r.sealed) s
    JOIN liverouter_internal.sent n ON (n.name, n.sealed) = (s.key, s.value ->> 'sealed')
    GROUP BY r.revision
) b (revision, changed)
WHERE b.revision = l.revision;

DROP FUNCTION liverouter_internal.together(text[], text[]);
DROP VIEW liverouter_internal.sent;

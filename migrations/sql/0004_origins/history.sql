CREATE OR REPLACE FUNCTION liverouter.rollback(revision bigint, comment text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before uuid;
    goal   liverouter.revision_log%ROWTYPE;
    head   liverouter.head%ROWTYPE;
BEGIN
    PERFORM liverouter.begin_edit(
        comment => coalesce(nullif(rollback.comment, ''), format('back to revision %s', rollback.revision)));
    goal := liverouter.revision_of(rollback.revision);
    before := (SELECT h.change_id FROM liverouter.head h);

    DELETE FROM liverouter.settings s WHERE NOT goal.content ? s.key;
    INSERT INTO liverouter.settings AS s (key, value)
        SELECT c.key, c.value FROM jsonb_each(goal.content) c
        ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE s.value IS DISTINCT FROM excluded.value;
    DELETE FROM liverouter.secrets s WHERE NOT goal.sealed ? s.name;
    INSERT INTO liverouter.secrets AS s (name, sealed, fingerprint, origins)
        SELECT c.key, c.value ->> 'sealed', c.value ->> 'fingerprint',
               ARRAY(SELECT jsonb_array_elements_text(c.value -> 'origins'))
        FROM jsonb_each(goal.sealed) c
        ON CONFLICT (name) DO UPDATE
        SET sealed = excluded.sealed, fingerprint = excluded.fingerprint, origins = excluded.origins
        WHERE s.sealed IS DISTINCT FROM excluded.sealed;

    SELECT * INTO STRICT head FROM liverouter.head;
    IF head.change_id IS DISTINCT FROM before THEN
        UPDATE liverouter.revision_log l SET kind = 'rollback' WHERE l.revision = head.revision;
    END IF;
    RETURN head.revision;
END $$;

CREATE OR REPLACE FUNCTION liverouter.revision_diff(
    a bigint, b bigint, OUT object text, OUT key text, OUT old jsonb, OUT new jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was liverouter.revision_log%ROWTYPE := liverouter.revision_of(a);
    is_ liverouter.revision_log%ROWTYPE := liverouter.revision_of(b);
BEGIN
    RETURN QUERY
        SELECT 'setting', coalesce(x.key, y.key), x.value, y.value
        FROM jsonb_each(was.content) x FULL JOIN jsonb_each(is_.content) y ON y.key = x.key
        WHERE x.value IS DISTINCT FROM y.value
        UNION ALL
        SELECT CASE shown.part WHEN 'fingerprint' THEN 'secret' ELSE shown.part END, coalesce(x.key, y.key),
               x.value -> shown.part, y.value -> shown.part
        FROM jsonb_each(was.sealed) x FULL JOIN jsonb_each(is_.sealed) y ON y.key = x.key
        CROSS JOIN (VALUES ('fingerprint'), ('origins')) shown (part)
        WHERE x.value -> shown.part IS DISTINCT FROM y.value -> shown.part
          AND (shown.part = 'fingerprint' OR coalesce(nullif(x.value -> 'origins', '[]'), '[]')
                                             <> coalesce(nullif(y.value -> 'origins', '[]'), '[]'))
        ORDER BY 1 DESC, 2;
END $$;
COMMENT ON FUNCTION liverouter.revision_diff(bigint, bigint) IS
    'What differs between two revisions: object (setting, secret, or the origins of a secret), key, old and new value. '
    'NULL = not there. Of a secret the fingerprint is shown, never the value.';

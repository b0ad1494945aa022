-- Rows of other software in settings belong to revisions as long as they are few, so that the way back takes them along.
-- Where there are thousands, revisions are ours alone: what is read, compared and kept does not grow with them, and no
-- rollback touches them. A row is ours whose key begins with a word of ours, misspelt ones included.

CREATE FUNCTION liverouter.own_words() RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT '{llm,litellm}'::text[] || ARRAY(SELECT DISTINCT split_part(p.base, '_', 1) FROM liverouter.providers p)
$$;
COMMENT ON FUNCTION liverouter.own_words() IS
    'First words of the keys of settings that are ours: llm, litellm and those of the providers';

CREATE FUNCTION liverouter.has_few_strangers() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*) <= 200 FROM (
        SELECT FROM liverouter.settings s, liverouter.own_words() own (words)
        WHERE split_part(translate(s.key, ':', '_'), '_', 1) <> ALL (own.words) LIMIT 201) stranger
$$;
COMMENT ON FUNCTION liverouter.has_few_strangers() IS
    'Whether settings holds at most 200 rows of other software, so that revisions hold them, too';

CREATE FUNCTION liverouter.own_content(content jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}')
    FROM jsonb_each(content) c, liverouter.own_words() own (words)
    WHERE split_part(translate(c.key, ':', '_'), '_', 1) = ANY (own.words)
$$;
COMMENT ON FUNCTION liverouter.own_content(jsonb) IS 'The settings of {key: value} that are ours';

CREATE OR REPLACE FUNCTION liverouter.settings_content() RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF liverouter.has_few_strangers() THEN
        RETURN (SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') FROM liverouter.settings s);
    END IF;
    RETURN (
        SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}')
        FROM liverouter.settings s, liverouter.own_words() own (words)
        WHERE split_part(translate(s.key, ':', '_'), '_', 1) = ANY (own.words));
END $$;
COMMENT ON FUNCTION liverouter.settings_content() IS
    'All settings as {key: value}, the shape of revision_log.content, without rows of other software where those are more '
    'than 200';

CREATE OR REPLACE FUNCTION liverouter.rollback(revision bigint, comment text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before uuid;
    goal   liverouter.revision_log%ROWTYPE;
    head   liverouter.head%ROWTYPE;
    now_is jsonb;
BEGIN
    PERFORM liverouter.begin_edit(
        comment => coalesce(nullif(rollback.comment, ''), format('back to revision %s', rollback.revision)));
    goal := liverouter.revision_of(rollback.revision);
    before := (SELECT h.change_id FROM liverouter.head h);

    now_is := liverouter.settings_content();
    IF NOT liverouter.has_few_strangers() OR EXISTS (
        SELECT FROM liverouter.revision_changes c WHERE c.revision = goal.revision AND c.ours_alone)
    THEN
        goal.content := liverouter.own_content(goal.content);
        now_is := liverouter.own_content(now_is);
    END IF;
    DELETE FROM liverouter.settings s WHERE now_is ? s.key AND NOT goal.content ? s.key;
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

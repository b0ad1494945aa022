DROP VIEW liverouter.usage_daily, liverouter.rollout, liverouter.revisions, liverouter.secret_keys;
DROP TRIGGER add_to_days ON liverouter.usage_minutes;
DROP TRIGGER mend_days ON liverouter.usage_minutes;
DROP TRIGGER late_insert ON liverouter.apply_log;
DROP TRIGGER late_update ON liverouter.apply_log;
DROP FUNCTION
    liverouter.add_to_days(), liverouter.mend_days(), liverouter.keep_late_outcomes(), liverouter.prune_history(timestamptz);
DROP INDEX liverouter.apply_log_finished_at, liverouter.apply_log_instance;

CREATE OR REPLACE FUNCTION liverouter.clean_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.author := liverouter.clean_text(to_jsonb(NEW.author), 200);
    NEW.comment := liverouter.clean_text(to_jsonb(NEW.comment), 2000);
    NEW.application_name := liverouter.clean_text(to_jsonb(NEW.application_name), 100);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION liverouter.clean_revision() IS
    'Trigger: bounds what a writer says of itself, which it may set to anything, and keeps it on one line';

CREATE OR REPLACE FUNCTION liverouter.stamp_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    head liverouter.head%ROWTYPE;
BEGIN
    UPDATE liverouter.head SET committed_at = clock_timestamp() RETURNING * INTO head;
    -- No join: without statistics its plan reads the whole log at every commit.
    UPDATE liverouter.revision_log l SET committed_at = head.committed_at WHERE l.revision = head.revision;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.stamp_commit() IS
    'Deferred trigger: takes committed_at at COMMIT, so that a transaction left open does not look like a slow '
    'rollout';

CREATE OR REPLACE FUNCTION liverouter.settings_content() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') FROM liverouter.settings s
$$;
COMMENT ON FUNCTION liverouter.settings_content() IS 'All settings as {key: value}, the shape of revision_log.content';

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

DROP FUNCTION
    liverouter.own_content(jsonb), liverouter.has_few_strangers(), liverouter.own_words(),
    liverouter.keep_outcomes(bigint[]), liverouter.count_outcomes(bigint[]), liverouter.changes_of(bigint),
    liverouter.changes_between(jsonb, jsonb, jsonb, jsonb);
DROP TABLE liverouter.usage_days, liverouter.rollout_totals, liverouter.revision_changes, liverouter.retention;

DO $$
BEGIN
    EXECUTE replace(replace(
        pg_get_functiondef('liverouter.install_roles()'::regprocedure),
        ', liverouter.usage_daily, liverouter.retention', ''),
        E', \'\n             \'liverouter.find_problems(), liverouter.changes_of(bigint), liverouter.count_outcomes(bigint[])', '');
END $$;

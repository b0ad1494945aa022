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

DROP FUNCTION
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

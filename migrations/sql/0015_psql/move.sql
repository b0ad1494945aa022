-- Takes the functions that only our code calls, and the views that others are made of, to schema liverouter_internal, or
-- back. What names them in a function's text is written anew; views and triggers find them wherever they are.
CREATE FUNCTION pg_temp.move(source text, target text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    views  text[] := '{fleet,problems_by_login,rollout_outcomes}';
    -- people call these; and serves() is asked by processes of every version, whatever they find here
    stay   text[] := '{begin_edit,epoch,install_roles,prune,revision_diff,rollback,set_secret,set_setting,wait_applied}'
        || '{serves}'::text[];
    names  text;
    moved  record;
BEGIN
    SELECT string_agg(DISTINCT n.name, '|') INTO names FROM (
        SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = source::regnamespace AND p.proname <> ALL (stay)
        UNION ALL
        SELECT unnest(views)) n (name);
    FOR moved IN
        SELECT format('ALTER FUNCTION %s SET SCHEMA %I', p.oid::regprocedure, target) AS statement
        FROM pg_proc p WHERE p.pronamespace = source::regnamespace AND p.proname <> ALL (stay)
        UNION ALL
        SELECT format('ALTER VIEW %I.%I SET SCHEMA %I', source, v.name, target) FROM unnest(views) v (name)
    LOOP
        EXECUTE moved.statement;
    END LOOP;
    FOR moved IN
        SELECT regexp_replace(
                   pg_get_functiondef(p.oid), format('\m%s\.(%s)\M', source, names), format('%s.\1', target), 'g')
               AS statement
        FROM pg_proc p
        WHERE p.pronamespace IN ('liverouter'::regnamespace, 'liverouter_internal'::regnamespace)
          AND strpos(p.prosrc, source || '.') > 0
    LOOP
        EXECUTE moved.statement;
    END LOOP;
END $$;

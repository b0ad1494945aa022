-- Processes of the versions before call these by their former names.

CREATE FUNCTION liverouter.report(
    doc jsonb, OUT revision bigint, OUT change_id uuid, OUT epoch text, OUT report_whole boolean)
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM liverouter_internal.report(doc) $$;

CREATE FUNCTION liverouter.next_alert() RETURNS jsonb
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT liverouter_internal.next_alert() $$;

CREATE FUNCTION liverouter.settle_alert(ticket uuid, error text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT liverouter_internal.settle_alert(ticket, error) $$;

CREATE FUNCTION liverouter.due_probes(deployments text[], hours double precision) RETURNS SETOF text
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$ SELECT liverouter_internal.due_probes(deployments, hours) $$;

DO $$
DECLARE
    former record;
BEGIN
    FOR former IN
        SELECT p.oid::regprocedure AS signature, p.proname FROM pg_proc p
        WHERE p.pronamespace = 'liverouter'::regnamespace
          AND p.proname IN ('report', 'next_alert', 'settle_alert', 'due_probes')
    LOOP
        EXECUTE format('COMMENT ON FUNCTION %s IS %L', former.signature,
            'Not for people: processes of the versions before call liverouter_internal.' || former.proname || ' so');
    END LOOP;
END $$;

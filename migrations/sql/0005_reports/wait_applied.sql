DROP FUNCTION liverouter.fleet_at(bigint, text);
CREATE FUNCTION liverouter.fleet_at(
    revision bigint, epoch text, OUT label text, OUT role text, OUT done boolean, OUT refused boolean,
    OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    -- What is beyond the head is no revision: nobody can have applied or refused it.
    SELECT f.label, p.role, a.done,
           NOT a.done AND coalesce(
               f.rejected_epoch = fleet_at.epoch AND f.rejected_revision BETWEEN fleet_at.revision AND h.revision,
               false),
           coalesce(f.last_error ->> 'message', 'it gave no reason')
               || coalesce(' [' || (f.last_error ->> 'code') || ']', ''),
           coalesce(f.last_error ->> 'hint', '')
    FROM liverouter.fleet f
    JOIN liverouter.processes p ON p.instance = f.instance
    CROSS JOIN liverouter.head h
    CROSS JOIN LATERAL (
        SELECT coalesce(
            f.epoch = fleet_at.epoch AND f.applied_revision BETWEEN fleet_at.revision AND h.revision, false)) a (done)
    WHERE f.live
$$;
COMMENT ON FUNCTION liverouter.fleet_at(bigint, text) IS
    'Part of wait_applied(): each live instance, its login, whether it has applied a revision, or refused it and why';

CREATE OR REPLACE FUNCTION liverouter.wait_applied(revision bigint, timeout_s numeric DEFAULT 30) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    head     liverouter.head%ROWTYPE;
    epoch_is text := liverouter.epoch();
    deadline timestamptz :=
        clock_timestamp() + make_interval(secs => least(greatest(timeout_s, 0), 86400)::double precision);
    nap_s    double precision := 0.002;
    live     bigint;
    missing  text[];
    logins   text;
    refusal  record;
BEGIN
    SELECT * INTO STRICT head FROM liverouter.head;
    IF wait_applied.revision IS NULL OR wait_applied.revision > head.revision THEN
        RAISE EXCEPTION 'there is no revision %, the head is %', wait_applied.revision, head.revision USING
            ERRCODE = 'LR213', HINT = 'SELECT * FROM liverouter.revisions';
    END IF;
    IF wait_applied.revision = head.revision
        AND (head.xid, head.xact_at) IS NOT DISTINCT FROM (pg_current_xact_id_if_assigned()::text::bigint, now()) THEN
        RAISE EXCEPTION 'revision % is not committed yet, so no instance can see it', wait_applied.revision USING
            ERRCODE = 'LR404', HINT = 'COMMIT first, then wait.';
    END IF;
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'a % transaction never sees an instance apply', current_setting('transaction_isolation') USING
            ERRCODE = 'LR404', HINT = 'Wait outside of a transaction.';
    END IF;
    LOOP
        -- each pass is a new statement, so it sees a new snapshot
        SELECT count(*), coalesce(array_agg(left(f.label, 100) ORDER BY f.nth, f.label) FILTER (WHERE NOT f.done), '{}')
            INTO STRICT live, missing
            FROM (  -- no login pushes another's processes out of the message
                SELECT a.*, row_number() OVER (PARTITION BY a.role, a.done ORDER BY a.label) AS nth
                FROM liverouter.fleet_at(wait_applied.revision, epoch_is) a) f;
        IF live = 0 THEN
            RAISE NOTICE 'no instance is live: there is nobody to wait for';
        END IF;
        IF missing = '{}' THEN
            RETURN true;
        END IF;
        SELECT * INTO refusal FROM liverouter.fleet_at(wait_applied.revision, epoch_is) f
            WHERE f.refused ORDER BY f.label LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'revision % was rejected by %: %', wait_applied.revision, refusal.label, refusal.message
                USING ERRCODE = 'LR403', HINT = refusal.hint,
                    DETAIL = format('The login %s reported it.', refusal.role);
        END IF;
        IF clock_timestamp() >= deadline THEN
            SELECT string_agg(format('%s of the login %s', l.processes, l.role), ', ' ORDER BY l.processes DESC, l.role)
                INTO logins
                FROM (
                    SELECT f.role, count(*) AS processes FROM liverouter.fleet_at(wait_applied.revision, epoch_is) f
                    WHERE NOT f.done GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20) l;
            RAISE EXCEPTION 'after % s revision % is missing in % of % live instances: %',
                trim_scale(round(timeout_s, 3)), wait_applied.revision, cardinality(missing), live,
                left(array_to_string(missing, '; '), 1000)
                USING ERRCODE = 'LR404', HINT = 'See why: SELECT * FROM liverouter.problems',
                    DETAIL = format('Not there yet: %s.', logins);
        END IF;
        PERFORM pg_sleep(least(nap_s, greatest(extract(epoch FROM deadline - clock_timestamp()), 0.001)));
        nap_s := least(nap_s * 1.5, 0.1);
    END LOOP;
END $$;

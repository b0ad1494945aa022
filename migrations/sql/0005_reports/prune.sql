CREATE OR REPLACE FUNCTION liverouter.prune(usage_days integer DEFAULT 35, dead_after interval DEFAULT '1 day')
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed bigint := 0;
    rows    bigint;
BEGIN
    -- Whoever holds a row, another prune or a process in an open transaction, keeps that row, and nobody waits.
    DELETE FROM liverouter.usage_minutes u WHERE u.ctid = ANY (ARRAY(
        SELECT o.ctid FROM liverouter.usage_minutes o
        WHERE o.minute < clock_timestamp() - make_interval(days => usage_days)
        ORDER BY o.minute LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows;
    DELETE FROM liverouter.apply_log l WHERE l.ctid = ANY (ARRAY(
        SELECT o.ctid FROM liverouter.apply_log o
        WHERE o.finished_at < clock_timestamp() - make_interval(days => usage_days)
          AND o.revision < (SELECT h.revision - 100 FROM liverouter.head h)
        LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows;
    DELETE FROM liverouter.processes d WHERE d.ctid = ANY (ARRAY(
        SELECT p.ctid FROM liverouter.processes p
        WHERE p.heartbeat_at < clock_timestamp()
                - CASE WHEN p.bye_at IS NULL THEN dead_after ELSE least(dead_after, '1 hour') END
          -- usage and rollout name their app and host
          AND NOT EXISTS (SELECT FROM liverouter.usage_minutes u WHERE u.instance = p.instance)
          AND NOT EXISTS (SELECT FROM liverouter.apply_log l WHERE l.instance = p.instance)
        LIMIT 10000 FOR UPDATE OF p SKIP LOCKED));
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows;
    DELETE FROM liverouter.report_quota q WHERE (q.role, q.slot) IN (
        SELECT o.role, o.slot FROM liverouter.report_quota o
        WHERE o.minute < clock_timestamp() - interval '1 hour' FOR UPDATE SKIP LOCKED);
    RETURN removed;
END $$;
COMMENT ON FUNCTION liverouter.prune(integer, interval) IS
    'Removes usage and outcomes older than usage_days and processes that have been dead for dead_after and are named '
    'by neither, at most 10000 rows of each at a time; waits for nobody. Runs by itself about once in a thousand '
    'reports. Returns the rows removed.';

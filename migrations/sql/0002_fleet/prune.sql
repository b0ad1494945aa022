CREATE FUNCTION liverouter.prune(usage_days integer DEFAULT 35, dead_after interval DEFAULT '1 day') RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed bigint := 0;
    rows    bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7813584462689366629) THEN    -- somebody else is at it
        RETURN 0;
    END IF;
    DELETE FROM liverouter.usage_minutes u WHERE u.ctid = ANY (ARRAY(
        SELECT o.ctid FROM liverouter.usage_minutes o
        WHERE o.minute < clock_timestamp() - make_interval(days => usage_days) ORDER BY o.minute LIMIT 10000));
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows;
    DELETE FROM liverouter.apply_log l
        WHERE l.finished_at < clock_timestamp() - make_interval(days => usage_days)
          AND l.revision < (SELECT h.revision - 100 FROM liverouter.head h);
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows;
    DELETE FROM liverouter.processes p
        WHERE p.heartbeat_at < clock_timestamp()
                - CASE WHEN p.bye_at IS NULL THEN dead_after ELSE least(dead_after, '1 hour') END
          -- usage and rollout name their app and host
          AND NOT EXISTS (SELECT FROM liverouter.usage_minutes u WHERE u.instance = p.instance)
          AND NOT EXISTS (SELECT FROM liverouter.apply_log l WHERE l.instance = p.instance);
    GET DIAGNOSTICS rows = ROW_COUNT;
    RETURN removed + rows;
END $$;
COMMENT ON FUNCTION liverouter.prune(integer, interval) IS
    'Removes usage and outcomes older than usage_days, at most 10000 rows of usage at a time, and processes that have '
    'been dead for dead_after and are named by neither. Runs by itself about once in a thousand reports. Returns the '
    'rows removed.';

CREATE TABLE liverouter.retention (
    only_row          boolean PRIMARY KEY DEFAULT true CONSTRAINT retention_one_row CHECK (only_row),
    history_days      integer NOT NULL DEFAULT 731 CONSTRAINT retention_history_days CHECK (history_days >= 0),
    history_revisions integer NOT NULL DEFAULT 1000
                      CONSTRAINT retention_history_revisions CHECK (history_revisions >= 1),
    usage_daily_days  integer NOT NULL DEFAULT 731 CONSTRAINT retention_usage_daily_days CHECK (usage_daily_days >= 1)
);
INSERT INTO liverouter.retention DEFAULT VALUES;
COMMENT ON TABLE liverouter.retention IS
    'One row: how long history and daily usage are kept. Its owner changes it: UPDATE liverouter.retention SET '
    'history_days = 365';
COMMENT ON COLUMN liverouter.retention.only_row IS 'Always true: keeps the table at one row';
COMMENT ON COLUMN liverouter.retention.history_days IS
    'Days that a revision is kept at least; older ones go, but never the newest history_revisions';
COMMENT ON COLUMN liverouter.retention.history_revisions IS 'How many revisions are kept at least, however old';
COMMENT ON COLUMN liverouter.retention.usage_daily_days IS 'Days that usage_daily is kept';

CREATE INDEX apply_log_finished_at ON liverouter.apply_log (finished_at);
CREATE INDEX apply_log_instance ON liverouter.apply_log (instance);
COMMENT ON INDEX liverouter.apply_log_finished_at IS 'For pruning';
COMMENT ON INDEX liverouter.apply_log_instance IS 'For pruning: whether a process that ended is named here';

CREATE FUNCTION liverouter.prune_history(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept    liverouter.retention%ROWTYPE;
    newest  bigint;
    due     bigint[];
BEGIN
    SELECT * INTO STRICT kept FROM liverouter.retention;
    -- Revisions are in the order of their commits: where the oldest is not due, none is, and no other is looked at.
    IF (SELECT l.committed_at FROM liverouter.revision_log l ORDER BY l.revision LIMIT 1)
        >= moment - make_interval(days => kept.history_days)
    THEN
        RETURN 0;
    END IF;
    newest := (SELECT h.revision FROM liverouter.head h);
    due := ARRAY(
        SELECT o.revision FROM liverouter.revision_log o
        WHERE o.revision <= newest - kept.history_revisions
          AND o.committed_at < moment - make_interval(days => kept.history_days)
        ORDER BY o.revision LIMIT 1000 FOR UPDATE SKIP LOCKED);
    IF due = '{}' THEN
        RETURN 0;
    END IF;
    -- The history says where an envelope may go. One that it forgets is spent: nobody stores it again for elsewhere.
    INSERT INTO liverouter.spent_envelopes (digest)
        SELECT DISTINCT sha256(convert_to(e.value ->> 'sealed', 'UTF8'))
        FROM liverouter.revision_log l CROSS JOIN LATERAL jsonb_each(l.sealed) e
        WHERE l.revision = ANY (due)
          AND (e.key, e.value ->> 'sealed') NOT IN (
              SELECT k.key, k.value ->> 'sealed'
              FROM liverouter.revision_log r CROSS JOIN LATERAL jsonb_each(r.sealed) k
              WHERE r.revision <> ALL (due)
              UNION ALL
              SELECT s.name, s.sealed FROM liverouter.secrets s)
        ON CONFLICT DO NOTHING;
    DELETE FROM liverouter.revision_log l WHERE l.revision = ANY (due);
    DELETE FROM liverouter.revision_changes c WHERE c.revision = ANY (due);
    DELETE FROM liverouter.rollout_totals t WHERE t.ctid = ANY (ARRAY(
        SELECT o.ctid FROM liverouter.rollout_totals o WHERE o.revision = ANY (due) FOR UPDATE SKIP LOCKED));
    RETURN cardinality(due);
END $$;
COMMENT ON FUNCTION liverouter.prune_history(timestamptz) IS
    'Part of prune(): removes revisions that liverouter.retention does not keep, at most 1000 at a time, and returns how '
    'many. The head, which holds the secrets in force, is never among them.';

CREATE OR REPLACE FUNCTION liverouter.prune(usage_days integer DEFAULT 35, dead_after interval DEFAULT '1 day')
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    moment  timestamptz := clock_timestamp();  -- a variable, because a volatile function is never an index condition
    removed bigint := 0;
    rows    bigint;
BEGIN
    -- Whoever holds a row, another prune or a process in an open transaction, keeps that row, and nobody waits.
    DELETE FROM liverouter.usage_minutes u WHERE u.ctid = ANY (ARRAY(
        SELECT o.ctid FROM liverouter.usage_minutes o
        WHERE o.minute < moment - make_interval(days => usage_days)
        ORDER BY o.minute LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows;
    DELETE FROM liverouter.usage_days u WHERE u.ctid = ANY (ARRAY(
        SELECT o.ctid FROM liverouter.usage_days o
        WHERE o.day < (moment AT TIME ZONE 'UTC')::date - (SELECT k.usage_daily_days FROM liverouter.retention k)
        ORDER BY o.day LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows;
    DELETE FROM liverouter.apply_log l WHERE l.ctid = ANY (ARRAY(
        SELECT o.ctid FROM liverouter.apply_log o
        WHERE o.finished_at < moment - make_interval(days => usage_days)
          AND o.revision < (SELECT h.revision - 100 FROM liverouter.head h)
        ORDER BY o.finished_at LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows + liverouter.prune_history(moment);
    DELETE FROM liverouter.processes d WHERE d.ctid = ANY (ARRAY(
        SELECT p.ctid FROM liverouter.processes p
        WHERE p.heartbeat_at < moment - CASE WHEN p.bye_at IS NULL THEN dead_after ELSE least(dead_after, '1 hour') END
          -- usage and rollout name their app and host; no EXISTS, which a plan may answer by reading the whole table
          AND (SELECT true FROM liverouter.usage_minutes u WHERE u.instance = p.instance LIMIT 1) IS NULL
          AND (SELECT true FROM liverouter.apply_log l WHERE l.instance = p.instance LIMIT 1) IS NULL
        LIMIT 10000 FOR UPDATE OF p SKIP LOCKED));
    GET DIAGNOSTICS rows = ROW_COUNT;
    removed := removed + rows;
    DELETE FROM liverouter.report_quota q WHERE (q.role, q.slot) IN (
        SELECT o.role, o.slot FROM liverouter.report_quota o
        WHERE o.minute < moment - interval '1 hour' FOR UPDATE SKIP LOCKED);
    RETURN removed;
END $$;
COMMENT ON FUNCTION liverouter.prune(integer, interval) IS
    'Removes usage and outcomes older than usage_days, processes that have been dead for dead_after and are named by '
    'neither, at most 10000 rows of each at a time, and what liverouter.retention does not keep; waits for nobody. Runs '
    'by itself about once in a thousand reports. Returns the rows removed.';

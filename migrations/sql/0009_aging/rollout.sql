-- The twenty newest revisions are counted when somebody asks, as processes come to them now. What came of an older one
-- is counted once: when it leaves them, and again where a process reports it late.

CREATE TABLE liverouter.rollout_totals (
    revision bigint PRIMARY KEY,
    applied  bigint NOT NULL,
    rejected bigint NOT NULL,
    p50_ms   numeric,
    p99_ms   numeric,
    slowest  uuid
);
COMMENT ON TABLE liverouter.rollout_totals IS
    'What came of each revision but the twenty newest. Read it through the view rollout.';
COMMENT ON COLUMN liverouter.rollout_totals.revision IS 'The revision';
COMMENT ON COLUMN liverouter.rollout_totals.applied IS 'Processes that applied it';
COMMENT ON COLUMN liverouter.rollout_totals.rejected IS 'Processes that refused it';
COMMENT ON COLUMN liverouter.rollout_totals.p50_ms IS 'Half of the processes served calls by it within so many milliseconds';
COMMENT ON COLUMN liverouter.rollout_totals.p99_ms IS '99 of 100 did';
COMMENT ON COLUMN liverouter.rollout_totals.slowest IS 'The process that took longest, as in processes';

CREATE FUNCTION liverouter.count_outcomes(
    revisions bigint[], OUT revision bigint, OUT applied bigint, OUT rejected bigint, OUT p50_ms numeric,
    OUT p99_ms numeric, OUT slowest uuid)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
    SELECT
        l.revision,
        count(*) FILTER (WHERE l.outcome = 'applied'),
        count(*) FILTER (WHERE l.outcome = 'rejected'),
        round(percentile_cont(0.5) WITHIN GROUP (ORDER BY l.lag_ms)::numeric, 1),
        round(percentile_cont(0.99) WITHIN GROUP (ORDER BY l.lag_ms)::numeric, 1),
        (array_agg(l.instance ORDER BY l.lag_ms DESC) FILTER (WHERE l.lag_ms IS NOT NULL))[1]
    FROM liverouter.apply_log l
    WHERE l.revision = ANY (revisions)
    GROUP BY l.revision
    ORDER BY l.revision
$$;
COMMENT ON FUNCTION liverouter.count_outcomes(bigint[]) IS
    'What processes made of each of these revisions that any process reported; the shape of rollout_totals';

CREATE FUNCTION liverouter.keep_outcomes(revisions bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ours bigint[] := revisions;
BEGIN
    -- Nobody waits for another's session: whoever counts a revision keeps others from it, who leave it to him. No report
    -- names more than a hundred; who fills the table by hand does it alone.
    IF cardinality(revisions) <= 100 THEN
        ours := ARRAY(
            SELECT r.revision FROM unnest(revisions) r (revision)
            WHERE pg_try_advisory_xact_lock(27762, (r.revision % 2147483647)::integer));
    END IF;
    INSERT INTO liverouter.rollout_totals AS t (revision, applied, rejected, p50_ms, p99_ms, slowest)
        SELECT c.revision, c.applied, c.rejected, c.p50_ms, c.p99_ms, c.slowest
        FROM liverouter.count_outcomes(ours) c
        ON CONFLICT (revision) DO UPDATE SET
            applied = excluded.applied, rejected = excluded.rejected, p50_ms = excluded.p50_ms,
            p99_ms = excluded.p99_ms, slowest = excluded.slowest;
END $$;
COMMENT ON FUNCTION liverouter.keep_outcomes(bigint[]) IS
    'Writes what came of these revisions into rollout_totals, but for those that another session counts just now';

CREATE FUNCTION liverouter.keep_late_outcomes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    late bigint[] := ARRAY(
        SELECT DISTINCT t.revision FROM told t CROSS JOIN liverouter.head h WHERE t.revision <= h.revision - 20
        ORDER BY t.revision);
BEGIN
    IF late <> '{}' THEN
        PERFORM liverouter.keep_outcomes(late);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.keep_late_outcomes() IS
    'Trigger: counts a revision again that a process reports when it is none of the twenty newest any more';

CREATE TRIGGER late_insert AFTER INSERT ON liverouter.apply_log REFERENCING NEW TABLE AS told
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.keep_late_outcomes();
CREATE TRIGGER late_update AFTER UPDATE ON liverouter.apply_log REFERENCING NEW TABLE AS told
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.keep_late_outcomes();

CREATE OR REPLACE FUNCTION liverouter.stamp_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    head liverouter.head%ROWTYPE;
BEGIN
    UPDATE liverouter.head SET committed_at = clock_timestamp() RETURNING * INTO head;
    -- No join: without statistics its plan reads the whole log at every commit.
    UPDATE liverouter.revision_log l SET committed_at = head.committed_at WHERE l.revision = head.revision;
    PERFORM liverouter.keep_outcomes(ARRAY(
        SELECT DISTINCT l.revision FROM liverouter.apply_log l
        WHERE l.revision <= head.revision - 20
          AND l.revision > (SELECT coalesce(max(t.revision), -1) FROM liverouter.rollout_totals t)));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.stamp_commit() IS
    'Deferred trigger: takes committed_at at COMMIT, so that a transaction left open does not look like a slow '
    'rollout; keeps what came of the revision that is none of the twenty newest any more';

SELECT liverouter.keep_outcomes(ARRAY(
    SELECT DISTINCT l.revision FROM liverouter.apply_log l, liverouter.head h WHERE l.revision <= h.revision - 20));

-- No security barrier, as for revisions.
CREATE OR REPLACE VIEW liverouter.rollout AS
WITH live AS (
    SELECT coalesce(greatest(
               CASE WHEN f.epoch = h.epoch THEN f.applied_revision END,
               CASE WHEN f.rejected_epoch = h.epoch THEN f.rejected_revision END), -1) AS newest,
           count(*) AS n, array_to_string((array_agg(f.label ORDER BY f.label))[:20], '; ') AS labels
    FROM liverouter.fleet f CROSS JOIN liverouter.epoch() h (epoch)
    WHERE f.live
    GROUP BY 1
),
waiting AS MATERIALIZED (
    SELECT array_agg(l.newest) AS newest, array_agg(l.n) AS n, array_agg(l.labels) AS labels FROM live l
),
outcome AS (
    SELECT r.revision, r.committed_at, coalesce(t.applied, 0) AS applied, coalesce(t.rejected, 0) AS rejected,
           t.p50_ms, t.p99_ms, t.slowest
    FROM liverouter.revision_log r
    LEFT JOIN liverouter.rollout_totals t ON t.revision = r.revision
    WHERE r.revision < (SELECT h.revision - 19 FROM liverouter.head h)
    UNION ALL
    SELECT r.revision, r.committed_at, coalesce(c.applied, 0), coalesce(c.rejected, 0), c.p50_ms, c.p99_ms, c.slowest
    FROM liverouter.revision_log r
    LEFT JOIN LATERAL liverouter.count_outcomes(ARRAY[r.revision]) c ON true
    WHERE r.revision >= (SELECT h.revision - 19 FROM liverouter.head h)
)
SELECT
    o.revision,
    o.committed_at,
    o.applied,
    o.rejected,
    p.pending,
    o.p50_ms,
    o.p99_ms,
    s.label AS slowest,
    p.waiting_for,
    o.slowest AS slowest_instance
FROM outcome o
CROSS JOIN waiting w
CROSS JOIN LATERAL (
    -- who skipped a revision for a newer one, applied or refused, does not wait for it any more
    SELECT coalesce(sum(u.n), 0)::bigint, string_agg(u.labels, '; ')
    FROM unnest(w.newest, w.n, w.labels) u (newest, n, labels)
    WHERE u.newest < o.revision
) p (pending, waiting_for)
LEFT JOIN liverouter.fleet s ON s.instance = o.slowest;
COMMENT ON COLUMN liverouter.rollout.revision IS 'The revision';

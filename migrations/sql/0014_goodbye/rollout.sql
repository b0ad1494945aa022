-- No security barrier, as for revisions.
CREATE OR REPLACE VIEW liverouter.rollout AS
WITH live AS (
    SELECT coalesce(greatest(
               CASE WHEN f.epoch = h.epoch THEN f.applied_revision END,
               CASE WHEN f.rejected_epoch = h.epoch THEN f.rejected_revision END), -1) AS newest,
           count(*) AS n, array_to_string((array_agg(f.label ORDER BY f.label))[:20], '; ') AS labels
    FROM liverouter.fleet f CROSS JOIN liverouter.epoch() h (epoch)
    WHERE f.live AND NOT (
        f.state = 'initializing' AND f.applied_revision IS NULL AND f.rejected_revision IS NULL
        AND coalesce(f.last_error, 'null') = 'null' AND f.started_at > clock_timestamp() - interval '2 minutes')
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

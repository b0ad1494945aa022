CREATE VIEW liverouter.rollout WITH (security_barrier) AS
WITH live AS (
    SELECT CASE WHEN f.epoch = h.epoch THEN f.applied_revision END AS applied,
           CASE WHEN f.rejected_epoch = h.epoch THEN f.rejected_revision END AS rejected,
           count(*) AS n, array_agg(f.label ORDER BY f.label) AS labels
    FROM liverouter.fleet f CROSS JOIN liverouter.epoch() h (epoch)
    WHERE f.live
    GROUP BY 1, 2
)
SELECT
    r.revision,
    r.committed_at,
    o.applied,
    o.rejected,
    p.pending,
    o.p50_ms,
    o.p99_ms,
    s.label AS slowest,
    p.waiting_for,
    o.slowest AS slowest_instance
FROM liverouter.revision_log r
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE l.outcome = 'applied') AS applied,
        count(*) FILTER (WHERE l.outcome = 'rejected') AS rejected,
        round(percentile_cont(0.5) WITHIN GROUP (ORDER BY l.lag_ms)::numeric, 1) AS p50_ms,
        round(percentile_cont(0.99) WITHIN GROUP (ORDER BY l.lag_ms)::numeric, 1) AS p99_ms,
        (array_agg(l.instance ORDER BY l.lag_ms DESC) FILTER (WHERE l.lag_ms IS NOT NULL))[1] AS slowest
    FROM liverouter.apply_log l
    WHERE l.revision = r.revision
) o
CROSS JOIN LATERAL (
    -- who skipped a revision for a newer one, applied or refused, does not wait for it any more
    SELECT coalesce(sum(l.n), 0)::bigint, string_agg(array_to_string(l.labels[:20], '; '), '; ')
    FROM live l
    WHERE coalesce(l.applied < r.revision, true) AND coalesce(l.rejected < r.revision, true)
) p (pending, waiting_for)
LEFT JOIN liverouter.fleet s ON s.instance = o.slowest
ORDER BY r.revision DESC;

COMMENT ON VIEW liverouter.rollout IS
    'How each revision came to the processes: who applied it, who refused it, who is still to come, and how long it '
    'took.';
COMMENT ON COLUMN liverouter.rollout.revision IS 'The revision, newest first';
COMMENT ON COLUMN liverouter.rollout.committed_at IS 'When it was committed';
COMMENT ON COLUMN liverouter.rollout.applied IS
    'Processes that applied it; one that went on to a newer one at once is not among them';
COMMENT ON COLUMN liverouter.rollout.rejected IS 'Processes that refused it';
COMMENT ON COLUMN liverouter.rollout.pending IS
    'Live processes that have neither applied it, nor a newer one, nor refused it';
COMMENT ON COLUMN liverouter.rollout.p50_ms IS
    'Half of the processes served calls by it within so many milliseconds after the commit; processes started later '
    'do not count';
COMMENT ON COLUMN liverouter.rollout.p99_ms IS '99 of 100 did';
COMMENT ON COLUMN liverouter.rollout.slowest IS 'The process that took longest';
COMMENT ON COLUMN liverouter.rollout.waiting_for IS 'Who is pending; of many processes in one state the first twenty';
COMMENT ON COLUMN liverouter.rollout.slowest_instance IS 'Identity of the slowest one, as in instances';

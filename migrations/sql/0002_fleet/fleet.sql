CREATE VIEW liverouter.fleet WITH (security_barrier) AS
SELECT
    p.instance, p.app, p.host, p.pid, p.labels, p.versions, p.mode, p.mode_cause, p.since, p.epoch,
    p.applied_revision, p.applied_at, p.generation, p.litellm_enable, p.rejected_revision, p.rejected_epoch, p.problems,
    p.last_error, p.listener, p.deployments, p.started_at, p.heartbeat_at, p.bye_at,
    l.live,
    CASE WHEN l.live THEN p.state ELSE 'offline' END AS state,
    format('%s on %s, pid %s',
        coalesce(nullif(p.app, ''), '?'), coalesce(nullif(p.host, ''), '?'), coalesce(p.pid::text, '?')) AS label
FROM liverouter.processes p
CROSS JOIN LATERAL (
    -- heartbeats come every 10 s; three may be lost; the database's clock judges, whatever a process thinks the time is
    SELECT p.bye_at IS NULL AND p.heartbeat_at > clock_timestamp() - interval '35 seconds'
) l (live);

COMMENT ON VIEW liverouter.fleet IS
    'Building block of the views below: every process known, with its liveness by this database''s clock';
COMMENT ON COLUMN liverouter.fleet.live IS 'Reported within the last 35 seconds and has not said goodbye';
COMMENT ON COLUMN liverouter.fleet.state IS 'As reported; offline where it is not live';
COMMENT ON COLUMN liverouter.fleet.label IS 'The process in words';
COMMENT ON COLUMN liverouter.fleet.instance IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.app IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.host IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.pid IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.labels IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.versions IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.mode IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.mode_cause IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.since IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.epoch IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.applied_revision IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.applied_at IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.generation IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.litellm_enable IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.rejected_revision IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.rejected_epoch IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.problems IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.last_error IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.listener IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.deployments IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.started_at IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.heartbeat_at IS 'As in processes';
COMMENT ON COLUMN liverouter.fleet.bye_at IS 'As in processes';

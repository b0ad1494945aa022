DROP VIEW liverouter.instances;
CREATE VIEW liverouter.instances WITH (security_barrier) AS
SELECT
    f.app,
    f.host,
    f.pid,
    f.state,
    f.applied_revision,
    f.rejected_revision,
    f.last_error ->> 'code' AS error_code,
    f.last_error ->> 'message' AS error,
    f.last_error ->> 'hint' AS hint,
    f.mode,
    f.mode_cause,
    date_trunc('second', f.heartbeat_at) AS heartbeat_at,
    date_trunc('second', f.since) AS since,
    f.applied_at,
    f.generation,
    f.litellm_enable,
    jsonb_path_query_first(f.listener, '$.backend_pid ? (@ >= 0 && @ < 1e18)')::bigint AS listener_pid,
    jsonb_path_query_first(f.listener, '$.reconnects ? (@ >= 0 && @ < 1e18)')::bigint AS reconnects,
    jsonb_path_query_first(f.listener, '$.last_probe_age_ms ? (@ >= 0 && @ < 1e18)')::bigint AS probe_age_ms,
    f.versions ->> 'liverouter' AS liverouter,
    f.versions ->> 'litellm' AS litellm,
    f.versions ->> 'python' AS python,
    f.labels,
    date_trunc('second', f.started_at) AS started_at,
    f.epoch,
    f.instance,
    p.role
FROM liverouter.fleet f
JOIN liverouter.processes p ON p.instance = f.instance
WHERE f.bye_at IS NULL AND f.heartbeat_at > clock_timestamp() - interval '1 day'
ORDER BY f.app, f.host, f.pid, f.instance;

COMMENT ON VIEW liverouter.instances IS
    'Each process that runs a client, and those that died within a day without saying goodbye: state, what it applied '
    'and rejected and why, how it hears of changes.';
COMMENT ON COLUMN liverouter.instances.app IS 'LIVEROUTER_APP, else the program''s name';
COMMENT ON COLUMN liverouter.instances.host IS 'Host name of its machine or container';
COMMENT ON COLUMN liverouter.instances.pid IS 'Process id there';
COMMENT ON COLUMN liverouter.instances.state IS
    'initializing (nothing live yet), live, stale (serves the last good revision, cannot read the database), '
    'poll_only (serves, hears of changes late), offline (no report for 35 s)';
COMMENT ON COLUMN liverouter.instances.applied_revision IS 'Revision it serves calls with';
COMMENT ON COLUMN liverouter.instances.rejected_revision IS 'Newer revision it refused; see error and hint';
COMMENT ON COLUMN liverouter.instances.error_code IS 'Code of its last error, LR101 for example';
COMMENT ON COLUMN liverouter.instances.error IS 'Its last error in words';
COMMENT ON COLUMN liverouter.instances.hint IS 'How to mend it';
COMMENT ON COLUMN liverouter.instances.mode IS 'How it hears of changes: listen, poll_only or none';
COMMENT ON COLUMN liverouter.instances.mode_cause IS
    'Why it does not listen: pooler, standby, refused, half_open, unreachable';
COMMENT ON COLUMN liverouter.instances.heartbeat_at IS 'Its last report, by this database''s clock';
COMMENT ON COLUMN liverouter.instances.since IS 'Since when it is in the state that it reported, by its own clock';
COMMENT ON COLUMN liverouter.instances.applied_at IS
    'When the applied revision began to serve, by this database''s clock';
COMMENT ON COLUMN liverouter.instances.generation IS 'How many activations the process has made';
COMMENT ON COLUMN liverouter.instances.litellm_enable IS
    'false: it serves the primary''s plain LangChain model, without failover';
COMMENT ON COLUMN liverouter.instances.listener_pid IS 'Backend of its LISTEN connection: pg_stat_activity.pid';
COMMENT ON COLUMN liverouter.instances.reconnects IS 'How often that connection was made anew';
COMMENT ON COLUMN liverouter.instances.probe_age_ms IS 'Age of its last answered probe when it reported';
COMMENT ON COLUMN liverouter.instances.liverouter IS 'Version of liverouter';
COMMENT ON COLUMN liverouter.instances.litellm IS 'Version of litellm';
COMMENT ON COLUMN liverouter.instances.python IS 'Version of Python';
COMMENT ON COLUMN liverouter.instances.labels IS 'LIVEROUTER_LABELS';
COMMENT ON COLUMN liverouter.instances.started_at IS 'Its first report, by this database''s clock';
COMMENT ON COLUMN liverouter.instances.epoch IS 'Line of history that applied_revision belongs to, see epoch()';
COMMENT ON COLUMN liverouter.instances.instance IS 'Identity of the process: a UUID, new at each start';
COMMENT ON COLUMN liverouter.instances.role IS 'Login role that reports for it; all else here is its own word';

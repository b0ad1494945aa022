CREATE TABLE liverouter.processes (
    instance          uuid        PRIMARY KEY,
    key_hash          bytea       NOT NULL,
    role              text        NOT NULL DEFAULT session_user,
    app               text        NOT NULL DEFAULT '',
    host              text        NOT NULL DEFAULT '',
    pid               integer,
    labels            jsonb       NOT NULL DEFAULT '{}',
    versions          jsonb       NOT NULL DEFAULT '{}',
    state             text        NOT NULL DEFAULT 'initializing',
    mode              text        NOT NULL DEFAULT 'none',
    mode_cause        text,
    since             timestamptz,
    epoch             text,
    applied_revision  bigint,
    applied_at        timestamptz,
    generation        bigint,
    litellm_enable    boolean,
    rejected_revision bigint,
    rejected_epoch    text,
    problems          jsonb       NOT NULL DEFAULT '[]',
    last_error        jsonb,
    listener          jsonb       NOT NULL DEFAULT '{}',
    deployments       jsonb       NOT NULL DEFAULT '[]',
    started_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    bye_at            timestamptz
) WITH (fillfactor = 70);  -- heartbeats update in place; no index but the key, no trigger, no NOTIFY

COMMENT ON TABLE liverouter.processes IS
    'What each process last said of itself through report(). Read it through the views instances and active_config.';
COMMENT ON COLUMN liverouter.processes.instance IS 'Identity of the process: a random UUID, new at each start';
COMMENT ON COLUMN liverouter.processes.key_hash IS 'SHA-256 of the key that every report of this instance must carry';
COMMENT ON COLUMN liverouter.processes.role IS 'Login role that reports; no other role can report for this instance';
COMMENT ON COLUMN liverouter.processes.app IS 'LIVEROUTER_APP, else the program''s name';
COMMENT ON COLUMN liverouter.processes.host IS 'Host name of its machine or container';
COMMENT ON COLUMN liverouter.processes.pid IS 'Process id there';
COMMENT ON COLUMN liverouter.processes.labels IS 'LIVEROUTER_LABELS';
COMMENT ON COLUMN liverouter.processes.versions IS 'Versions of liverouter, litellm, python, ...';
COMMENT ON COLUMN liverouter.processes.state IS 'State it reported: initializing, live, stale, poll_only, offline';
COMMENT ON COLUMN liverouter.processes.mode IS 'How it hears of changes: listen, poll_only or none';
COMMENT ON COLUMN liverouter.processes.mode_cause IS
    'Why it does not listen: pooler, standby, refused, half_open, unreachable';
COMMENT ON COLUMN liverouter.processes.since IS 'Since when it is in this state, by its own clock';
COMMENT ON COLUMN liverouter.processes.epoch IS 'Line of history that applied_revision belongs to, see epoch()';
COMMENT ON COLUMN liverouter.processes.applied_revision IS 'Revision it serves calls with';
COMMENT ON COLUMN liverouter.processes.applied_at IS 'Since when, by this database''s clock';
COMMENT ON COLUMN liverouter.processes.generation IS 'How many activations the process has made';
COMMENT ON COLUMN liverouter.processes.litellm_enable IS
    'Whether it serves through litellm, or by the primary''s plain model';
COMMENT ON COLUMN liverouter.processes.rejected_revision IS
    'Newer revision it refused; it serves the last good one meanwhile';
COMMENT ON COLUMN liverouter.processes.rejected_epoch IS 'Line of history that rejected_revision belongs to';
COMMENT ON COLUMN liverouter.processes.problems IS 'What it finds wrong: [{severity, code, where, message, hint}]';
COMMENT ON COLUMN liverouter.processes.last_error IS 'Its last error: {code, message, hint, revision, where}';
COMMENT ON COLUMN liverouter.processes.listener IS
    'Its LISTEN connection: {backend_pid, reconnects, last_probe_age_ms}';
COMMENT ON COLUMN liverouter.processes.deployments IS 'What it would send a call to, in order, without secrets';
COMMENT ON COLUMN liverouter.processes.started_at IS 'Its first report';
COMMENT ON COLUMN liverouter.processes.heartbeat_at IS 'Its last report; live = within the last 35 seconds';
COMMENT ON COLUMN liverouter.processes.bye_at IS 'When it said that it ends; NULL = it runs, or died';

DROP TRIGGER clean_revision ON liverouter.revision_log;
DROP INDEX liverouter.processes_role;
DROP TABLE liverouter.report_quota;
DROP VIEW liverouter.instances;
DROP FUNCTION
    liverouter.report(jsonb), liverouter.report_fault(jsonb), liverouter.report_applies(jsonb, timestamptz),
    liverouter.report_deployments(jsonb, timestamptz), liverouter.report_problems(jsonb),
    liverouter.report_problem(jsonb), liverouter.add_usage(uuid, jsonb, timestamptz), liverouter.summed(jsonb),
    liverouter.prune(integer, interval), liverouter.wait_applied(bigint, numeric), liverouter.fleet_at(bigint, text),
    liverouter.check_processes(), liverouter.may_add(timestamptz), liverouter.count_added(timestamptz, bigint),
    liverouter.clean_revision(), liverouter.clean_text(jsonb, integer), liverouter.clean_number(jsonb, numeric),
    liverouter.clean_time(jsonb), liverouter.clean_json(jsonb, integer), liverouter.clean_words(jsonb);

CREATE OR REPLACE VIEW liverouter.fleet WITH (security_barrier) AS
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

DROP VIEW liverouter.usage;

CREATE OR REPLACE FUNCTION liverouter.begin_edit(
    expected_revision bigint DEFAULT NULL, author text DEFAULT NULL, comment text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_at bigint;
BEGIN
    SELECT h.revision INTO STRICT now_at FROM liverouter.head h FOR NO KEY UPDATE;
    IF now_at IS DISTINCT FROM coalesce(expected_revision, now_at) THEN
        RAISE EXCEPTION USING ERRCODE = 'LR211',
            MESSAGE = (
                SELECT format('the config is at revision %s, not %s: %s changed it at %s%s',
                    l.revision, expected_revision, coalesce(l.author, l.author_role),
                    to_char(l.committed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
                    coalesce(' UTC through ' || l.application_name, ' UTC'))
                FROM liverouter.revision_log l WHERE l.revision = now_at),
            HINT = format('See what changed: SELECT * FROM liverouter.revision_diff(%s, %s). Then edit that revision.',
                least(expected_revision, now_at), greatest(expected_revision, now_at));
    END IF;
    IF author IS NOT NULL THEN
        PERFORM set_config('liverouter.author', left(author, 200), true);
    END IF;
    IF comment IS NOT NULL THEN
        PERFORM set_config('liverouter.comment', left(comment, 2000), true);
    END IF;
    RETURN now_at;
END $$;

CREATE OR REPLACE FUNCTION liverouter.stamp_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept text[] := '{updated_at,updated_by,key_id}';  -- by the database itself
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - kept = to_jsonb(OLD) - kept THEN
        NEW.updated_at := OLD.updated_at;
        NEW.updated_by := OLD.updated_by;
    ELSE
        NEW.updated_at := clock_timestamp();
        NEW.updated_by := coalesce(nullif(current_setting('liverouter.author', true), ''), session_user);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION liverouter.stamp_row() IS 'Trigger: keeps updated_at and updated_by, which no writer can set';

ALTER TABLE liverouter.settings DROP COLUMN role;
ALTER TABLE liverouter.secrets DROP COLUMN role;
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('liverouter.install_roles()'::regprocedure),
        'updated_at, updated_by, role', 'updated_at, updated_by');
END $$;

CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0003_roles', '0004_origins')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0004_origins'
$$;

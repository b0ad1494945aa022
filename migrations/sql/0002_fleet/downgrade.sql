DROP VIEW
    liverouter.problems, liverouter.secret_keys, liverouter.usage, liverouter.revisions, liverouter.rollout,
    liverouter.desired_config, liverouter.active_config, liverouter.instances;
DROP FUNCTION liverouter.wait_applied(bigint, numeric), liverouter.fleet_at(bigint, text);
DROP VIEW liverouter.fleet;
DROP FUNCTION
    liverouter.report(jsonb), liverouter.report_fault(jsonb), liverouter.report_applies(jsonb, timestamptz),
    liverouter.report_deployments(jsonb, timestamptz),
    liverouter.report_problems(jsonb), liverouter.report_problem(jsonb),
    liverouter.whole_number(jsonb),
    liverouter.add_usage(uuid, jsonb, timestamptz), liverouter.summed(jsonb), liverouter.prune(integer, interval);
DROP TABLE liverouter.usage_minutes, liverouter.apply_log, liverouter.processes;

CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0001_config')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0001_config'
$$;

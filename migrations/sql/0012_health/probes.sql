CREATE TABLE liverouter.probes (
    deployment_id text        PRIMARY KEY,
    asked_at      timestamptz NOT NULL
);
COMMENT ON TABLE liverouter.probes IS
    'When a deployment that nobody called was asked last by llm_probe_interval_h; forgotten after 90 days';
COMMENT ON COLUMN liverouter.probes.deployment_id IS 'As in usage';
COMMENT ON COLUMN liverouter.probes.asked_at IS 'When one process was told to ask it';

CREATE FUNCTION liverouter.due_probes(deployments text[], hours double precision) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off
AS $$
DECLARE
    since timestamptz := clock_timestamp() - make_interval(secs => least(greatest(hours, 0.1), 1000) * 3600);
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('liverouter.due_probes')) THEN
        RETURN;  -- another process is choosing
    END IF;
    DELETE FROM liverouter.probes p WHERE p.asked_at < clock_timestamp() - interval '90 days';
    RETURN QUERY
        INSERT INTO liverouter.probes AS p (deployment_id, asked_at)
        SELECT d.id, clock_timestamp() FROM (SELECT DISTINCT left(u.id, 300) FROM unnest(deployments[:200]) u (id)) d (id)
        WHERE d.id IS NOT NULL
          AND NOT EXISTS (SELECT FROM liverouter.probes o WHERE o.deployment_id = d.id AND o.asked_at > since)
          AND NOT EXISTS (
              SELECT FROM liverouter.usage_minutes u
              WHERE u.minute > since AND u.deployment_id = d.id AND (u.calls > 0 OR u.failures <> '{}'))
        ON CONFLICT (deployment_id) DO UPDATE SET asked_at = excluded.asked_at
        RETURNING p.deployment_id;
END $$;
COMMENT ON FUNCTION liverouter.due_probes(text[], double precision) IS
    'Part of clients: which of these deployments nobody has called or asked for so many hours. Each is told to one process, '
    'which asks it.';

SELECT liverouter.change_function(
    'liverouter.install_roles()', 'liverouter.report(jsonb), ',
    'liverouter.report(jsonb), liverouter.due_probes(text[], double precision), ');

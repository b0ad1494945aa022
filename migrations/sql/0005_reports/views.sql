-- However a row came into the tables, one that no reader could take hides no other: what cannot be is left out here.

CREATE OR REPLACE VIEW liverouter.fleet WITH (security_barrier) AS
SELECT
    p.instance, p.app, p.host, p.pid,
    CASE jsonb_typeof(p.labels) WHEN 'object' THEN p.labels ELSE '{}' END AS labels,
    CASE jsonb_typeof(p.versions) WHEN 'object' THEN p.versions ELSE '{}' END AS versions,
    p.mode, p.mode_cause,
    CASE WHEN p.since BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.since END AS since,
    p.epoch, p.applied_revision,
    CASE WHEN p.applied_at BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.applied_at END AS applied_at,
    p.generation, p.litellm_enable, p.rejected_revision, p.rejected_epoch,
    CASE WHEN l.live THEN jsonb_path_query_array(p.problems, '$[*] ? (@.type() == "object")') ELSE '[]' END AS problems,
    CASE jsonb_typeof(p.last_error) WHEN 'object' THEN p.last_error END AS last_error,
    p.listener,
    CASE WHEN l.live THEN jsonb_path_query_array(p.deployments, '$[*] ? (
        @.order >= 1 && @.order <= 1000000 && @.order.floor() == @.order
        && @.weight >= 0 && @.weight <= 1000000 && @.weight.floor() == @.weight
        && @.provider.type() == "string" && @.model.type() == "string" && @.deployment_id.type() == "string"
        && (@.role == "primary" || @.role == "fallback")
        && (@.cooling_until == null || @.cooling_until like_regex "^2[0-9]{3}-[0-9]{2}-[0-9]{2}T"))') ELSE '[]' END AS deployments,
    CASE WHEN p.started_at BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.started_at END AS started_at,
    CASE WHEN p.heartbeat_at BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.heartbeat_at END AS heartbeat_at,
    CASE WHEN p.bye_at BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.bye_at END AS bye_at,
    l.live,
    CASE WHEN l.live THEN p.state ELSE 'offline' END AS state,
    format('%s on %s, pid %s',
        coalesce(nullif(p.app, ''), '?'), coalesce(nullif(p.host, ''), '?'), coalesce(p.pid::text, '?')) AS label
FROM liverouter.processes p
CROSS JOIN LATERAL (
    -- heartbeats come every 10 s; three may be lost; the database's clock judges, whatever a process thinks the time is
    SELECT p.bye_at IS NULL AND p.heartbeat_at > clock_timestamp() - interval '35 seconds'
) l (live);

CREATE OR REPLACE VIEW liverouter.usage WITH (security_barrier) AS
SELECT
    u.minute,
    p.app,
    p.host,
    p.pid,
    u.provider,
    u.model,
    u.role,
    least(greatest(u.calls, 0), 1000000000000) AS calls,
    u.failures,
    least(greatest(u.failovers, 0), 1000000000000) AS failovers,
    least(greatest(u.prompt_tokens, 0), 1000000000000) AS prompt_tokens,
    least(greatest(u.completion_tokens, 0), 1000000000000) AS completion_tokens,
    CASE WHEN u.cost_usd BETWEEN 0 AND 1e9 THEN u.cost_usd ELSE 0 END AS cost_usd,
    CASE WHEN u.latency_ms_sum BETWEEN 0 AND 1e15 AND u.calls > 0
         THEN round((u.latency_ms_sum / u.calls)::numeric, 1) END AS latency_ms,
    CASE WHEN u.latency_ms_max BETWEEN 0 AND 1e15 THEN round(u.latency_ms_max::numeric, 1) END AS latency_ms_max,
    u.deployment_id,
    u.instance,
    p.role AS login
FROM liverouter.usage_minutes u
LEFT JOIN liverouter.processes p ON p.instance = u.instance
ORDER BY u.minute DESC, p.app, p.host, p.pid, u.role DESC, u.deployment_id;
COMMENT ON COLUMN liverouter.usage.login IS 'The login of the process, which nobody chooses';

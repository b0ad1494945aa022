CREATE VIEW liverouter.usage WITH (security_barrier) AS
SELECT
    u.minute,
    p.app,
    p.host,
    p.pid,
    u.provider,
    u.model,
    u.role,
    u.calls,
    u.failures,
    u.failovers,
    u.prompt_tokens,
    u.completion_tokens,
    u.cost_usd,
    round((u.latency_ms_sum / nullif(u.calls, 0))::numeric, 1) AS latency_ms,
    round(u.latency_ms_max::numeric, 1) AS latency_ms_max,
    u.deployment_id,
    u.instance
FROM liverouter.usage_minutes u
LEFT JOIN liverouter.processes p ON p.instance = u.instance
ORDER BY u.minute DESC, p.app, p.host, p.pid, u.role DESC, u.deployment_id;

COMMENT ON VIEW liverouter.usage IS
    'What was called, per minute, deployment and process: calls, failures, failovers, tokens, cost, latency. Kept for '
    '35 days.';
COMMENT ON COLUMN liverouter.usage.minute IS 'Start of the minute, newest first';
COMMENT ON COLUMN liverouter.usage.app IS 'LIVEROUTER_APP, else the program''s name';
COMMENT ON COLUMN liverouter.usage.host IS 'Host name of the process';
COMMENT ON COLUMN liverouter.usage.pid IS 'Process id there';
COMMENT ON COLUMN liverouter.usage.provider IS 'The deployment''s provider';
COMMENT ON COLUMN liverouter.usage.model IS 'The deployment''s model';
COMMENT ON COLUMN liverouter.usage.role IS 'primary or fallback at that time';
COMMENT ON COLUMN liverouter.usage.calls IS 'Calls that the deployment answered';
COMMENT ON COLUMN liverouter.usage.failures IS 'Attempts at it that failed, by class: {"RateLimitError 429": 2}';
COMMENT ON COLUMN liverouter.usage.failovers IS
    'Of its calls, those it answered because a deployment before it could not';
COMMENT ON COLUMN liverouter.usage.prompt_tokens IS 'Tokens sent';
COMMENT ON COLUMN liverouter.usage.completion_tokens IS 'Tokens received';
COMMENT ON COLUMN liverouter.usage.cost_usd IS 'US dollars, by litellm''s price list';
COMMENT ON COLUMN liverouter.usage.latency_ms IS 'Mean milliseconds of an answered call';
COMMENT ON COLUMN liverouter.usage.latency_ms_max IS 'Milliseconds of the slowest one';
COMMENT ON COLUMN liverouter.usage.deployment_id IS 'Provider, model and a digest of endpoint and credential';
COMMENT ON COLUMN liverouter.usage.instance IS 'Identity of the process, as in instances';

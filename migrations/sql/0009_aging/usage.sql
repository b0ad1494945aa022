-- Comparisons that people write, `minute >= current_date`, reach the index: the view leaves no row out, so that nobody's
-- function could see a hidden one, and needs no security barrier. It is read in any order.
CREATE OR REPLACE VIEW liverouter.usage AS
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
LEFT JOIN liverouter.processes p ON p.instance = u.instance;
COMMENT ON COLUMN liverouter.usage.minute IS 'Start of the minute';

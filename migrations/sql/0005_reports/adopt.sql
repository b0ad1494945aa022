-- What version 0.1 took as it came: brought into the shape that report() now sees to; cooldowns come with the next
-- heartbeat.

UPDATE liverouter.processes p SET
    app = coalesce(liverouter.clean_text(to_jsonb(p.app), 100), ''),
    host = coalesce(liverouter.clean_text(to_jsonb(p.host), 255), ''),
    pid = CASE WHEN p.pid >= 0 THEN p.pid END,
    labels = liverouter.clean_words(p.labels),
    versions = liverouter.clean_words(p.versions),
    mode_cause = liverouter.clean_text(to_jsonb(p.mode_cause), 200),
    since = CASE WHEN p.since IS NOT NULL THEN least(greatest(p.since, '2000-01-01 UTC'), p.heartbeat_at) END,
    epoch = CASE WHEN p.epoch <> liverouter.epoch() OR p.applied_revision IS NULL OR p.applied_revision <= h.revision
                 THEN liverouter.clean_text(to_jsonb(p.epoch), 200) END,
    applied_revision = CASE WHEN p.applied_revision >= 0 THEN p.applied_revision END,
    generation = CASE WHEN p.generation BETWEEN 0 AND 9007199254740991 THEN p.generation END,
    rejected_revision = CASE WHEN p.rejected_revision >= 0 THEN p.rejected_revision END,
    rejected_epoch = CASE
        WHEN p.rejected_epoch <> liverouter.epoch() OR p.rejected_revision <= h.revision
        THEN liverouter.clean_text(to_jsonb(p.rejected_epoch), 200) END,
    problems = liverouter.report_problems(p.problems),
    last_error = liverouter.report_problem(p.last_error),
    deployments = liverouter.report_deployments(p.deployments, p.heartbeat_at)
FROM liverouter.head h;

UPDATE liverouter.usage_minutes u SET
    deployment_id = coalesce(liverouter.clean_text(to_jsonb(u.deployment_id), 300), ''),
    provider = coalesce(liverouter.clean_text(to_jsonb(u.provider), 100), ''),
    model = coalesce(liverouter.clean_text(to_jsonb(u.model), 200), ''),
    calls = least(u.calls, 1000000000000),
    failures = liverouter.summed(jsonb_build_array(u.failures)),
    failovers = least(u.failovers, 1000000000000),
    prompt_tokens = least(u.prompt_tokens, 1000000000000),
    completion_tokens = least(u.completion_tokens, 1000000000000),
    cost_usd = CASE WHEN u.cost_usd BETWEEN 0 AND 1e9 THEN trim_scale(round(u.cost_usd, 12)) ELSE 0 END,
    latency_ms_sum = CASE WHEN u.latency_ms_sum BETWEEN 0 AND 1e15 THEN u.latency_ms_sum ELSE 0 END,
    latency_ms_max = CASE WHEN u.latency_ms_max BETWEEN 0 AND 1e12 THEN u.latency_ms_max ELSE 0 END
WHERE NOT (greatest(u.calls, u.failovers, u.prompt_tokens, u.completion_tokens) <= 1000000000000
    AND u.cost_usd BETWEEN 0 AND 1e9 AND scale(u.cost_usd) <= 40 AND u.latency_ms_sum BETWEEN 0 AND 1e15
    AND u.latency_ms_max BETWEEN 0 AND 1e12
    AND (u.failures = '{}' OR jsonb_typeof(u.failures) = 'object'
         AND NOT jsonb_path_exists(u.failures, '$.* ? (!(@ >= 0 && @ <= 1000000000000 && @.floor() == @))')));

CREATE VIEW liverouter.usage_daily AS
SELECT
    d.day,
    d.app,
    d.host,
    d.pid,
    d.provider,
    d.model,
    d.role,
    d.calls,
    d.failures,
    d.failovers,
    d.prompt_tokens,
    d.completion_tokens,
    d.cost_usd,
    CASE WHEN d.calls > 0 THEN round((d.latency_ms_sum / d.calls)::numeric, 1) END AS latency_ms,
    round(d.latency_ms_max::numeric, 1) AS latency_ms_max,
    d.deployment_id,
    d.instance,
    d.login
FROM liverouter.usage_days d;

COMMENT ON VIEW liverouter.usage_daily IS
    'What was called, per day, deployment and process: calls, failures, failovers, tokens, cost, latency. Kept for two '
    'years, or as liverouter.retention says.';
COMMENT ON COLUMN liverouter.usage_daily.day IS 'The day, in UTC';
COMMENT ON COLUMN liverouter.usage_daily.app IS 'LIVEROUTER_APP, else the program''s name';
COMMENT ON COLUMN liverouter.usage_daily.host IS 'Host name of the process';
COMMENT ON COLUMN liverouter.usage_daily.pid IS 'Process id there';
COMMENT ON COLUMN liverouter.usage_daily.provider IS 'The deployment''s provider';
COMMENT ON COLUMN liverouter.usage_daily.model IS 'The deployment''s model';
COMMENT ON COLUMN liverouter.usage_daily.role IS 'primary or fallback at that time';
COMMENT ON COLUMN liverouter.usage_daily.calls IS 'Calls that the deployment answered';
COMMENT ON COLUMN liverouter.usage_daily.failures IS 'Attempts at it that failed, by class: {"RateLimitError 429": 2}';
COMMENT ON COLUMN liverouter.usage_daily.failovers IS
    'Of its calls, those it answered because a deployment before it could not';
COMMENT ON COLUMN liverouter.usage_daily.prompt_tokens IS 'Tokens sent';
COMMENT ON COLUMN liverouter.usage_daily.completion_tokens IS 'Tokens received';
COMMENT ON COLUMN liverouter.usage_daily.cost_usd IS 'US dollars, by litellm''s price list';
COMMENT ON COLUMN liverouter.usage_daily.latency_ms IS 'Mean milliseconds of an answered call';
COMMENT ON COLUMN liverouter.usage_daily.latency_ms_max IS 'Milliseconds of the slowest one';
COMMENT ON COLUMN liverouter.usage_daily.deployment_id IS 'Provider, model and a digest of endpoint and credential';
COMMENT ON COLUMN liverouter.usage_daily.instance IS 'Identity of the process, as in instances while it lived';
COMMENT ON COLUMN liverouter.usage_daily.login IS 'The login of the process, which nobody chooses';

COMMENT ON COLUMN liverouter.active_config.provider IS 'As in liverouter.providers';
COMMENT ON COLUMN liverouter.desired_config.provider IS 'As in liverouter.providers';
COMMENT ON COLUMN liverouter.desired_config.credential_source IS
    'secret NAME where one is stored; else environment NAME, which each process must have, or ambient credentials where '
    'the provider takes them';
COMMENT ON COLUMN liverouter.problems.severity IS 'error: somebody must act; warning: calls are served';
COMMENT ON COLUMN liverouter.problems_by_login.severity IS 'error or warning';

DROP FUNCTION
    liverouter.all_problems(), liverouter.server_problems(), liverouter.process_problems(), liverouter.drifted(),
    liverouter.secret_problems(), liverouter.set_setting(text, jsonb), liverouter.judge_setting(text, jsonb),
    liverouter.judge_settings(jsonb), liverouter.hint_for(text, text),
    liverouter.judge_entry(text, boolean, jsonb),
    liverouter.misfit(liverouter.setting_specs, jsonb), liverouter.did_you_mean(text, text[]),
    liverouter.nearest(text[], text[]), liverouter.grams(text), liverouter.shown(text), liverouter.kind_of(jsonb),
    liverouter.header_secret(jsonb),
    liverouter.desired_deployments(), liverouter.sent_params(jsonb, jsonb), liverouter.config_entries(jsonb),
    liverouter.stripped(text), liverouter.head_settings();
DROP TABLE liverouter.setting_specs;

CREATE TABLE liverouter.usage_minutes (
    instance          uuid             NOT NULL,
    minute            timestamptz      NOT NULL,
    deployment_id     text             NOT NULL,
    role              text             NOT NULL,
    provider          text             NOT NULL,
    model             text             NOT NULL,
    calls             bigint           NOT NULL,
    failures          jsonb            NOT NULL,
    failovers         bigint           NOT NULL,
    prompt_tokens     bigint           NOT NULL,
    completion_tokens bigint           NOT NULL,
    cost_usd          numeric          NOT NULL,
    latency_ms_sum    double precision NOT NULL,
    latency_ms_max    double precision NOT NULL,
    PRIMARY KEY (instance, minute, deployment_id, role)
) WITH (fillfactor = 70);
CREATE INDEX usage_minutes_minute ON liverouter.usage_minutes (minute);

COMMENT ON TABLE liverouter.usage_minutes IS
    'Calls, tokens and cost per minute, deployment and process. Read it through the view usage. Kept for 35 days.';
COMMENT ON INDEX liverouter.usage_minutes_minute IS 'For questions about a time, and for pruning';
COMMENT ON COLUMN liverouter.usage_minutes.instance IS 'The process, as in processes';
COMMENT ON COLUMN liverouter.usage_minutes.minute IS 'Start of the minute';
COMMENT ON COLUMN liverouter.usage_minutes.deployment_id IS 'Provider, model and a digest of endpoint and credential';
COMMENT ON COLUMN liverouter.usage_minutes.role IS 'primary or fallback at that time';
COMMENT ON COLUMN liverouter.usage_minutes.provider IS 'Its provider';
COMMENT ON COLUMN liverouter.usage_minutes.model IS 'Its model';
COMMENT ON COLUMN liverouter.usage_minutes.calls IS 'Calls it answered';
COMMENT ON COLUMN liverouter.usage_minutes.failures IS 'Attempts that failed, by class: {"RateLimitError 429": 2}';
COMMENT ON COLUMN liverouter.usage_minutes.failovers IS 'Calls it answered because a deployment before it could not';
COMMENT ON COLUMN liverouter.usage_minutes.prompt_tokens IS 'Tokens sent';
COMMENT ON COLUMN liverouter.usage_minutes.completion_tokens IS 'Tokens received';
COMMENT ON COLUMN liverouter.usage_minutes.cost_usd IS 'US dollars, by litellm''s price list';
COMMENT ON COLUMN liverouter.usage_minutes.latency_ms_sum IS 'Milliseconds of all answered calls together';
COMMENT ON COLUMN liverouter.usage_minutes.latency_ms_max IS 'Milliseconds of the slowest of them';

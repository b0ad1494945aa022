-- Each minute is added to its day as it is reported, by its own process alone: nobody waits for another's row.

CREATE TABLE liverouter.usage_days (
    day               date             NOT NULL,
    instance          uuid             NOT NULL,
    deployment_id     text             NOT NULL,
    role              text             NOT NULL,
    app               text,
    host              text,
    pid               integer,
    login             text,
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
    PRIMARY KEY (day, instance, deployment_id, role)
) WITH (fillfactor = 70);

COMMENT ON TABLE liverouter.usage_days IS
    'What usage_minutes holds, and held, per day. Read it through the view usage_daily. Kept as liverouter.retention '
    'says.';
COMMENT ON COLUMN liverouter.usage_days.day IS 'The day, in UTC';
COMMENT ON COLUMN liverouter.usage_days.instance IS 'The process, as in processes, which may have forgotten it';
COMMENT ON COLUMN liverouter.usage_days.deployment_id IS 'Provider, model and a digest of endpoint and credential';
COMMENT ON COLUMN liverouter.usage_days.role IS 'primary or fallback at that time';
COMMENT ON COLUMN liverouter.usage_days.app IS 'LIVEROUTER_APP, else the program''s name';
COMMENT ON COLUMN liverouter.usage_days.host IS 'Host name of the process';
COMMENT ON COLUMN liverouter.usage_days.pid IS 'Process id there';
COMMENT ON COLUMN liverouter.usage_days.login IS 'The login of the process, which nobody chooses';
COMMENT ON COLUMN liverouter.usage_days.provider IS 'The deployment''s provider';
COMMENT ON COLUMN liverouter.usage_days.model IS 'The deployment''s model';
COMMENT ON COLUMN liverouter.usage_days.calls IS 'Calls it answered';
COMMENT ON COLUMN liverouter.usage_days.failures IS 'Attempts that failed, by class: {"RateLimitError 429": 2}';
COMMENT ON COLUMN liverouter.usage_days.failovers IS 'Calls it answered because a deployment before it could not';
COMMENT ON COLUMN liverouter.usage_days.prompt_tokens IS 'Tokens sent';
COMMENT ON COLUMN liverouter.usage_days.completion_tokens IS 'Tokens received';
COMMENT ON COLUMN liverouter.usage_days.cost_usd IS 'US dollars, by litellm''s price list';
COMMENT ON COLUMN liverouter.usage_days.latency_ms_sum IS 'Milliseconds of all answered calls together';
COMMENT ON COLUMN liverouter.usage_days.latency_ms_max IS 'Milliseconds of the slowest of them';

CREATE FUNCTION liverouter.add_to_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO liverouter.usage_days AS d
        (day, instance, deployment_id, role, app, host, pid, login, provider, model, calls, failures, failovers,
         prompt_tokens, completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
    SELECT (n.minute AT TIME ZONE 'UTC')::date, n.instance, n.deployment_id, n.role,
        max(p.app), max(p.host), max(p.pid), max(p.role), max(n.provider), max(n.model),
        least(sum(greatest(n.calls, 0)), 1e15),
        liverouter.summed(jsonb_agg(n.failures) FILTER (WHERE n.failures <> '{}')),
        least(sum(greatest(n.failovers, 0)), 1e15), least(sum(greatest(n.prompt_tokens, 0)), 1e15),
        least(sum(greatest(n.completion_tokens, 0)), 1e15),
        sum(CASE WHEN n.cost_usd BETWEEN 0 AND 1e9 THEN n.cost_usd ELSE 0 END),
        sum(CASE WHEN n.latency_ms_sum BETWEEN 0 AND 1e15 THEN n.latency_ms_sum ELSE 0 END),
        max(CASE WHEN n.latency_ms_max BETWEEN 0 AND 1e15 THEN n.latency_ms_max ELSE 0 END)
    FROM added n LEFT JOIN liverouter.processes p ON p.instance = n.instance
    GROUP BY 1, 2, 3, 4
    ON CONFLICT ON CONSTRAINT usage_days_pkey DO UPDATE SET
        calls = least(d.calls + excluded.calls, 1000000000000000),
        failures = CASE WHEN excluded.failures = '{}' THEN d.failures
            ELSE liverouter.summed(jsonb_build_array(d.failures, excluded.failures)) END,
        failovers = least(d.failovers + excluded.failovers, 1000000000000000),
        prompt_tokens = least(d.prompt_tokens + excluded.prompt_tokens, 1000000000000000),
        completion_tokens = least(d.completion_tokens + excluded.completion_tokens, 1000000000000000),
        cost_usd = d.cost_usd + excluded.cost_usd,
        latency_ms_sum = d.latency_ms_sum + excluded.latency_ms_sum,
        latency_ms_max = greatest(d.latency_ms_max, excluded.latency_ms_max);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.add_to_days() IS 'Trigger: adds new rows of usage_minutes to usage_days';

CREATE FUNCTION liverouter.mend_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE liverouter.usage_days d SET
        calls = least(greatest(d.calls + m.calls, 0), 1e15),
        -- of classes that "other" took in no difference can be told, so the day is added up again
        failures = CASE WHEN m.fails THEN (
                SELECT liverouter.summed(jsonb_agg(u.failures) FILTER (WHERE u.failures <> '{}'))
                FROM liverouter.usage_minutes u
                WHERE u.instance = d.instance AND u.deployment_id = d.deployment_id AND u.role = d.role
                  AND u.minute >= d.day::timestamp AT TIME ZONE 'UTC'
                  AND u.minute < (d.day + 1)::timestamp AT TIME ZONE 'UTC')
            ELSE d.failures END,
        failovers = least(greatest(d.failovers + m.failovers, 0), 1e15),
        prompt_tokens = least(greatest(d.prompt_tokens + m.prompt_tokens, 0), 1e15),
        completion_tokens = least(greatest(d.completion_tokens + m.completion_tokens, 0), 1e15),
        cost_usd = greatest(d.cost_usd + m.cost_usd, 0),
        latency_ms_sum = greatest(d.latency_ms_sum + m.latency_ms_sum, 0),
        latency_ms_max = greatest(d.latency_ms_max, m.latency_ms_max)
    FROM (
        SELECT (n.minute AT TIME ZONE 'UTC')::date AS day, n.instance, n.deployment_id, n.role,
            sum(n.calls) - sum(o.calls) AS calls, bool_or(n.failures <> o.failures) AS fails,
            sum(n.failovers) - sum(o.failovers) AS failovers,
            sum(n.prompt_tokens) - sum(o.prompt_tokens) AS prompt_tokens,
            sum(n.completion_tokens) - sum(o.completion_tokens) AS completion_tokens,
            sum(CASE WHEN n.cost_usd BETWEEN 0 AND 1e9 AND o.cost_usd BETWEEN 0 AND 1e9
                     THEN n.cost_usd - o.cost_usd ELSE 0 END) AS cost_usd,
            sum(CASE WHEN n.latency_ms_sum BETWEEN 0 AND 1e15 AND o.latency_ms_sum BETWEEN 0 AND 1e15
                     THEN n.latency_ms_sum - o.latency_ms_sum ELSE 0 END) AS latency_ms_sum,
            max(CASE WHEN n.latency_ms_max BETWEEN 0 AND 1e15 THEN n.latency_ms_max ELSE 0 END) AS latency_ms_max
        FROM is_now n JOIN was o USING (instance, minute, deployment_id, role)
        GROUP BY 1, 2, 3, 4
    ) m
    WHERE d.day = m.day AND d.instance = m.instance AND d.deployment_id = m.deployment_id AND d.role = m.role;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.mend_days() IS 'Trigger: adds to usage_days what rows of usage_minutes grew by';

CREATE TRIGGER add_to_days AFTER INSERT ON liverouter.usage_minutes REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.add_to_days();
CREATE TRIGGER mend_days AFTER UPDATE ON liverouter.usage_minutes REFERENCING OLD TABLE AS was NEW TABLE AS is_now
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.mend_days();

-- What was reported before: 35 days of it.
INSERT INTO liverouter.usage_days
    (day, instance, deployment_id, role, app, host, pid, login, provider, model, calls, failures, failovers,
     prompt_tokens, completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
SELECT (u.minute AT TIME ZONE 'UTC')::date, u.instance, u.deployment_id, u.role,
    max(p.app), max(p.host), max(p.pid), max(p.role), max(u.provider), max(u.model),
    least(sum(greatest(u.calls, 0)), 1e15),
    liverouter.summed(jsonb_agg(u.failures) FILTER (WHERE u.failures <> '{}')),
    least(sum(greatest(u.failovers, 0)), 1e15), least(sum(greatest(u.prompt_tokens, 0)), 1e15),
    least(sum(greatest(u.completion_tokens, 0)), 1e15),
    sum(CASE WHEN u.cost_usd BETWEEN 0 AND 1e9 THEN u.cost_usd ELSE 0 END),
    sum(CASE WHEN u.latency_ms_sum BETWEEN 0 AND 1e15 THEN u.latency_ms_sum ELSE 0 END),
    max(CASE WHEN u.latency_ms_max BETWEEN 0 AND 1e15 THEN u.latency_ms_max ELSE 0 END)
FROM liverouter.usage_minutes u LEFT JOIN liverouter.processes p ON p.instance = u.instance
GROUP BY 1, 2, 3, 4;

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

-- Who asked by which name: a deployment that serves two names has two rows a minute. What was counted before, and what
-- clients of the version before count, is the default's.

ALTER TABLE liverouter.usage_minutes ADD COLUMN name text NOT NULL DEFAULT 'default';
ALTER TABLE liverouter.usage_minutes DROP CONSTRAINT usage_minutes_pkey;
ALTER TABLE liverouter.usage_minutes ADD PRIMARY KEY (instance, minute, deployment_id, role, name);
ALTER TABLE liverouter.usage_days ADD COLUMN name text NOT NULL DEFAULT 'default';
ALTER TABLE liverouter.usage_days DROP CONSTRAINT usage_days_pkey;
ALTER TABLE liverouter.usage_days ADD PRIMARY KEY (day, instance, deployment_id, role, name);
COMMENT ON COLUMN liverouter.usage_minutes.name IS 'The model''s name that was asked for: default, or NAME of a row llm:NAME';
COMMENT ON COLUMN liverouter.usage_days.name IS 'The model''s name that was asked for: default, or NAME of a row llm:NAME';

CREATE OR REPLACE FUNCTION liverouter.add_usage(instance uuid, usage jsonb, moment timestamptz) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    WITH told AS (
        SELECT
            -- a process whose clock is off must not write into the future, nor where it would be pruned at once
            date_trunc('minute', least(greatest(
                coalesce(liverouter.clean_time(x.value -> 'minute'), moment), moment - interval '7 days'), moment))
                AS minute,
            coalesce(liverouter.clean_text(x.value -> 'deployment_id', 300), '') AS deployment_id,
            coalesce(nullif(liverouter.clean_text(x.value -> 'name', 32), ''), 'default') AS name,
            CASE x.value -> 'role' WHEN '"primary"' THEN 'primary' ELSE 'fallback' END AS role,
            coalesce(liverouter.clean_text(x.value -> 'provider', 100), '') AS provider,
            coalesce(liverouter.clean_text(x.value -> 'model', 200), '') AS model,
            x.value -> 'failures' AS failures,
            coalesce(liverouter.clean_number(x.value -> 'calls', 1e12), 0) AS calls,
            coalesce(liverouter.clean_number(x.value -> 'failovers', 1e12), 0) AS failovers,
            coalesce(liverouter.clean_number(x.value -> 'prompt_tokens', 1e12), 0) AS prompt_tokens,
            coalesce(liverouter.clean_number(x.value -> 'completion_tokens', 1e12), 0) AS completion_tokens,
            coalesce(liverouter.clean_number(x.value -> 'cost_usd', 1e9), 0) AS cost_usd,
            coalesce(liverouter.clean_number(x.value -> 'latency_ms_sum', 1e15), 0) AS latency_ms_sum,
            coalesce(liverouter.clean_number(x.value -> 'latency_ms_max', 1e12), 0) AS latency_ms_max
        FROM jsonb_array_elements(CASE jsonb_typeof(usage) WHEN 'array' THEN usage END)
            WITH ORDINALITY x (value, position)
        WHERE x.position <= 2000
    ),
    added AS (
        INSERT INTO liverouter.usage_minutes AS m
            (instance, minute, deployment_id, role, name, provider, model, calls, failures, failovers,
             prompt_tokens, completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
        SELECT
            add_usage.instance, u.minute, u.deployment_id, u.role, u.name, max(u.provider), max(u.model),
            least(sum(u.calls), 1e12),
            CASE WHEN bool_and(u.failures = '{}') THEN '{}' ELSE liverouter.summed(jsonb_agg(u.failures)) END,
            least(sum(u.failovers), 1e12), least(sum(u.prompt_tokens), 1e12), least(sum(u.completion_tokens), 1e12),
            least(sum(u.cost_usd), 1e9), least(sum(u.latency_ms_sum), 1e15), max(u.latency_ms_max)
        FROM told u
        GROUP BY u.minute, u.deployment_id, u.role, u.name
        ON CONFLICT ON CONSTRAINT usage_minutes_pkey DO UPDATE SET
            calls = least(m.calls + excluded.calls, 1000000000000),
            failures = CASE WHEN excluded.failures = '{}' THEN m.failures
                ELSE liverouter.summed(jsonb_build_array(m.failures, excluded.failures)) END,
            failovers = least(m.failovers + excluded.failovers, 1000000000000),
            prompt_tokens = least(m.prompt_tokens + excluded.prompt_tokens, 1000000000000),
            completion_tokens = least(m.completion_tokens + excluded.completion_tokens, 1000000000000),
            cost_usd = least(m.cost_usd + excluded.cost_usd, 1000000000),
            latency_ms_sum = least(m.latency_ms_sum + excluded.latency_ms_sum, 1e15),
            latency_ms_max = greatest(m.latency_ms_max, excluded.latency_ms_max)
        -- a large one counts as several, also where it grew: what is bounded is the room they take
        RETURNING (m.xmax = 0)::integer + (pg_column_size(m.failures) + octet_length(m.deployment_id)
            + octet_length(m.provider) + octet_length(m.model)) / 250 AS rows
    )
    SELECT coalesce(sum(a.rows), 0) FROM added a
$$;

CREATE OR REPLACE FUNCTION liverouter.add_to_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO liverouter.usage_days AS d
        (day, instance, deployment_id, role, name, app, host, pid, login, provider, model, calls, failures, failovers,
         prompt_tokens, completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
    SELECT (n.minute AT TIME ZONE 'UTC')::date, n.instance, n.deployment_id, n.role, n.name,
        max(p.app), max(p.host), max(p.pid), max(p.role), max(n.provider), max(n.model),
        least(sum(greatest(n.calls, 0)), 1e15),
        liverouter.summed(jsonb_agg(n.failures) FILTER (WHERE n.failures <> '{}')),
        least(sum(greatest(n.failovers, 0)), 1e15), least(sum(greatest(n.prompt_tokens, 0)), 1e15),
        least(sum(greatest(n.completion_tokens, 0)), 1e15),
        sum(CASE WHEN n.cost_usd BETWEEN 0 AND 1e9 THEN n.cost_usd ELSE 0 END),
        sum(CASE WHEN n.latency_ms_sum BETWEEN 0 AND 1e15 THEN n.latency_ms_sum ELSE 0 END),
        max(CASE WHEN n.latency_ms_max BETWEEN 0 AND 1e15 THEN n.latency_ms_max ELSE 0 END)
    FROM added n LEFT JOIN liverouter.processes p ON p.instance = n.instance
    GROUP BY 1, 2, 3, 4, 5
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

CREATE OR REPLACE FUNCTION liverouter.mend_days() RETURNS trigger
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
                  AND u.name = d.name
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
        SELECT (n.minute AT TIME ZONE 'UTC')::date AS day, n.instance, n.deployment_id, n.role, n.name,
            sum(n.calls) - sum(o.calls) AS calls, bool_or(n.failures <> o.failures) AS fails,
            sum(n.failovers) - sum(o.failovers) AS failovers,
            sum(n.prompt_tokens) - sum(o.prompt_tokens) AS prompt_tokens,
            sum(n.completion_tokens) - sum(o.completion_tokens) AS completion_tokens,
            sum(CASE WHEN n.cost_usd BETWEEN 0 AND 1e9 AND o.cost_usd BETWEEN 0 AND 1e9
                     THEN n.cost_usd - o.cost_usd ELSE 0 END) AS cost_usd,
            sum(CASE WHEN n.latency_ms_sum BETWEEN 0 AND 1e15 AND o.latency_ms_sum BETWEEN 0 AND 1e15
                     THEN n.latency_ms_sum - o.latency_ms_sum ELSE 0 END) AS latency_ms_sum,
            max(CASE WHEN n.latency_ms_max BETWEEN 0 AND 1e15 THEN n.latency_ms_max ELSE 0 END) AS latency_ms_max
        FROM is_now n JOIN was o USING (instance, minute, deployment_id, role, name)
        GROUP BY 1, 2, 3, 4, 5
    ) m
    WHERE d.day = m.day AND d.instance = m.instance AND d.deployment_id = m.deployment_id AND d.role = m.role
      AND d.name = m.name;
    RETURN NULL;
END $$;

-- No security barrier, as before.
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
    p.role AS login,
    u.name
FROM liverouter.usage_minutes u
LEFT JOIN liverouter.processes p ON p.instance = u.instance;
COMMENT ON COLUMN liverouter.usage.name IS 'The model''s name that was asked for: default, or NAME of a row llm:NAME';

CREATE OR REPLACE VIEW liverouter.usage_daily AS
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
    d.login,
    d.name
FROM liverouter.usage_days d;
COMMENT ON COLUMN liverouter.usage_daily.name IS 'The model''s name that was asked for: default, or NAME of a row llm:NAME';

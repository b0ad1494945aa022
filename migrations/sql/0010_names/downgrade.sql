-- What the migrations before made is put back in their own words, but for what they made only once.

DROP VIEW liverouter.active_config, liverouter.desired_config, liverouter.usage, liverouter.usage_daily;

-- Counts of several names become the deployment's again.
DROP TRIGGER add_to_days ON liverouter.usage_minutes;
DROP TRIGGER mend_days ON liverouter.usage_minutes;
INSERT INTO liverouter.usage_minutes AS m
    (instance, minute, deployment_id, role, provider, model, calls, failures, failovers, prompt_tokens,
     completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
SELECT u.instance, u.minute, u.deployment_id, u.role, max(u.provider), max(u.model), sum(u.calls),
    liverouter.summed(jsonb_agg(u.failures)), sum(u.failovers), sum(u.prompt_tokens), sum(u.completion_tokens),
    sum(u.cost_usd), sum(u.latency_ms_sum), max(u.latency_ms_max)
FROM liverouter.usage_minutes u WHERE u.name <> 'default'
GROUP BY 1, 2, 3, 4
ON CONFLICT ON CONSTRAINT usage_minutes_pkey DO UPDATE SET
    calls = m.calls + excluded.calls,
    failures = liverouter.summed(jsonb_build_array(m.failures, excluded.failures)),
    failovers = m.failovers + excluded.failovers,
    prompt_tokens = m.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = m.completion_tokens + excluded.completion_tokens,
    cost_usd = m.cost_usd + excluded.cost_usd,
    latency_ms_sum = m.latency_ms_sum + excluded.latency_ms_sum,
    latency_ms_max = greatest(m.latency_ms_max, excluded.latency_ms_max);
DELETE FROM liverouter.usage_minutes u WHERE u.name <> 'default';
ALTER TABLE liverouter.usage_minutes DROP COLUMN name;
ALTER TABLE liverouter.usage_minutes ADD PRIMARY KEY (instance, minute, deployment_id, role);

INSERT INTO liverouter.usage_days AS d
    (day, instance, deployment_id, role, app, host, pid, login, provider, model, calls, failures, failovers,
     prompt_tokens, completion_tokens, cost_usd, latency_ms_sum, latency_ms_max)
SELECT u.day, u.instance, u.deployment_id, u.role, max(u.app), max(u.host), max(u.pid), max(u.login),
    max(u.provider), max(u.model), sum(u.calls), liverouter.summed(jsonb_agg(u.failures)), sum(u.failovers),
    sum(u.prompt_tokens), sum(u.completion_tokens), sum(u.cost_usd), sum(u.latency_ms_sum), max(u.latency_ms_max)
FROM liverouter.usage_days u WHERE u.name <> 'default'
GROUP BY 1, 2, 3, 4
ON CONFLICT ON CONSTRAINT usage_days_pkey DO UPDATE SET
    calls = d.calls + excluded.calls,
    failures = liverouter.summed(jsonb_build_array(d.failures, excluded.failures)),
    failovers = d.failovers + excluded.failovers,
    prompt_tokens = d.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = d.completion_tokens + excluded.completion_tokens,
    cost_usd = d.cost_usd + excluded.cost_usd,
    latency_ms_sum = d.latency_ms_sum + excluded.latency_ms_sum,
    latency_ms_max = greatest(d.latency_ms_max, excluded.latency_ms_max);
DELETE FROM liverouter.usage_days u WHERE u.name <> 'default';
ALTER TABLE liverouter.usage_days DROP COLUMN name;
ALTER TABLE liverouter.usage_days ADD PRIMARY KEY (day, instance, deployment_id, role);
CREATE TRIGGER add_to_days AFTER INSERT ON liverouter.usage_minutes REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.add_to_days();
CREATE TRIGGER mend_days AFTER UPDATE ON liverouter.usage_minutes REFERENCING OLD TABLE AS was NEW TABLE AS is_now
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.mend_days();

-- Functions in which only names were new.
DO $$
DECLARE
    told record;
    text text;
BEGIN
    FOR told IN
        SELECT f.function, array_agg(f.new) AS new, array_agg(f.old) AS old FROM (VALUES
            ('add_usage(uuid, jsonb, timestamptz)',
             E'            coalesce(nullif(liverouter.clean_text(x.value -> \'name\', 32), \'\'), \'default\') AS name,\n', ''),
            ('add_usage(uuid, jsonb, timestamptz)',
             E'role, name, provider, model, calls, failures, failovers,\n             prompt_tokens, completion_tokens,',
             E'role, provider, model, calls, failures, failovers, prompt_tokens,\n             completion_tokens,'),
            ('add_usage(uuid, jsonb, timestamptz)', 'u.role, u.name', 'u.role'),
            ('add_to_days()', 'role, name,', 'role,'),
            ('add_to_days()', 'n.role, n.name', 'n.role'),
            ('add_to_days()', 'GROUP BY 1, 2, 3, 4, 5', 'GROUP BY 1, 2, 3, 4'),
            ('mend_days()', E'\n                  AND u.name = d.name', ''),
            ('mend_days()', 'n.role, n.name', 'n.role'),
            ('mend_days()', 'role, name)', 'role)'),
            ('mend_days()', 'GROUP BY 1, 2, 3, 4, 5', 'GROUP BY 1, 2, 3, 4'),
            ('mend_days()', E'\n      AND d.name = m.name', ''),
            ('report_deployments(jsonb, timestamptz)',
             E'            \'name\', coalesce(nullif(liverouter.clean_text(d.value -> \'name\', 32), \'\'), \'default\'),\n',
             ''),
            ('report_deployments(jsonb, timestamptz)', '''weight'', 1000), 1),', '''weight'', 1000), 1)::integer,'),
            ('report_deployments(jsonb, timestamptz)', 'd.position <= 200', 'd.position <= 30'),
            ('report_deployments(jsonb, timestamptz)', 's.size <= 80000', 's.size <= 40000'),
            ('report_problem(jsonb)',
             'CASE WHEN problem -> ''severity'' IN (''"warning"'', ''"info"'') THEN problem ->> ''severity'' ELSE',
             'CASE problem -> ''severity'' WHEN ''"warning"'' THEN ''warning'' ELSE'),
            ('refuse_plain_secrets()', '_.:-]{1,63}', '_.-]{1,63}'),
            ('refuse_plain_secrets()', $new$    IF NEW.key LIKE 'llm%' AND liverouter.header_secret(NEW.value) THEN
        RAISE EXCEPTION 'settings.% holds a header that carries a credential: settings take no secrets', shown USING
            ERRCODE = '23514', HINT = 'Keys are stored sealed, liverouter set --secret NAME, and sent by the provider''s '
                'own field alone';
    END IF;
$new$, ''),
            ('install_roles()', ', liverouter.setting_specs', ''),
            ('install_roles()', 'liverouter.all_problems(), liverouter.desired_deployments()',
             'liverouter.find_problems()'),
            ('install_roles()',
             E', liverouter.set_setting(text, jsonb), \'\n             \'liverouter.judge_setting(text, jsonb)', '')
        ) f (function, new, old)
        GROUP BY f.function
    LOOP
        text := pg_get_functiondef(('liverouter.' || told.function)::regprocedure);
        FOR i IN 1 .. cardinality(told.new) LOOP
            text := replace(text, told.new[i], told.old[i]);
        END LOOP;
        EXECUTE text;
    END LOOP;
END $$;
COMMENT ON FUNCTION liverouter.report_deployments(jsonb, timestamptz) IS
    'Part of report(): its deployments, every member there as the views promise it, with a time instead of the '
    'milliseconds they go on cooling; the first thirty, and no more than 40 kB of them';

-- Weights had no decimals.
UPDATE liverouter.processes p SET deployments = (
    SELECT coalesce(jsonb_agg(
        d.value - 'name' || jsonb_build_object('weight', greatest(round((d.value ->> 'weight')::numeric), 1))), '[]')
    FROM jsonb_array_elements(p.deployments) d (value))
WHERE jsonb_path_exists(p.deployments, '$[*] ? (@.weight.floor() != @.weight)');

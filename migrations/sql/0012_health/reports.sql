-- A process tells with each of its deployments how it goes there, as so many milliseconds ago.

CREATE FUNCTION liverouter.second_before(ago_ms jsonb, moment timestamptz) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT round(extract(epoch FROM moment)::numeric - liverouter.clean_number(ago_ms, 31536000000) / 1000, 3)
$$;
COMMENT ON FUNCTION liverouter.second_before(jsonb, timestamptz) IS
    'Part of report(): a time in unix seconds, so many milliseconds before another, a year at most; NULL for none';

SELECT liverouter.change_function(
    'liverouter.report_deployments(jsonb, timestamptz)',
    '            ''cooling_until'', CASE',
    $new$            'answered_at', liverouter.second_before(d.value -> 'answered_ms', moment),
            'failing_since', liverouter.second_before(d.value -> 'failing_ms', moment),
            'failed_at', liverouter.second_before(d.value -> 'failed_ms', moment),
            'cause', liverouter.clean_text(d.value -> 'cause', 100),
            'calls_failing_since', liverouter.second_before(d.value -> 'calls_failing_ms', moment),
            'calls_failed_at', liverouter.second_before(d.value -> 'calls_failed_ms', moment),
            'longest_prompt', liverouter.clean_number(d.value -> 'longest_prompt', 1e9),
            'max_input_tokens', liverouter.clean_number(d.value -> 'max_input_tokens', 1e9),
            'cooling_until', CASE$new$);

-- What a process that ends has seen of its providers is known for a while: some live for one call.
SELECT liverouter.change_function(
    'liverouter.report(jsonb)',
    '        said.deployments := ''[]'';',
    $new$        said.deployments := CASE WHEN doc ? 'deployments'
            THEN liverouter.report_deployments(doc -> 'deployments', moment) ELSE said.deployments END;$new$);

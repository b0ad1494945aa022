-- Each change of a function's text, backwards.
SELECT liverouter.change_function(
    'liverouter.find_problems()',
    '
    UNION
    SELECT h.code, h.severity, h.object, h.message, h.hint, h.login, h.instance FROM liverouter.find_health() h', '');
SELECT liverouter.change_function(
    'liverouter.report(jsonb)',
    $old$        said.deployments := CASE WHEN doc ? 'deployments'
            THEN liverouter.report_deployments(doc -> 'deployments', moment) ELSE said.deployments END;$old$,
    '        said.deployments := ''[]'';');
SELECT liverouter.change_function(
    'liverouter.report_deployments(jsonb, timestamptz)',
    $old$            'answered_at', liverouter.second_before(d.value -> 'answered_ms', moment),
            'failing_since', liverouter.second_before(d.value -> 'failing_ms', moment),
            'failed_at', liverouter.second_before(d.value -> 'failed_ms', moment),
            'cause', liverouter.clean_text(d.value -> 'cause', 100),
            'calls_failing_since', liverouter.second_before(d.value -> 'calls_failing_ms', moment),
            'calls_failed_at', liverouter.second_before(d.value -> 'calls_failed_ms', moment),
            'longest_prompt', liverouter.clean_number(d.value -> 'longest_prompt', 1e9),
            'max_input_tokens', liverouter.clean_number(d.value -> 'max_input_tokens', 1e9),
$old$, '');
DROP FUNCTION liverouter.find_health(), liverouter.second_before(jsonb, timestamptz);

-- Each change of a function's text, backwards.
SELECT liverouter.change_function(
    'liverouter.all_problems()',
    '
        UNION ALL
        SELECT h.severity, h.code, h.object, h.message, h.hint, h.login, h.instance FROM liverouter.find_health() h', '');
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
SELECT liverouter.change_function(
    'liverouter.install_roles()',
    'liverouter.due_probes(text[], double precision), liverouter.next_alert(), liverouter.settle_alert(uuid, text), ', '');
SELECT liverouter.change_function(
    'liverouter.revision_diff(bigint, bigint)',
    'liverouter.shown_setting(x.key, x.value), liverouter.shown_setting(y.key, y.value)', 'x.value, y.value');
DROP FUNCTION
    liverouter.due_probes(text[], double precision), liverouter.next_alert(), liverouter.settle_alert(uuid, text), liverouter.shown_setting(text, jsonb);
DROP TABLE liverouter.alerts, liverouter.alert_turn, liverouter.probes;
DROP FUNCTION liverouter.find_health(), liverouter.second_before(jsonb, timestamptz);

ALTER TABLE liverouter.alert_turn DROP COLUMN holder_login;
ALTER TABLE liverouter.setting_specs DROP COLUMN severity;
UPDATE liverouter.setting_specs SET pattern = NULL WHERE kind = 'url';  -- which would be asked of all of a URL
COMMENT ON COLUMN liverouter.setting_specs.pattern IS 'What a text has to match whole; NULL for any';
SELECT liverouter.change_function(
    'liverouter_internal.settle_alert(uuid, text)',
    $old$ticket = NULL, news = NULL, holder = NULL, holder_login = NULL, tries = 0, error = NULL,$old$,
    $new$ticket = NULL, news = NULL, holder = NULL, tries = 0, error = NULL,$new$);
SELECT liverouter.change_function(
    'liverouter_internal.next_alert()',
    $old$        holder = CASE WHEN due IS NOT NULL THEN pg_backend_pid() END,
        holder_login = CASE WHEN due IS NOT NULL THEN session_user END,
$old$,
    $new$        holder = CASE WHEN due IS NOT NULL THEN pg_backend_pid() END,
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.next_alert()',
    $old$    WHERE t.next_at <= moment - CASE
        WHEN t.holder = pg_backend_pid()
            OR t.holder_login = session_user AND t.tries + (t.ticket IS NOT NULL)::integer >= 3
        THEN interval '10 seconds' ELSE interval '0' END
$old$,
    $new$    WHERE t.next_at <= moment - CASE WHEN t.holder = pg_backend_pid() THEN interval '10 seconds' ELSE interval '0' END
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$    SELECT (r.spec).severity, f.code, 'settings.' || r.key, f.message, f.hint
$old$,
    $new$    SELECT 'error', f.code, 'settings.' || r.key, f.message, f.hint
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_entry(text, boolean, jsonb)',
    $old$spec.pattern, spec.may_be_list, spec.hint, spec.severity)::liverouter.setting_specs$old$,
    $new$spec.pattern, spec.may_be_list, spec.hint)::liverouter.setting_specs$new$);
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$    ELSIF spec.kind = 'url' THEN
        IF liverouter_internal.origin_of(said) !~ ('^(?:' || spec.pattern || ')$') THEN
            code := 'LR105';
            message := 'the URL is not encrypted';
            hint := spec.hint;
        END IF;
    ELSIF said !~ ('^(?:' || spec.pattern || ')$') THEN
$old$,
    $new$    ELSIF said !~ ('^(?:' || spec.pattern || ')$') THEN
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.process_problems()',
    $old$' of an earlier history (a backup was restored, or a standby promoted)'$old$,
    $new$' of another line of history'$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_entry(text, boolean, jsonb)',
    $old$'Leave it out: the first deployment of a named model has order 1'$old$,
    $new$'A named model is asked first itself: order 1, or none'$new$);
SELECT liverouter.change_function(
    'liverouter_internal.secret_problems()',
    $old$format('no secret for %s is stored', concat_ws('/', nullif(d.provider, ''), nullif(d.model, '')))$old$,
    $new$format('no secret for %s/%s is stored', d.provider, d.model)$new$);
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$n.is_now OR s.failed_at > s.ago - 840 AND (s.is_primary OR EXISTS (
               SELECT FROM liverouter.probes o
               WHERE o.deployment_id = s.deployment AND o.asked_at > moment - interval '15 minutes')) OR s.cause$old$,
    $new$n.is_now OR s.is_primary AND s.failed_at > s.ago - 840 OR s.cause$new$);
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$           format('it fails in %s, since %s, and %s: %s', at.processes, at.since,
               CASE
                   WHEN equal.serves THEN 'another deployment of the same order serves'
                   WHEN later.serves THEN 'a fallback serves' || coalesce((
                       -- by what was counted in the last quarter of an hour
                       SELECT format(' %s %% of the calls', round(100.0 * sum(u.failovers) / sum(u.calls)))
                       FROM liverouter.usage_minutes u
                       WHERE u.minute >= moment - interval '15 minutes'
                         AND u.name = p.name AND (u.instance, u.deployment_id) IN (
                             SELECT t.instance, t.deployment FROM told t WHERE t.login = p.login AND t.name = p.name)
                       HAVING sum(u.calls) > 0), '')
                   WHEN equal.serves IS NULL AND later.serves IS NULL THEN 'there is no other deployment to ask'
                   ELSE 'so do all others' END,
               at.causes),
           CASE WHEN equal.serves OR later.serves THEN 'Mend it while another serves' ELSE 'Mend it now' END
               || ': the cause says whether key, quota, model name or provider is at fault.'
    FROM (
        SELECT bool_or(o.failing = 0) FROM place o
        WHERE (o.login, o.name, o."order") = (p.login, p.name, p."order") AND o.deployment <> p.deployment
    ) equal (serves), (
        SELECT bool_or(o.failing = 0) FROM place o WHERE (o.login, o.name) = (p.login, p.name) AND o."order" > p."order"
    ) later (serves)
    WHERE p.is_primary AND p.stood_in > 0$old$,
    $new$           format('it fails in %s, since %s, and a fallback serves%s: %s', at.processes, at.since,
               -- by what was counted in the last quarter of an hour
               coalesce((
                   SELECT format(' %s %% of the calls', round(100.0 * sum(u.failovers) / nullif(sum(u.calls), 0)))
                   FROM liverouter.usage_minutes u
                   WHERE u.minute >= moment - interval '15 minutes'
                     AND u.name = p.name AND (u.instance, u.deployment_id) IN (
                         SELECT t.instance, t.deployment FROM told t WHERE t.login = p.login AND t.name = p.name)), ''),
               at.causes),
           'Mend it while the fallback lasts: the cause says whether key, quota, model name or provider is at fault.'
    WHERE p.is_primary AND p.stood_in > 0$new$);
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$j.is_primary, min(j."order") AS "order", bool_or(j.refuses_key)$old$,
    $new$j.is_primary, bool_or(j.refuses_key)$new$);
COMMENT ON COLUMN liverouter.problems.object IS
    'The setting, secret or process';
COMMENT ON COLUMN liverouter.problems_detail.object IS
    'The setting, secret or process';
COMMENT ON COLUMN liverouter.rollout.p99_ms IS
    '99 of 100 did';
COMMENT ON COLUMN liverouter.rollout_detail.p99_ms IS
    '99 of 100 did';
COMMENT ON COLUMN liverouter.processes.litellm_enable IS
    'Whether it serves through litellm, or by the primary''s plain model';
COMMENT ON TABLE liverouter.spent_envelopes IS
    'Envelopes that a rotation replaced, in the history too: who kept one cannot store it again, for wherever it likes';
SELECT liverouter.change_function(
    'liverouter.set_setting(text, jsonb)',
    $old$BEGIN
    IF set_setting.key IS NULL OR set_setting.value IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'LR103',
            MESSAGE = format('settings.%s: NULL stands where a value belongs', set_setting.key),
            HINT = 'Give a name and a value: SELECT liverouter.set_setting(''llm_temperature'', ''0.2''); a setting is taken '
                   'out by DELETE FROM liverouter.settings WHERE key = ...';
    END IF;
    SELECT * INTO found$old$,
    $new$BEGIN
    SELECT * INTO found$new$);
DROP FUNCTION liverouter.report(jsonb);  -- it comes back with the others
SELECT liverouter.change_function(
    'liverouter.install_roles()',
    $old$, '
             'liverouter.report(jsonb)')$old$,
    $new$, '
             'liverouter.report(jsonb), liverouter.next_alert(), '
             'liverouter.settle_alert(uuid, text), liverouter.due_probes(text[], double precision)')$new$);

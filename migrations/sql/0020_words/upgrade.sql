-- A primary that fails has others of its order, fallbacks, or nobody: what serves is said, and nothing else.
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$j.is_primary, bool_or(j.refuses_key)$old$,
    $new$j.is_primary, min(j."order") AS "order", bool_or(j.refuses_key)$new$);
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$           format('it fails in %s, since %s, and a fallback serves%s: %s', at.processes, at.since,
               -- by what was counted in the last quarter of an hour
               coalesce((
                   SELECT format(' %s %% of the calls', round(100.0 * sum(u.failovers) / nullif(sum(u.calls), 0)))
                   FROM liverouter.usage_minutes u
                   WHERE u.minute >= moment - interval '15 minutes'
                     AND u.name = p.name AND (u.instance, u.deployment_id) IN (
                         SELECT t.instance, t.deployment FROM told t WHERE t.login = p.login AND t.name = p.name)), ''),
               at.causes),
           'Mend it while the fallback lasts: the cause says whether key, quota, model name or provider is at fault.'
    WHERE p.is_primary AND p.stood_in > 0$old$,
    $new$           format('it fails in %s, since %s, and %s: %s', at.processes, at.since,
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
    WHERE p.is_primary AND p.stood_in > 0$new$);

-- A fallback that failed is asked again every few minutes where rows want idle deployments asked: so its failure stands.
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$n.is_now OR s.is_primary AND s.failed_at > s.ago - 840 OR s.cause$old$,
    $new$n.is_now OR s.failed_at > s.ago - 840 AND (s.is_primary OR EXISTS (
               SELECT FROM liverouter.probes o
               WHERE o.deployment_id = s.deployment AND o.asked_at > moment - interval '15 minutes')) OR s.cause$new$);

-- Where the model is missing, nothing stands behind a slash.
SELECT liverouter.change_function(
    'liverouter_internal.secret_problems()',
    $old$format('no secret for %s/%s is stored', d.provider, d.model)$old$,
    $new$format('no secret for %s is stored', concat_ws('/', nullif(d.provider, ''), nullif(d.model, '')))$new$);

-- Said plainly.
SELECT liverouter.change_function(
    'liverouter_internal.judge_entry(text, boolean, jsonb)',
    $old$'A named model is asked first itself: order 1, or none'$old$,
    $new$'Leave it out: the first deployment of a named model has order 1'$new$);
SELECT liverouter.change_function(
    'liverouter_internal.process_problems()',
    $old$' of another line of history'$old$,
    $new$' of an earlier history (a backup was restored, or a standby promoted)'$new$);

-- A webhook is judged while nobody runs: by the pattern of its origin, and as a warning, which rejects no config.
ALTER TABLE liverouter.setting_specs ADD COLUMN severity text NOT NULL DEFAULT 'error';
COMMENT ON COLUMN liverouter.setting_specs.severity IS
    'What a value that does not fit is: error, or warning where processes do without the setting';
COMMENT ON COLUMN liverouter.setting_specs.pattern IS
    'What a text has to match whole, and of a URL its origin; NULL for any';
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$    ELSIF said !~ ('^(?:' || spec.pattern || ')$') THEN
$old$,
    $new$    ELSIF spec.kind = 'url' THEN
        IF liverouter_internal.origin_of(said) !~ ('^(?:' || spec.pattern || ')$') THEN
            code := 'LR105';
            message := 'the URL is not encrypted';
            hint := spec.hint;
        END IF;
    ELSIF said !~ ('^(?:' || spec.pattern || ')$') THEN
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_entry(text, boolean, jsonb)',
    $old$spec.pattern, spec.may_be_list, spec.hint)::liverouter.setting_specs$old$,
    $new$spec.pattern, spec.may_be_list, spec.hint, spec.severity)::liverouter.setting_specs$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$    SELECT 'error', f.code, 'settings.' || r.key, f.message, f.hint
$old$,
    $new$    SELECT (r.spec).severity, f.code, 'settings.' || r.key, f.message, f.hint
$new$);

-- Who leaves out key or value is told so.
SELECT liverouter.change_function(
    'liverouter.set_setting(text, jsonb)',
    $old$BEGIN
    SELECT * INTO found$old$,
    $new$BEGIN
    IF set_setting.key IS NULL OR set_setting.value IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'LR103',
            MESSAGE = format('settings.%s: NULL stands where a value belongs', set_setting.key),
            HINT = 'Give a name and a value: SELECT liverouter.set_setting(''llm_temperature'', ''0.2''); a setting is taken '
                   'out by DELETE FROM liverouter.settings WHERE key = ...';
    END IF;
    SELECT * INTO found$new$);

-- A session that reconnects each time, or comes through a pooler, is another one each time: after three turns of which
-- nothing was told its login comes last. Not sooner, for all processes of a fleet may share a login, and one of them be at
-- fault; by then everybody waits much longer than that.
ALTER TABLE liverouter.alert_turn ADD COLUMN holder_login text;
COMMENT ON COLUMN liverouter.alert_turn.holder_login IS 'The login of that session';
SELECT liverouter.change_function(
    'liverouter_internal.next_alert()',
    $old$    WHERE t.next_at <= moment - CASE WHEN t.holder = pg_backend_pid() THEN interval '10 seconds' ELSE interval '0' END
$old$,
    $new$    WHERE t.next_at <= moment - CASE
        WHEN t.holder = pg_backend_pid()
            OR t.holder_login = session_user AND t.tries + (t.ticket IS NOT NULL)::integer >= 3
        THEN interval '10 seconds' ELSE interval '0' END
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.next_alert()',
    $old$        holder = CASE WHEN due IS NOT NULL THEN pg_backend_pid() END,
$old$,
    $new$        holder = CASE WHEN due IS NOT NULL THEN pg_backend_pid() END,
        holder_login = CASE WHEN due IS NOT NULL THEN session_user END,
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.settle_alert(uuid, text)',
    $old$ticket = NULL, news = NULL, holder = NULL, tries = 0, error = NULL,$old$,
    $new$ticket = NULL, news = NULL, holder = NULL, holder_login = NULL, tries = 0, error = NULL,$new$);

-- What columns and tables are, in plain words.
COMMENT ON COLUMN liverouter.problems.object IS
    'The setting, secret or process; or the model''s name, and its deployment';
COMMENT ON COLUMN liverouter.problems_detail.object IS
    'The setting, secret or process; or the model''s name, and its deployment';
COMMENT ON COLUMN liverouter.rollout.p99_ms IS
    '99 of 100 of them did within so many';
COMMENT ON COLUMN liverouter.rollout_detail.p99_ms IS
    '99 of 100 of them did within so many';
COMMENT ON COLUMN liverouter.processes.litellm_enable IS
    'true: litellm makes its calls; false: the providers'' own LangChain classes do';
COMMENT ON TABLE liverouter.spent_envelopes IS
    'Sealed values that `liverouter keys rotate` replaced: a copy of one is not taken again, so that nobody binds it to other addresses';

-- psql shows what people call, and report() alone beside it, which services of 0.1 call by that name.
DROP FUNCTION
    liverouter.next_alert(), liverouter.settle_alert(uuid, text), liverouter.due_probes(text[], double precision);
SELECT liverouter.change_function(
    'liverouter.install_roles()',
    $old$, '
             'liverouter.report(jsonb), liverouter.next_alert(), '
             'liverouter.settle_alert(uuid, text), liverouter.due_probes(text[], double precision)')$old$,
    $new$, '
             'liverouter.report(jsonb)')$new$);

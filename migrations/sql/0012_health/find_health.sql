-- How it goes with providers, by what processes report: for each login by itself, so that none can speak for another.
-- A failure is over where the same process was answered since; and where another of its login was, as soon as the process
-- has not failed for a minute. A process that ended is heard for an hour, if it ran what is in force.
CREATE FUNCTION liverouter.find_health(
    OUT code text, OUT severity text, OUT object text, OUT message text, OUT hint text, OUT login text,
    OUT instance uuid, OUT name text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();  -- a variable, because a volatile function is never an index condition
    today  date := (moment AT TIME ZONE 'UTC')::date;
BEGIN
    RETURN QUERY
WITH told AS (
    SELECT p.role AS login, p.instance, l.live, p.started_at,
           coalesce(d.value ->> 'name', 'default') AS name,
           d.value ->> 'deployment_id' AS deployment,
           (d.value -> 'order')::integer AS "order",
           d.value ->> 'credential_source' AS credential,
           left(coalesce(d.value ->> 'cause', '?'), 100) AS cause,
           n.answered_at, n.failing_since, n.failed_at, n.calls_failing_since, n.calls_failed_at, n.longest_prompt,
           n.max_input_tokens,
           CASE WHEN l.live AND (d.value ->> 'cooling_until')::timestamptz > moment
                THEN (d.value ->> 'cooling_until')::timestamptz END AS cooling_until
    FROM liverouter.processes p
    CROSS JOIN liverouter.head h
    CROSS JOIN LATERAL (SELECT p.bye_at IS NULL AND p.heartbeat_at > moment - interval '35 seconds') l (live)
    CROSS JOIN LATERAL jsonb_path_query(p.deployments, '$[*] ? (
        @.order >= 1 && @.order <= 1000000 && @.order.floor() == @.order && @.deployment_id.type() == "string"
        && (@.cooling_until == null || @.cooling_until like_regex "^2[0-9]{3}-[0-9]{2}-[0-9]{2}T"))') d (value)
    CROSS JOIN LATERAL (
        SELECT jsonb_path_query_first(d.value, '$.answered_at ? (@ > 0 && @ < 1e11)')::double precision,
               jsonb_path_query_first(d.value, '$.failing_since ? (@ > 0 && @ < 1e11)')::double precision,
               jsonb_path_query_first(d.value, '$.failed_at ? (@ > 0 && @ < 1e11)')::double precision,
               jsonb_path_query_first(d.value, '$.calls_failing_since ? (@ > 0 && @ < 1e11)')::double precision,
               jsonb_path_query_first(d.value, '$.calls_failed_at ? (@ > 0 && @ < 1e11)')::double precision,
               jsonb_path_query_first(d.value, '$.longest_prompt ? (@ > 0 && @ < 1e11)')::bigint,
               jsonb_path_query_first(d.value, '$.max_input_tokens ? (@ > 0 && @ < 1e11)')::bigint
    ) n (answered_at, failing_since, failed_at, calls_failing_since, calls_failed_at, longest_prompt, max_input_tokens)
    WHERE l.live OR (p.bye_at > moment - interval '1 hour' AND p.applied_revision = h.revision
                     AND p.epoch = liverouter.epoch())
),
seen AS (
    SELECT t.*, soon.ago,
           t.failed_at IS NOT NULL AND NOT coalesce(
               max(t.answered_at) OVER place > t.failed_at AND (NOT t.live OR t.failed_at < soon.ago), false) AS fails,
           t.calls_failed_at IS NOT NULL AND NOT coalesce(
               max(t.answered_at) OVER named > t.calls_failed_at AND (NOT t.live OR t.calls_failed_at < soon.ago),
               false) AS calls_fail,
           t."order" = min(t."order") OVER named AS is_primary
    FROM told t, (VALUES (extract(epoch FROM moment)::double precision - 60)) soon (ago)
    WINDOW place AS (PARTITION BY t.login, t.deployment), named AS (PARTITION BY t.login, t.name)
),
judged AS (
    SELECT s.*,
           -- what passes by itself is told while it is new: nobody asks a fallback again while the primary answers. What
           -- only an operator can mend is told until somebody is answered, as an error while calls still meet it.
           n.is_now OR s.is_primary AND s.failed_at > s.ago - 840 OR s.cause ~ ' 40[1-4]$' AS is_fresh,
           s.cause ~ ' 40[13]$' AND (n.is_now OR s.is_primary) AS refuses_key
    FROM seen s
    CROSS JOIN LATERAL (SELECT s.cooling_until IS NOT NULL OR s.calls_fail OR s.failed_at > s.ago) n (is_now)
),
calls AS (
    SELECT j.login, j.name,
           count(DISTINCT j.instance) FILTER (WHERE j.calls_fail) AS failing,
           count(DISTINCT j.instance) FILTER (WHERE j.live OR j.calls_fail) AS "all",
           min(j.calls_failing_since) FILTER (WHERE j.calls_fail) AS since,
           string_agg(DISTINCT j.deployment || ': ' || j.cause, ', ') FILTER (WHERE j.calls_fail AND j.fails) AS causes
    FROM judged j GROUP BY 1, 2
),
place AS (
    SELECT j.login, j.name, j.deployment, j.is_primary, bool_or(j.refuses_key) FILTER (WHERE j.fails) AS refuses_key,
           count(*) FILTER (WHERE j.fails AND j.is_fresh) AS failing,
           count(*) FILTER (WHERE j.fails AND j.is_fresh AND j.live AND NOT j.calls_fail) AS stood_in,
           count(*) FILTER (WHERE j.live OR j.fails) AS "all",
           min(j.failing_since) FILTER (WHERE j.fails) AS since,
           string_agg(DISTINCT j.cause, ', ') FILTER (WHERE j.fails) AS causes,
           count(j.cooling_until) AS cooling, max(j.cooling_until) AS cooling_until,
           count(*) FILTER (WHERE j.live) AS live, min(j.started_at) FILTER (WHERE j.live) AS started_at,
           min(j.credential) AS credential,
           max(j.longest_prompt) FILTER (WHERE j.live) AS longest_prompt,
           min(j.max_input_tokens) FILTER (WHERE j.live) AS max_input_tokens
    FROM judged j GROUP BY 1, 2, 3, 4
)
SELECT 'LR320', 'error', c.name,
       format('no call is answered in %s of %s processes, since %s: %s', c.failing, c."all", at.since,
           coalesce(left(c.causes, 500), '?')),
       'Every deployment of it fails. `liverouter check --live` asks each of them once and says more.',
       c.login, NULL::uuid, c.name
FROM calls c
CROSS JOIN LATERAL (SELECT to_char(to_timestamp(c.since) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')) at (since)
WHERE c.failing > 0
UNION ALL
SELECT w.code, w.severity, p.name || ', ' || p.deployment, w.message, w.hint, p.login, NULL, p.name
FROM place p
CROSS JOIN LATERAL (
    SELECT to_char(to_timestamp(p.since) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
           format('%s of %s processes', p.failing, p."all"), left(p.causes, 300)
) at (since, processes, causes)
CROSS JOIN LATERAL (
    SELECT 'LR323', 'error', format('its key is refused in %s, since %s: %s', at.processes, at.since, at.causes),
           CASE WHEN p.credential LIKE 'secret %'
                THEN format('Store one that works: liverouter set --secret %s', substr(p.credential, 8))
                ELSE format('Give the processes one that works; this one comes from: %s',
                         coalesce(nullif(p.credential, ''), '?')) END
    WHERE p.failing > 0 AND p.refuses_key
    UNION ALL
    SELECT 'LR321', 'warning',
           format('it fails in %s, since %s, and a fallback serves%s: %s', at.processes, at.since,
               -- by what was counted in the last quarter of an hour
               coalesce((
                   SELECT format(' %s %% of the calls', round(100.0 * sum(u.failovers) / nullif(sum(u.calls), 0)))
                   FROM liverouter.usage_minutes u
                   WHERE u.minute >= moment - interval '15 minutes'
                     AND u.name = p.name AND (u.instance, u.deployment_id) IN (
                         SELECT t.instance, t.deployment FROM told t WHERE t.login = p.login AND t.name = p.name)), ''),
               at.causes),
           'Mend it while the fallback lasts: the cause says whether key, quota, model name or provider is at fault.'
    WHERE p.is_primary AND p.stood_in > 0
    UNION ALL
    SELECT 'LR325', 'warning', format('the fallback fails in %s, since %s: %s', at.processes, at.since, at.causes),
           'It would not help where it is needed. `liverouter check --live` asks it once and says more.'
    WHERE NOT p.is_primary AND p.failing > 0 AND NOT p.refuses_key
    UNION ALL
    SELECT 'LR322', 'warning',
           format('it is left alone in %s of %s processes, until %s', p.cooling, p.live,
               to_char(p.cooling_until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')),
           'It failed, and is asked again then; others get its calls. See liverouter.usage for its failures.'
    WHERE p.cooling > 0
    UNION ALL
    SELECT 'LR324', 'info', 'the fallback has answered nothing for 14 days: nobody knows whether it would',
           'Have it asked now and then, at the price of a few tokens: liverouter set llm_probe_interval_h=24'
    WHERE NOT p.is_primary AND p.live > 0 AND p.failing = 0
      AND coalesce((
              SELECT s.updated_at FROM liverouter.settings s
              WHERE s.key = CASE p.name WHEN 'default' THEN 'llm_fallback_config' ELSE 'llm:' || p.name END),
              p.started_at) < moment - interval '14 days'
      AND NOT EXISTS (
          SELECT FROM liverouter.usage_days u
          WHERE u.day >= today - 14 AND u.deployment_id = p.deployment AND u.login = p.login AND u.calls > 0)
    UNION ALL
    SELECT 'LR327', 'warning',
           format('the fallback reads %s tokens, and calls are as long as %s', p.max_input_tokens, p.longest_prompt),
           'Choose a fallback that reads as much as the primary; one whose limit is known wrongly takes a "profile"'
    WHERE NOT p.is_primary AND p.longest_prompt > p.max_input_tokens
) w (code, severity, message, hint)
UNION ALL
SELECT 'LR328', 'warning', 'settings.llm_alert_webhook', format('%s tries to send alerts failed: %s', t.tries, t.error),
       'Does the receiver answer with a 2xx, without a redirect, and is it reached from where liverouter runs?',
       NULL, NULL, NULL
FROM liverouter.alert_turn t
WHERE t.tries >= 3;
END $$;
COMMENT ON FUNCTION liverouter.find_health() IS
    'Problems: how it goes with providers, by what processes report of their calls';

SELECT liverouter.change_function(
    'liverouter.all_problems()',
    'FROM liverouter.server_problems() p',
    'FROM liverouter.server_problems() p
        UNION ALL
        SELECT h.severity, h.code, h.object, h.message, h.hint, h.login, h.instance FROM liverouter.find_health() h');

SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$    SELECT 'LR329', 'info',
           format('the fallback failed when it was last asked, at %s: nobody knows whether it was mended: %s',
               to_char(to_timestamp(p.unasked_since) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), at.causes),
           'Have it asked now and then, at the price of a few tokens: liverouter set llm_probe_interval_h=24'
    WHERE p.unasked_since IS NOT NULL AND p.failing = 0
    UNION ALL
    SELECT 'LR324', 'info', 'the fallback has answered nothing for 14 days: nobody knows whether it would',
           'Have it asked now and then, at the price of a few tokens: liverouter set llm_probe_interval_h=24'
    WHERE NOT p.is_primary AND p.live > 0 AND p.failing = 0 AND p.unasked_since IS NULL
$old$,
    $new$    SELECT 'LR324', 'info', 'the fallback has answered nothing for 14 days: nobody knows whether it would',
           'Have it asked now and then, at the price of a few tokens: liverouter set llm_probe_interval_h=24'
    WHERE NOT p.is_primary AND p.live > 0 AND p.failing = 0
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$           max(j.failed_at) FILTER (WHERE j.fails AND j.is_unasked) AS unasked_since,
           count(*) FILTER (WHERE j.live OR j.fails) AS "all",
           min(j.failing_since)$old$,
    $new$           count(*) FILTER (WHERE j.live OR j.fails) AS "all",
           min(j.failing_since)$new$);
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$           -- what passes by itself is told while it is new: nobody asks a fallback again while the primary answers. What
           -- only an operator can mend is told until somebody is answered, as an error while calls still meet it; of a
           -- fallback for a day, for it may have been mended.
$old$,
    $new$           -- what passes by itself is told while it is new: nobody asks a fallback again while the primary answers. What
           -- only an operator can mend is told until somebody is answered, as an error while calls still meet it.
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$    CROSS JOIN LATERAL (
        SELECT s.cooling_until IS NOT NULL OR s.calls_fail OR s.failed_at > s.ago, s.cause ~ ' 40[1-4]$',
               NOT s.is_primary AND s.failed_at < s.ago - 86340) n (is_now, is_lasting, is_old)
$old$,
    $new$    CROSS JOIN LATERAL (SELECT s.cooling_until IS NOT NULL OR s.calls_fail OR s.failed_at > s.ago) n (is_now)
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.find_health()',
    $old$OR n.is_lasting AND NOT n.is_old AS is_fresh,
           n.is_lasting AND n.is_old AS is_unasked,
$old$,
    $new$OR s.cause ~ ' 40[1-4]$' AS is_fresh,
$new$);

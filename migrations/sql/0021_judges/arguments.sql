-- What people call says what it does not take, and a number that is beyond all time means for ever.

SELECT liverouter.change_function(
    'liverouter.begin_edit(bigint, text, text)',
    $old$            MESSAGE = (
                SELECT format('the config is at revision %s, not %s: %s changed it at %s%s',
                    l.revision, expected_revision,
                    CASE WHEN l.author <> l.author_role THEN format('%s (%s)', l.author, l.author_role)
                         ELSE l.author_role END,
                    to_char(l.committed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
                    coalesce(' UTC through ' || l.application_name, ' UTC'))
                FROM liverouter.revision_log l WHERE l.revision = now_at),
            HINT = format('See what changed: SELECT * FROM liverouter.revision_diff(%s, %s). Then edit that revision.',
                least(expected_revision, now_at), greatest(expected_revision, now_at));
$old$,
    $new$            MESSAGE = coalesce((
                SELECT format('the config is at revision %s, not %s: %s changed it at %s%s',
                    l.revision, expected_revision,
                    CASE WHEN l.author <> l.author_role THEN format('%s (%s)', l.author, l.author_role)
                         ELSE l.author_role END,
                    to_char(l.committed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
                    coalesce(' UTC through ' || l.application_name, ' UTC'))
                FROM liverouter.revision_log l WHERE l.revision = now_at),
                format('the config is at revision %s, not %s', now_at, expected_revision)),
            HINT = CASE
                WHEN EXISTS (SELECT FROM liverouter.revision_log l WHERE l.revision = expected_revision)
                THEN format('See what changed: SELECT * FROM liverouter.revision_diff(%s, %s). Then edit that revision.',
                    expected_revision, now_at)
                ELSE format('The history holds no revision %s: SELECT * FROM liverouter.revisions. Then edit revision %s.',
                    expected_revision, now_at) END;
$new$);

SELECT liverouter.change_function(
    'liverouter.prune(integer, interval)',
    $old$BEGIN
    -- Whoever holds$old$,
    $new$BEGIN
    IF usage_days IS NULL OR usage_days < 0 OR dead_after IS NULL OR dead_after < interval '0' THEN
        RAISE EXCEPTION 'usage_days and dead_after are 0 or more, not % and %',
            coalesce(usage_days::text, 'NULL'), coalesce(dead_after::text, 'NULL')
            USING ERRCODE = 'LR104', HINT = 'Leave out what shall be as always: SELECT liverouter.prune(usage_days => 90)';
    END IF;
    usage_days := least(usage_days, 36500);
    dead_after := least(dead_after, interval '36500 days');
    -- Whoever holds$new$);
SELECT liverouter.change_function(
    'liverouter.prune(integer, interval)',
    $old$::date - (SELECT k.usage_daily_days FROM$old$,
    $new$::date - (SELECT least(k.usage_daily_days, 36500) FROM$new$);
SELECT liverouter.change_function(
    'liverouter_internal.prune_history(timestamptz)',
    $old$    SELECT * INTO STRICT kept FROM liverouter.retention;
$old$,
    $new$    SELECT * INTO STRICT kept FROM liverouter.retention;
    kept.history_days := least(kept.history_days, 36500);
$new$);

SELECT liverouter.change_function(
    'liverouter.wait_applied(bigint, numeric)',
    $old$    IF wait_applied.revision IS NULL OR wait_applied.revision > head.revision THEN
        RAISE EXCEPTION 'there is no revision %, the head is %', wait_applied.revision, head.revision USING
            ERRCODE = 'LR213', HINT = 'SELECT * FROM liverouter.revisions';
    END IF;
$old$,
    $new$    IF coalesce(wait_applied.revision, -1) NOT BETWEEN 0 AND head.revision THEN
        RAISE EXCEPTION 'there is no revision %, the head is %', coalesce(wait_applied.revision::text, 'NULL'), head.revision
            USING ERRCODE = 'LR213', HINT = 'See which there are: SELECT * FROM liverouter.revisions';
    END IF;
    IF timeout_s IS NULL OR timeout_s < 0 OR timeout_s = 'NaN' THEN
        RAISE EXCEPTION 'timeout_s is a number of seconds, 0 or more, not %', coalesce(timeout_s::text, 'NULL') USING
            ERRCODE = 'LR104', HINT = 'Leave it out to wait for 30 seconds; a day is the longest';
    END IF;
$new$);

-- An empty history is told: nothing leads back to what it held.
SELECT liverouter.change_function(
    'liverouter_internal.server_problems()',
    $old$    UNION ALL
    SELECT 'warning', 'LR214', t.tgrelid::regclass::text,
$old$,
    $new$    UNION ALL
    SELECT 'warning', 'LR214', 'liverouter.revision_log',
           format('it does not hold revision %s, the head: nobody sees who made it, and no rollback leads back to it', h.revision),
           'Make the rows a revision: liverouter repair'
    FROM liverouter.head h
    WHERE NOT EXISTS (SELECT FROM liverouter.revision_log l WHERE l.revision = h.revision)
      AND NOT row_security_active('liverouter.revision_log')
    UNION ALL
    SELECT 'warning', 'LR214', t.tgrelid::regclass::text,
$new$);

-- What is wrong with the database itself, whether or not a process runs and says so.
CREATE OR REPLACE FUNCTION liverouter_internal.server_problems(
    OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'error', 'LR208', 'database', format('the notification queue is %s %% full', round(100 * q.usage::numeric)),
           'A session that listens sits in an open transaction: see pg_stat_activity, state ''idle in transaction'''
    FROM (SELECT pg_notification_queue_usage() AS usage) q
    WHERE q.usage > 0.5
    UNION ALL
    SELECT 'error', 'LR207', format('liverouter.%s', c.relname),
           'row-level security hides its rows from the owner of the schema, too',
           format('As the owner: ALTER TABLE liverouter.%I NO FORCE ROW LEVEL SECURITY', c.relname)
    FROM pg_class c
    WHERE c.relnamespace = 'liverouter'::regnamespace AND c.relforcerowsecurity AND row_security_active(c.oid)
    UNION ALL
    SELECT 'error', 'LR208', 'liverouter.head', 'it has lost its row, without which nobody reads or writes the config',
           'As the owner: INSERT INTO liverouter.head (revision, change_id, committed_at, xid, xact_at) '
           'SELECT revision, change_id, committed_at, 0, committed_at FROM liverouter.revision_log '
           'ORDER BY revision DESC LIMIT 1'
    WHERE NOT EXISTS (SELECT FROM liverouter.head) AND NOT row_security_active('liverouter.head')
    UNION ALL
    SELECT 'warning', 'LR214', t.tgrelid::regclass::text,
           format('%s of its triggers are switched off: what is written there makes no revision', count(*)),
           format('As the owner: ALTER TABLE %s ENABLE TRIGGER USER; then: liverouter repair', t.tgrelid::regclass)
    FROM pg_trigger t
    WHERE NOT t.tgisinternal AND t.tgenabled NOT IN ('O', 'A')
      AND t.tgrelid IN ('liverouter.settings'::regclass, 'liverouter.secrets'::regclass, 'liverouter.head'::regclass)
    GROUP BY t.tgrelid
    UNION ALL
    SELECT 'warning', 'LR214', 'settings',
           'rows were written past the triggers, so that they are no revision: no history has them, no rollback leads back',
           'Make them one: liverouter repair'
    FROM liverouter.head h
    JOIN liverouter.revision_log l ON l.revision = h.revision
    LEFT JOIN liverouter.revision_changes c ON c.revision = h.revision
    CROSS JOIN liverouter_internal.settings_content() now_is
    WHERE l.sealed <> liverouter_internal.secrets_content()
       OR l.content <> now_is AND (
           -- rows of other software enter the history, or leave it, with the next revision
           c.ours_alone IS NOT DISTINCT FROM NOT liverouter_internal.has_few_strangers()
           OR liverouter_internal.own_content(l.content) <> liverouter_internal.own_content(now_is))
$$;
COMMENT ON FUNCTION liverouter_internal.server_problems() IS
    'Problems: the server, and what was done to our tables: rows hidden, lost, or written past the triggers';

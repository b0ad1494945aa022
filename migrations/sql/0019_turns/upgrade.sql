-- The turn to send alerts is one row: who locks it in a transaction that stays open, or takes it again and again and tells
-- nothing, would keep all others from it.
ALTER TABLE liverouter.alert_turn ADD COLUMN holder integer;
COMMENT ON COLUMN liverouter.alert_turn.holder IS
    'Process id of the session that had the turn last; NULL = what it was about was told, or there was nothing to tell';

SELECT liverouter.change_function(
    'liverouter_internal.next_alert()',
    'PERFORM FROM liverouter.alert_turn t WHERE t.next_at <= moment FOR UPDATE SKIP LOCKED;',
    'PERFORM set_config(''idle_in_transaction_session_timeout'', ''5s'', true);
    -- One that had the turn last and told nothing comes after the others, who ask every five seconds.
    PERFORM FROM liverouter.alert_turn t
    WHERE t.next_at <= moment - CASE WHEN t.holder = pg_backend_pid() THEN interval ''10 seconds'' ELSE interval ''0'' END
    FOR UPDATE SKIP LOCKED;');
SELECT liverouter.change_function(
    'liverouter_internal.next_alert()',
    'news = due,',
    'news = due,
        holder = CASE WHEN due IS NOT NULL THEN pg_backend_pid() END,');
SELECT liverouter.change_function(
    'liverouter_internal.settle_alert(uuid, text)',
    'SELECT * INTO turn FROM',
    'PERFORM set_config(''idle_in_transaction_session_timeout'', ''5s'', true);
    SELECT * INTO turn FROM');
SELECT liverouter.change_function(
    'liverouter_internal.settle_alert(uuid, text)',
    'ticket = NULL, news = NULL, tries = 0, error = NULL,',
    'ticket = NULL, news = NULL, holder = NULL, tries = 0, error = NULL,');

-- An advisory lock is anybody's to hold, a member of our roles or not: who chooses what is to be asked waits a moment for
-- the rows themselves.
SELECT liverouter.change_function(
    'liverouter_internal.due_probes(text[], double precision)',
    'IF NOT pg_try_advisory_xact_lock(hashtext(''liverouter_internal.due_probes'')) THEN
        RETURN;  -- another process is choosing
    END IF;',
    'PERFORM set_config(''idle_in_transaction_session_timeout'', ''5s'', true);');
SELECT liverouter.change_function(
    'liverouter_internal.due_probes(text[], double precision)',
    'ON CONFLICT (deployment_id) DO UPDATE SET asked_at = excluded.asked_at
        RETURNING p.deployment_id;',
    'ORDER BY 1
        ON CONFLICT (deployment_id) DO UPDATE SET asked_at = excluded.asked_at WHERE p.asked_at <= since
        RETURNING p.deployment_id;
EXCEPTION WHEN lock_not_available THEN
    RETURN;  -- another process is choosing');
ALTER FUNCTION liverouter_internal.due_probes(text[], double precision) SET lock_timeout = '200ms';

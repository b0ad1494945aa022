ALTER FUNCTION liverouter_internal.due_probes(text[], double precision) RESET lock_timeout;
SELECT liverouter.change_function(
    'liverouter_internal.due_probes(text[], double precision)',
    'ORDER BY 1
        ON CONFLICT (deployment_id) DO UPDATE SET asked_at = excluded.asked_at WHERE p.asked_at <= since
        RETURNING p.deployment_id;
EXCEPTION WHEN lock_not_available THEN
    RETURN;  -- another process is choosing',
    'ON CONFLICT (deployment_id) DO UPDATE SET asked_at = excluded.asked_at
        RETURNING p.deployment_id;');
SELECT liverouter.change_function(
    'liverouter_internal.due_probes(text[], double precision)',
    'PERFORM set_config(''idle_in_transaction_session_timeout'', ''5s'', true);',
    'IF NOT pg_try_advisory_xact_lock(hashtext(''liverouter_internal.due_probes'')) THEN
        RETURN;  -- another process is choosing
    END IF;');
SELECT liverouter.change_function(
    'liverouter_internal.settle_alert(uuid, text)',
    'ticket = NULL, news = NULL, holder = NULL, tries = 0, error = NULL,',
    'ticket = NULL, news = NULL, tries = 0, error = NULL,');
SELECT liverouter.change_function(
    'liverouter_internal.settle_alert(uuid, text)',
    'PERFORM set_config(''idle_in_transaction_session_timeout'', ''5s'', true);
    SELECT * INTO turn FROM',
    'SELECT * INTO turn FROM');
SELECT liverouter.change_function(
    'liverouter_internal.next_alert()',
    'news = due,
        holder = CASE WHEN due IS NOT NULL THEN pg_backend_pid() END,',
    'news = due,');
SELECT liverouter.change_function(
    'liverouter_internal.next_alert()',
    'PERFORM set_config(''idle_in_transaction_session_timeout'', ''5s'', true);
    -- One that had the turn last and told nothing comes after the others, who ask every five seconds.
    PERFORM FROM liverouter.alert_turn t
    WHERE t.next_at <= moment - CASE WHEN t.holder = pg_backend_pid() THEN interval ''10 seconds'' ELSE interval ''0'' END
    FOR UPDATE SKIP LOCKED;',
    'PERFORM FROM liverouter.alert_turn t WHERE t.next_at <= moment FOR UPDATE SKIP LOCKED;');
ALTER TABLE liverouter.alert_turn DROP COLUMN holder;

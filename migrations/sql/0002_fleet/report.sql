CREATE FUNCTION liverouter.report(
    doc jsonb, OUT revision bigint, OUT change_id uuid, OUT epoch text, OUT report_whole boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    fault    text := liverouter.report_fault(doc);
    d        record;
    process  liverouter.processes%ROWTYPE;
    item     record;
    moment   timestamptz := clock_timestamp();
    epoch_is text := liverouter.epoch();
BEGIN
    IF fault IS NULL THEN
        BEGIN
            SELECT * INTO d FROM jsonb_to_record(doc) AS r (
                instance uuid, key text, app text, labels jsonb, host text, pid integer, versions jsonb,
                state text, mode text, mode_cause text, since timestamptz, epoch text,
                applied_revision bigint, generation bigint, litellm_enable boolean, rejected_revision bigint,
                rejected_epoch text, problems jsonb, last_error jsonb, listener jsonb, deployments jsonb, bye boolean);
        EXCEPTION WHEN data_exception THEN
            fault := SQLERRM;
        END;
    END IF;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'this report cannot be used: %', fault USING
            ERRCODE = 'LR212', HINT = 'Only liverouter''s clients report. Is this one of another version?';
    END IF;
    -- A lost heartbeat comes again by itself: nobody waits for the disk. Lasts until the caller's transaction ends.
    PERFORM set_config('synchronous_commit', 'off', true);

    report_whole := false;
    SELECT * INTO process FROM liverouter.processes p WHERE p.instance = d.instance;
    IF NOT FOUND THEN
        report_whole := NOT doc ?& '{app,state,epoch,applied_revision}';
        INSERT INTO liverouter.processes (instance, key_hash) VALUES (d.instance, sha256(convert_to(d.key, 'UTF8')))
            ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT process FROM liverouter.processes p WHERE p.instance = d.instance;
    END IF;
    IF process.key_hash <> sha256(convert_to(d.key, 'UTF8')) OR process.role <> session_user THEN
        RAISE EXCEPTION 'this instance belongs to another process' USING
            ERRCODE = '42501',
            HINT = 'A process reports with an instance id and a key of its own, always as the same role.';
    END IF;

    UPDATE liverouter.processes p SET
        heartbeat_at = moment,
        bye_at = CASE WHEN d.bye THEN moment END,
        app = CASE WHEN doc ? 'app' THEN coalesce(left(d.app, 100), '') ELSE p.app END,
        host = CASE WHEN doc ? 'host' THEN coalesce(left(d.host, 255), '') ELSE p.host END,
        pid = CASE WHEN doc ? 'pid' THEN d.pid ELSE p.pid END,
        labels = CASE WHEN doc ? 'labels' THEN coalesce(d.labels, '{}') ELSE p.labels END,
        versions = CASE WHEN doc ? 'versions' THEN coalesce(d.versions, '{}') ELSE p.versions END,
        state = CASE WHEN d.bye THEN 'offline' ELSE coalesce(d.state, p.state) END,
        mode = CASE WHEN d.bye THEN 'none' ELSE coalesce(d.mode, p.mode) END,
        mode_cause = CASE WHEN doc ? 'mode_cause' THEN left(d.mode_cause, 200) ELSE p.mode_cause END,
        since = CASE WHEN doc ? 'since' THEN d.since ELSE p.since END,
        epoch = CASE WHEN doc ? 'epoch' THEN left(d.epoch, 200) ELSE p.epoch END,
        applied_revision = CASE WHEN doc ? 'applied_revision' THEN d.applied_revision ELSE p.applied_revision END,
        applied_at = CASE
            WHEN NOT doc ? 'applied_revision' THEN p.applied_at
            WHEN d.applied_revision IS NOT NULL THEN coalesce(
                (SELECT min(a.finished_at) FROM liverouter.report_applies(doc, moment) a
                 WHERE a.outcome = 'applied' AND a.revision = d.applied_revision
                   AND (a.timed OR d.applied_revision IS DISTINCT FROM p.applied_revision)),
                CASE WHEN d.applied_revision IS NOT DISTINCT FROM p.applied_revision THEN p.applied_at END,
                moment) END,
        generation = CASE WHEN doc ? 'generation' THEN d.generation ELSE p.generation END,
        litellm_enable = CASE WHEN doc ? 'litellm_enable' THEN d.litellm_enable ELSE p.litellm_enable END,
        rejected_revision = CASE WHEN doc ? 'rejected_revision' THEN d.rejected_revision ELSE p.rejected_revision END,
        rejected_epoch = CASE WHEN doc ? 'rejected_revision' THEN left(d.rejected_epoch, 200) ELSE p.rejected_epoch END,
        problems = CASE WHEN d.bye THEN '[]'
            WHEN doc ? 'problems' THEN liverouter.report_problems(d.problems) ELSE p.problems END,
        last_error = CASE WHEN doc ? 'last_error' THEN liverouter.report_problem(d.last_error) ELSE p.last_error END,
        listener = CASE WHEN doc ? 'listener' THEN jsonb_build_object(
                'backend_pid', liverouter.whole_number(d.listener -> 'backend_pid'),
                'reconnects', liverouter.whole_number(d.listener -> 'reconnects'),
                'last_probe_age_ms', liverouter.whole_number(d.listener -> 'last_probe_age_ms')) ELSE p.listener END,
        deployments = CASE WHEN d.bye THEN '[]'
            WHEN doc ? 'deployments' THEN liverouter.report_deployments(d.deployments, moment) ELSE p.deployments END
    WHERE p.instance = d.instance;

    IF doc ? 'applies' THEN
        INSERT INTO liverouter.apply_log AS l
            (revision, instance, outcome, stage, finished_at, lag_ms, read_ms, validate_ms, build_ms, warm_ms,
             code, message)
        SELECT DISTINCT ON (a.revision)
            a.revision, d.instance, a.outcome, left(a.stage, 20), a.finished_at,
            CASE WHEN process.started_at <= h.committed_at AND bool_or(a.outcome = 'applied' AND a.timed) OVER same
                 THEN greatest(0, extract(epoch FROM
                          min(a.finished_at) FILTER (WHERE a.outcome = 'applied' AND a.timed) OVER same
                          - h.committed_at) * 1000) END,
            a.read_ms, a.validate_ms, a.build_ms, a.warm_ms, left(a.code, 20), left(a.message, 1000)
        FROM liverouter.report_applies(doc, moment) a
        JOIN liverouter.revision_log h ON h.revision = a.revision
        WHERE coalesce(a.epoch, d.epoch, process.epoch) = epoch_is    -- else the number means another revision
        WINDOW same AS (PARTITION BY a.revision)
        ORDER BY a.revision, a.finished_at DESC
        ON CONFLICT (revision, instance) DO UPDATE SET
            outcome = excluded.outcome, stage = excluded.stage,
            finished_at = excluded.finished_at, lag_ms = coalesce(l.lag_ms, excluded.lag_ms),
            read_ms = excluded.read_ms, validate_ms = excluded.validate_ms, build_ms = excluded.build_ms,
            warm_ms = excluded.warm_ms, code = excluded.code, message = excluded.message;
    END IF;
    IF doc ? 'usage' THEN
        PERFORM liverouter.add_usage(d.instance, doc -> 'usage', moment);
    END IF;
    IF random() < 0.001 THEN
        PERFORM liverouter.prune();
    END IF;

    SELECT h.revision, h.change_id, epoch_is INTO STRICT revision, change_id, epoch FROM liverouter.head h;
END $$;
COMMENT ON FUNCTION liverouter.report(jsonb) IS
    'A process reports what it runs; made by liverouter''s clients. Keys that are absent keep their value, so a '
    'heartbeat is instance and key alone. Returns the head, so that a heartbeat is a poll as well, and whether '
    'everything is wanted next. Ages are given in milliseconds and become times by this database''s clock. Refuses a '
    'report for another''s instance. Commits asynchronously; never notifies.';

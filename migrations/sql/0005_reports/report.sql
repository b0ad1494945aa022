CREATE OR REPLACE FUNCTION liverouter.report(
    doc jsonb, OUT revision bigint, OUT change_id uuid, OUT epoch text, OUT report_whole boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    fault       text := liverouter.report_fault(doc);
    d           record;
    head        record;
    process     liverouter.processes%ROWTYPE;
    said        liverouter.processes%ROWTYPE;
    moment      timestamptz := clock_timestamp();
    counts      boolean := doc ?| '{applies,usage}';
    fits        boolean := true;
    added       bigint := 0;
    over_quota  text := 'quota of its login';
BEGIN
    IF fault IS NULL THEN
        BEGIN
            SELECT * INTO d FROM jsonb_to_record(doc) AS r (
                instance uuid, key text, pid integer, since timestamptz, applied_revision bigint, generation bigint,
                litellm_enable boolean, rejected_revision bigint, bye boolean);
        EXCEPTION WHEN data_exception THEN
            fault := SQLERRM;
        END;
    END IF;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'this report cannot be used: %', left(fault, 200) USING
            ERRCODE = 'LR212', HINT = 'Only liverouter''s clients report. Is this one of another version?';
    END IF;
    -- A lost heartbeat comes again by itself: nobody waits for the disk. Lasts until the caller's transaction ends.
    PERFORM set_config('synchronous_commit', 'off', true);

    report_whole := false;
    SELECT * INTO process FROM liverouter.processes p WHERE p.instance = d.instance;
    IF NOT FOUND THEN
        report_whole := NOT doc ?& '{app,state,epoch,applied_revision}';
        PERFORM liverouter.check_processes();
        INSERT INTO liverouter.processes (instance, key_hash) VALUES (d.instance, sha256(convert_to(d.key, 'UTF8')))
            ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT process FROM liverouter.processes p WHERE p.instance = d.instance;
    END IF;
    IF process.key_hash <> sha256(convert_to(d.key, 'UTF8')) OR process.role <> session_user THEN
        RAISE EXCEPTION 'this instance belongs to another process' USING
            ERRCODE = '42501',
            HINT = 'A process reports with an instance id and a key of its own, always as the same role.';
    END IF;

    SELECT h.revision, h.change_id, liverouter.epoch() AS epoch INTO STRICT head FROM liverouter.head h;
    said := process;
    IF doc ? 'epoch' THEN
        said.epoch := liverouter.clean_text(doc -> 'epoch', 200);
    END IF;
    IF doc ? 'applied_revision' THEN
        said.applied_revision := CASE WHEN d.applied_revision >= 0 THEN d.applied_revision END;
    END IF;
    IF said.applied_revision > head.revision AND said.epoch = head.epoch THEN
        said.epoch := NULL;     -- this history does not hold it, whatever it may come to hold
    END IF;
    IF doc ? 'rejected_revision' THEN
        said.rejected_revision := CASE WHEN d.rejected_revision >= 0 THEN d.rejected_revision END;
        said.rejected_epoch := liverouter.clean_text(doc -> 'rejected_epoch', 200);
    END IF;
    IF said.rejected_revision > head.revision AND said.rejected_epoch = head.epoch THEN
        said.rejected_epoch := NULL;
    END IF;
    IF d.bye THEN
        said.problems := '[]';
        said.deployments := '[]';
    ELSE
        IF doc ? 'problems' THEN
            said.problems := liverouter.report_problems(doc -> 'problems');
        END IF;
        IF doc ? 'deployments' THEN
            said.deployments := liverouter.report_deployments(doc -> 'deployments', moment);
        END IF;
    END IF;
    IF counts THEN
        fits := liverouter.may_add(moment);
        said.problems := jsonb_path_query_array(
            said.problems, '$[*] ? (@.where != $over_quota)', jsonb_build_object('over_quota', over_quota));
        IF NOT fits THEN
            said.problems := said.problems || liverouter.report_problem(jsonb_build_object(
                'severity', 'warning', 'code', 'LR212', 'where', over_quota,
                'message', format('its counts are dropped: the login %s has added 10000 rows within a minute',
                    session_user),
                'hint', 'Give services logins of their own. What reports so much? See liverouter.usage.'));
        END IF;
    END IF;

    UPDATE liverouter.processes p SET
        heartbeat_at = moment,
        bye_at = CASE WHEN d.bye THEN moment END,
        app = CASE WHEN doc ? 'app' THEN coalesce(liverouter.clean_text(doc -> 'app', 100), '') ELSE p.app END,
        host = CASE WHEN doc ? 'host' THEN coalesce(liverouter.clean_text(doc -> 'host', 255), '') ELSE p.host END,
        pid = CASE WHEN NOT doc ? 'pid' THEN p.pid WHEN d.pid >= 0 THEN d.pid END,
        labels = CASE WHEN doc ? 'labels' THEN liverouter.clean_words(doc -> 'labels') ELSE p.labels END,
        versions = CASE WHEN doc ? 'versions' THEN liverouter.clean_words(doc -> 'versions') ELSE p.versions END,
        state = CASE WHEN d.bye THEN 'offline' ELSE coalesce(doc ->> 'state', p.state) END,
        mode = CASE WHEN d.bye THEN 'none' ELSE coalesce(doc ->> 'mode', p.mode) END,
        mode_cause = CASE
            WHEN doc ? 'mode_cause' THEN liverouter.clean_text(doc -> 'mode_cause', 200) ELSE p.mode_cause END,
        since = CASE
            WHEN NOT doc ? 'since' THEN p.since
            WHEN d.since IS NOT NULL THEN least(greatest(d.since, '2000-01-01 UTC'), moment) END,
        epoch = said.epoch,
        applied_revision = said.applied_revision,
        applied_at = CASE
            WHEN NOT doc ? 'applied_revision' THEN p.applied_at
            WHEN said.applied_revision IS NOT NULL THEN coalesce(
                (SELECT min(a.finished_at) FROM liverouter.report_applies(doc, moment) a
                 WHERE a.outcome = 'applied' AND a.revision = said.applied_revision
                   AND (a.timed OR said.applied_revision IS DISTINCT FROM p.applied_revision)),
                CASE WHEN said.applied_revision IS NOT DISTINCT FROM p.applied_revision THEN p.applied_at END,
                moment) END,
        generation = CASE
            WHEN NOT doc ? 'generation' THEN p.generation
            WHEN d.generation BETWEEN 0 AND 9007199254740991 THEN d.generation END,
        litellm_enable = CASE WHEN doc ? 'litellm_enable' THEN d.litellm_enable ELSE p.litellm_enable END,
        rejected_revision = said.rejected_revision,
        rejected_epoch = said.rejected_epoch,
        problems = said.problems,
        last_error = CASE WHEN doc ? 'last_error' THEN liverouter.report_problem(doc -> 'last_error')
            ELSE p.last_error END,
        listener = CASE WHEN doc ? 'listener' THEN jsonb_build_object(
                'backend_pid', liverouter.clean_number(doc #> '{listener,backend_pid}', 2147483647)::bigint,
                'reconnects', liverouter.clean_number(doc #> '{listener,reconnects}', 2147483647)::bigint,
                'last_probe_age_ms', liverouter.clean_number(doc #> '{listener,last_probe_age_ms}', 2147483647)::bigint)
            ELSE p.listener END,
        deployments = said.deployments
    WHERE p.instance = d.instance;

    IF counts AND fits AND doc ? 'applies' THEN
        WITH written AS (
            INSERT INTO liverouter.apply_log AS l
                (revision, instance, outcome, stage, finished_at, lag_ms, read_ms, validate_ms, build_ms, warm_ms,
                 code, message)
            SELECT DISTINCT ON (a.revision)
                a.revision, d.instance, a.outcome, a.stage, a.finished_at,
                CASE WHEN process.started_at <= h.committed_at AND bool_or(a.outcome = 'applied' AND a.timed) OVER same
                     THEN greatest(0, extract(epoch FROM
                              min(a.finished_at) FILTER (WHERE a.outcome = 'applied' AND a.timed) OVER same
                              - h.committed_at) * 1000) END,
                a.read_ms, a.validate_ms, a.build_ms, a.warm_ms, a.code, a.message
            FROM liverouter.report_applies(doc, moment) a
            JOIN liverouter.revision_log h ON h.revision = a.revision
            WHERE coalesce(a.epoch, said.epoch) = head.epoch    -- else the number means another revision
            WINDOW same AS (PARTITION BY a.revision)
            ORDER BY a.revision, a.finished_at DESC
            ON CONFLICT (revision, instance) DO UPDATE SET
                outcome = excluded.outcome, stage = excluded.stage,
                finished_at = excluded.finished_at, lag_ms = coalesce(l.lag_ms, excluded.lag_ms),
                read_ms = excluded.read_ms, validate_ms = excluded.validate_ms, build_ms = excluded.build_ms,
                warm_ms = excluded.warm_ms, code = excluded.code, message = excluded.message
            RETURNING (l.xmax = 0)::integer + coalesce(octet_length(l.message), 0) / 250 AS rows
        )
        SELECT coalesce(sum(w.rows), 0) INTO added FROM written w;
    END IF;
    IF counts AND fits AND doc ? 'usage' THEN
        added := added + liverouter.add_usage(d.instance, doc -> 'usage', moment);
    END IF;
    IF added > 0 THEN
        PERFORM liverouter.count_added(moment, added);
    END IF;
    IF random() < 0.001 THEN
        PERFORM liverouter.prune();
    END IF;

    revision := head.revision;
    change_id := head.change_id;
    epoch := head.epoch;
END $$;

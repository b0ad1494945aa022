-- Statement-level triggers: whoever changes settings or secrets, by whatever client, makes one revision a transaction.

CREATE FUNCTION liverouter.settings_content() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') FROM liverouter.settings s
$$;
COMMENT ON FUNCTION liverouter.settings_content() IS 'All settings as {key: value}, the shape of revision_log.content';

CREATE FUNCTION liverouter.secrets_content() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        jsonb_object_agg(s.name, jsonb_build_object('sealed', s.sealed, 'fingerprint', s.fingerprint)), '{}')
    FROM liverouter.secrets s
$$;
COMMENT ON FUNCTION liverouter.secrets_content() IS 'All sealed secrets, the shape of revision_log.sealed';

CREATE FUNCTION liverouter.lock_head() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Before any row is touched: writers queue here in one order, so they cannot deadlock on each other's rows, and a
    -- writer with an old REPEATABLE READ snapshot fails here (40001) instead of overwriting what it never saw.
    PERFORM FROM liverouter.head FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'liverouter.head has no row' USING ERRCODE = 'LR212',
            HINT = 'The schema was tampered with. Restore the row from the newest row of liverouter.revision_log.';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.lock_head() IS
    'Trigger: takes the head row''s lock before a write to settings or secrets';

CREATE FUNCTION liverouter.bump_head() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    head     liverouter.head%ROWTYPE;
    settings jsonb := liverouter.settings_content();
    secrets  jsonb := liverouter.secrets_content();
BEGIN
    SELECT * INTO STRICT head FROM liverouter.head;
    PERFORM FROM liverouter.revision_log l
        WHERE l.revision = head.revision AND l.content = settings AND l.sealed = secrets;
    IF FOUND THEN
        RETURN NULL;  -- the statement changed nothing
    END IF;

    IF (head.xid, head.xact_at) IS DISTINCT FROM (pg_current_xact_id()::text::bigint, now()) THEN
        head.revision := head.revision + 1;
    END IF;
    UPDATE liverouter.head h
        SET revision = head.revision, change_id = gen_random_uuid(), committed_at = clock_timestamp(),
            xid = pg_current_xact_id()::text::bigint, xact_at = now()
        RETURNING * INTO head;
    INSERT INTO liverouter.revision_log AS l
        (revision, change_id, kind, author_role, author, application_name, comment, committed_at, content, sealed)
    VALUES (
        head.revision, head.change_id, 'edit', session_user,
        nullif(current_setting('liverouter.author', true), ''),
        nullif(current_setting('application_name'), ''),
        nullif(current_setting('liverouter.comment', true), ''),
        head.committed_at, settings, secrets)
    ON CONFLICT (revision) DO UPDATE
        SET change_id = excluded.change_id, author = excluded.author, comment = excluded.comment,
            committed_at = excluded.committed_at, content = excluded.content, sealed = excluded.sealed;
    PERFORM pg_notify('liverouter', head.revision::text);  -- a hint: listeners read the head row themselves
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.bump_head() IS
    'Trigger: after a write that changed something, the transaction''s revision, its row in revision_log and the '
    'NOTIFY';

CREATE FUNCTION liverouter.stamp_commit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    head liverouter.head%ROWTYPE;
BEGIN
    UPDATE liverouter.head SET committed_at = clock_timestamp() RETURNING * INTO head;
    -- No join: without statistics its plan reads the whole log at every commit.
    UPDATE liverouter.revision_log l SET committed_at = head.committed_at WHERE l.revision = head.revision;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.stamp_commit() IS
    'Deferred trigger: takes committed_at at COMMIT, so that a transaction left open does not look like a slow '
    'rollout';

CREATE FUNCTION liverouter.stamp_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept text[] := '{updated_at,updated_by,key_id}';  -- by the database itself
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - kept = to_jsonb(OLD) - kept THEN
        NEW.updated_at := OLD.updated_at;
        NEW.updated_by := OLD.updated_by;
    ELSE
        NEW.updated_at := clock_timestamp();
        NEW.updated_by := coalesce(nullif(current_setting('liverouter.author', true), ''), session_user);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION liverouter.stamp_row() IS 'Trigger: keeps updated_at and updated_by, which no writer can set';

CREATE TRIGGER a_lock_head BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON liverouter.settings
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.lock_head();
CREATE TRIGGER c_stamp_row BEFORE INSERT OR UPDATE ON liverouter.settings
    FOR EACH ROW EXECUTE FUNCTION liverouter.stamp_row();
CREATE TRIGGER d_bump_head AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON liverouter.settings
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.bump_head();

CREATE TRIGGER a_lock_head BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON liverouter.secrets
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.lock_head();
CREATE TRIGGER c_stamp_row BEFORE INSERT OR UPDATE ON liverouter.secrets
    FOR EACH ROW EXECUTE FUNCTION liverouter.stamp_row();
CREATE TRIGGER d_bump_head AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON liverouter.secrets
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.bump_head();

CREATE CONSTRAINT TRIGGER head_stamp_commit AFTER UPDATE OF revision ON liverouter.head
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.revision IS DISTINCT FROM NEW.revision) EXECUTE FUNCTION liverouter.stamp_commit();

INSERT INTO liverouter.head (revision, change_id, committed_at, xid, xact_at)
    VALUES (0, gen_random_uuid(), clock_timestamp(), pg_current_xact_id()::text::bigint, '-infinity');
INSERT INTO liverouter.revision_log
    (revision, change_id, kind, author_role, application_name, comment, committed_at, content, sealed)
    SELECT h.revision, h.change_id, 'edit', session_user, nullif(current_setting('application_name'), ''),
           'empty: the schema was installed', h.committed_at, '{}', '{}'
    FROM liverouter.head h;

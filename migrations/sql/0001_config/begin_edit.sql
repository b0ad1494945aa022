CREATE FUNCTION liverouter.begin_edit(
    expected_revision bigint DEFAULT NULL, author text DEFAULT NULL, comment text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_at bigint;
BEGIN
    SELECT h.revision INTO STRICT now_at FROM liverouter.head h FOR NO KEY UPDATE;
    IF now_at IS DISTINCT FROM coalesce(expected_revision, now_at) THEN
        RAISE EXCEPTION USING ERRCODE = 'LR211',
            MESSAGE = (
                SELECT format('the config is at revision %s, not %s: %s changed it at %s%s',
                    l.revision, expected_revision, coalesce(l.author, l.author_role),
                    to_char(l.committed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
                    coalesce(' UTC through ' || l.application_name, ' UTC'))
                FROM liverouter.revision_log l WHERE l.revision = now_at),
            HINT = format('See what changed: SELECT * FROM liverouter.revision_diff(%s, %s). Then edit that revision.',
                least(expected_revision, now_at), greatest(expected_revision, now_at));
    END IF;
    IF author IS NOT NULL THEN
        PERFORM set_config('liverouter.author', left(author, 200), true);
    END IF;
    IF comment IS NOT NULL THEN
        PERFORM set_config('liverouter.comment', left(comment, 2000), true);
    END IF;
    RETURN now_at;
END $$;

COMMENT ON FUNCTION liverouter.begin_edit(bigint, text, text) IS
    'Optional first statement of a transaction that edits: waits for other writers, refuses (LR211) where the head is '
    'no longer expected_revision, and says who edits and why. Returns the head revision. Lasts until the transaction '
    'ends.';

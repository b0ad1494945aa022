CREATE TABLE liverouter.report_quota (
    role   text        NOT NULL,
    slot   integer     NOT NULL,
    minute timestamptz NOT NULL,
    added  bigint      NOT NULL,
    PRIMARY KEY (role, slot)
) WITH (fillfactor = 50);
CREATE INDEX processes_role ON liverouter.processes (role);

COMMENT ON TABLE liverouter.report_quota IS
    'How many rows of usage and outcomes each login added in a minute, so that none fills the disk. Part of report().';
COMMENT ON COLUMN liverouter.report_quota.role IS 'Login role that reports';
COMMENT ON COLUMN liverouter.report_quota.slot IS
    'One of several counters of the login: nobody waits for one that another transaction holds';
COMMENT ON COLUMN liverouter.report_quota.minute IS 'The minute that it counts, by this database''s clock';
COMMENT ON COLUMN liverouter.report_quota.added IS 'Rows added in that minute';
COMMENT ON INDEX liverouter.processes_role IS 'For counting the processes of one login';

CREATE FUNCTION liverouter.check_processes() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    login    text := session_user;
    most     integer := 2000;
BEGIN
    IF NOT EXISTS (SELECT FROM liverouter.processes p WHERE p.role = login OFFSET most - 1) THEN
        RETURN;
    END IF;
    DELETE FROM liverouter.processes p WHERE p.instance = ANY (ARRAY(
        SELECT o.instance FROM liverouter.processes o
        WHERE o.role = login AND (o.bye_at IS NOT NULL OR o.heartbeat_at < clock_timestamp() - interval '35 seconds')
        ORDER BY o.heartbeat_at LIMIT 1000 FOR UPDATE SKIP LOCKED));
    IF EXISTS (SELECT FROM liverouter.processes p WHERE p.role = login OFFSET most - 1) THEN
        RAISE EXCEPTION 'the login % has % live processes already', login, most USING
            ERRCODE = 'LR212', HINT = 'Give services logins of their own, each with the role liverouter_client.';
    END IF;
END $$;
COMMENT ON FUNCTION liverouter.check_processes() IS
    'Part of report(): refuses a new process of a login that has 2000 of them, after dropping those that are dead';

CREATE FUNCTION liverouter.may_add(moment timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(sum(q.added), 0) < 10000 FROM liverouter.report_quota q
    WHERE q.role = session_user::text AND q.minute = date_trunc('minute', moment)
$$;
COMMENT ON FUNCTION liverouter.may_add(timestamptz) IS
    'Part of report(): whether the login has added less than 10000 rows of usage and outcomes in this minute, '
    'a large one counted as several';

CREATE FUNCTION liverouter.count_added(moment timestamptz, added bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE liverouter.report_quota q SET
        minute = date_trunc('minute', moment),
        added = CASE WHEN q.minute = date_trunc('minute', moment) THEN q.added ELSE 0 END + count_added.added
    WHERE (q.role, q.slot) = (
        SELECT s.role, s.slot FROM liverouter.report_quota s WHERE s.role = session_user::text
        LIMIT 1 FOR UPDATE SKIP LOCKED);
    IF NOT FOUND THEN
        INSERT INTO liverouter.report_quota (role, slot, minute, added)
            VALUES (session_user, floor(random() * 2147483647)::integer, date_trunc('minute', moment), added)
            ON CONFLICT DO NOTHING;
    END IF;
END $$;
COMMENT ON FUNCTION liverouter.count_added(timestamptz, bigint) IS
    'Part of report(): counts rows that the login added, without waiting for anybody';

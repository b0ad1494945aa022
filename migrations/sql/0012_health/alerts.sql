-- Each error is told once of the whole fleet, and so is that it is gone: here stands what was told. Whoever asks first has
-- the turn; it is given back with what came of it, or passes to another when its minute is over.

CREATE TABLE liverouter.alerts (
    code       text        NOT NULL,
    object     text        NOT NULL,
    message    text        NOT NULL,
    hint       text        NOT NULL,
    stands     boolean     NOT NULL,
    changed_at timestamptz NOT NULL,
    told       boolean     NOT NULL DEFAULT false,
    times      integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (code, object)
) WITH (fillfactor = 70);
COMMENT ON TABLE liverouter.alerts IS
    'Errors of view problems that llm_alert_webhook was told of, or is to be told of; forgotten an hour after they went';
COMMENT ON COLUMN liverouter.alerts.code IS 'As in problems';
COMMENT ON COLUMN liverouter.alerts.object IS 'As in problems';
COMMENT ON COLUMN liverouter.alerts.message IS 'As in problems when it was seen last';
COMMENT ON COLUMN liverouter.alerts.hint IS 'As in problems when it was seen last';
COMMENT ON COLUMN liverouter.alerts.stands IS 'Whether it was in problems at the last look';
COMMENT ON COLUMN liverouter.alerts.changed_at IS 'Since when';
COMMENT ON COLUMN liverouter.alerts.told IS 'Whether the webhook was told last that it stands';
COMMENT ON COLUMN liverouter.alerts.times IS
    'How often it was told that it stands: one that comes and goes has to be gone for longer each time';

CREATE TABLE liverouter.alert_turn (
    only_row boolean     PRIMARY KEY DEFAULT true CONSTRAINT alert_turn_one_row CHECK (only_row),
    next_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ticket   uuid,
    news     jsonb,
    tries    integer     NOT NULL DEFAULT 0,
    error    text
);
INSERT INTO liverouter.alert_turn DEFAULT VALUES;
COMMENT ON TABLE liverouter.alert_turn IS 'One row: whose turn it is to post to llm_alert_webhook';
COMMENT ON COLUMN liverouter.alert_turn.only_row IS 'Always true: keeps the table at one row';
COMMENT ON COLUMN liverouter.alert_turn.next_at IS 'Before that nobody gets the turn';
COMMENT ON COLUMN liverouter.alert_turn.ticket IS 'By which the one who has the turn gives it back; NULL = nobody has it';
COMMENT ON COLUMN liverouter.alert_turn.news IS 'What is being told: {gained: [...], lost: [...]}';
COMMENT ON COLUMN liverouter.alert_turn.tries IS 'How many tries to tell it failed, or were not settled';
COMMENT ON COLUMN liverouter.alert_turn.error IS 'Why the last one failed';

CREATE FUNCTION liverouter.next_alert() RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    turn   uuid := gen_random_uuid();
    due    jsonb;
BEGIN
    PERFORM FROM liverouter.alert_turn t WHERE t.next_at <= moment FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    WITH error AS (  -- of each login a hundred, that none hides another's
        SELECT DISTINCT ON (p.code, p.object) p.code, p.object, left(p.message, 1000) AS message, left(p.hint, 500) AS hint
        FROM (
            SELECT p.*, row_number() OVER (PARTITION BY p.login ORDER BY p.code, p.object) AS nth
            FROM liverouter.all_problems() p WHERE p.severity = 'error') p
        WHERE p.nth <= 100
        ORDER BY p.code, p.object, p.message
    ),
    gone AS (
        UPDATE liverouter.alerts a SET stands = false, changed_at = moment
        WHERE a.stands AND NOT EXISTS (SELECT FROM error e WHERE e.code = a.code AND e.object = a.object)
    )
    INSERT INTO liverouter.alerts AS a (code, object, message, hint, stands, changed_at)
        SELECT e.code, e.object, e.message, e.hint, true, moment FROM error e
        ON CONFLICT (code, object) DO UPDATE SET
            message = excluded.message, hint = excluded.hint, stands = true,
            changed_at = CASE WHEN a.stands THEN a.changed_at ELSE moment END;
    DELETE FROM liverouter.alerts a WHERE NOT a.stands AND NOT a.told AND a.changed_at < moment - interval '1 hour';
    -- One that is told at once has to be gone for 15 s before that is told; twice as long each time, up to 16 minutes.
    SELECT jsonb_build_object(
               'gained', coalesce(jsonb_agg(i.item ORDER BY a.code, a.object) FILTER (WHERE a.stands), '[]'),
               'lost', coalesce(jsonb_agg(i.item ORDER BY a.code, a.object) FILTER (WHERE NOT a.stands), '[]'))
        INTO due
    FROM liverouter.alerts a
    CROSS JOIN LATERAL jsonb_build_object(
        'code', a.code, 'object', a.object, 'message', a.message, 'hint', a.hint) i (item)
    WHERE a.stands <> a.told
      AND (a.stands OR a.changed_at <= moment - interval '15 seconds' * 2 ^ least(greatest(a.times - 1, 0), 6))
    HAVING count(*) > 0;
    UPDATE liverouter.alert_turn t SET
        ticket = CASE WHEN due IS NOT NULL THEN turn END,
        news = due,
        -- for as long as somebody may take to tell it, then it is told by another
        next_at = moment + CASE WHEN due IS NULL THEN interval '5 seconds' ELSE interval '1 minute' END,
        tries = CASE WHEN due IS NULL THEN 0 ELSE t.tries + (t.ticket IS NOT NULL)::integer END;
    RETURN due || jsonb_build_object('ticket', turn);
END $$;
COMMENT ON FUNCTION liverouter.next_alert() IS
    'Part of clients: what is to be told to llm_alert_webhook now, {ticket, gained, lost}; NULL where there is nothing, or '
    'another process has the turn. Looks at problems once in five seconds for the whole fleet.';

CREATE FUNCTION liverouter.settle_alert(ticket uuid, error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    turn liverouter.alert_turn%ROWTYPE;
BEGIN
    SELECT * INTO turn FROM liverouter.alert_turn t WHERE t.ticket = settle_alert.ticket FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;  -- it took too long, and the turn is another's
    END IF;
    IF settle_alert.error IS NOT NULL THEN
        UPDATE liverouter.alert_turn t SET
            ticket = NULL, news = NULL, tries = t.tries + 1, error = liverouter.clean_text(to_jsonb(settle_alert.error), 200),
            next_at = clock_timestamp() + least(interval '5 seconds' * 2 ^ least(t.tries, 10), interval '5 minutes');
        RETURN;
    END IF;
    UPDATE liverouter.alerts a SET told = n.gained, times = a.times + n.gained::integer
    FROM (
        SELECT m.key = 'gained', i ->> 'code', i ->> 'object'
        FROM jsonb_each(turn.news) m CROSS JOIN LATERAL jsonb_array_elements(m.value) i
    ) n (gained, code, object)
    WHERE a.code = n.code AND a.object = n.object;
    UPDATE liverouter.alert_turn t SET
        ticket = NULL, news = NULL, tries = 0, error = NULL, next_at = clock_timestamp() + interval '5 seconds';
END $$;
COMMENT ON FUNCTION liverouter.settle_alert(uuid, text) IS
    'Part of clients: gives a turn of next_alert() back. error NULL = what it was about was told; else it is told again, '
    'later each time, up to five minutes.';

SELECT liverouter.change_function(
    'liverouter.install_roles()', 'liverouter.report(jsonb), ',
    'liverouter.report(jsonb), liverouter.next_alert(), liverouter.settle_alert(uuid, text), ');

CREATE FUNCTION liverouter.shown_setting(key text, value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN key = 'llm_alert_webhook' AND jsonb_typeof(value) = 'string'
        THEN to_jsonb(coalesce(substring(lower(value #>> '{}') FROM '^https?://[a-z0-9._:-]+'), '***')) ELSE value END
$$;
COMMENT ON FUNCTION liverouter.shown_setting(text, jsonb) IS
    'A setting''s value as it may be shown: of a webhook''s URL, which is its key, the origin';
SELECT liverouter.change_function(
    'liverouter.revision_diff(bigint, bigint)', 'SELECT ''setting'', coalesce(x.key, y.key), x.value, y.value',
    'SELECT ''setting'', coalesce(x.key, y.key), liverouter.shown_setting(x.key, x.value), liverouter.shown_setting(y.key, y.value)');

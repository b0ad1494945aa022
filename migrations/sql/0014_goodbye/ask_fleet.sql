-- What asks who is pending, and who is lost. The rest of these definitions is as the migrations before left it.
--
-- A process that starts is on its way to whatever the head is then: for two minutes it is not pending and nobody waits
-- for it, unless it says what is wrong. One whose connection is gone was killed, which is soon no news any more; one
-- whose connection stands, and that does not report, hangs.
CREATE FUNCTION pg_temp.ask_fleet(forth boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $ask$
DECLARE
    starting text := $$(f.state = 'initializing' AND f.applied_revision IS NULL AND f.rejected_revision IS NULL
        AND coalesce(f.last_error, 'null') = 'null' AND f.started_at > clock_timestamp() - interval '2 minutes')$$;
    change   record;
    before   text;
BEGIN
    FOR change IN
        SELECT c.name, CASE WHEN forth THEN c.old ELSE c.new END AS old, CASE WHEN forth THEN c.new ELSE c.old END AS new
        FROM (VALUES
            ('liverouter.fleet_at(bigint, text)', E'WHERE f.live\n', E'WHERE f.live AND NOT ' || starting || E'\n'),
            ('liverouter.process_problems()', E'AND NOT f.current AND NOT f.refuses\n',
             E'AND NOT f.current AND NOT f.refuses AND NOT ' || starting || E'\n'),
            ('liverouter.process_problems()',
$$           format('no report for %s s, and it did not say that it ends',
               round(extract(epoch FROM clock_timestamp() - f.heartbeat_at))),
           'It was killed, hangs, or cannot reach this database. It leaves this list an hour after its last report.',
           f.login, f.instance
    FROM fleet f
    WHERE NOT f.live AND f.bye_at IS NULL AND f.heartbeat_at > clock_timestamp() - interval '1 hour'
$$,
$$           format('no report for %s s, and %s', round(extract(epoch FROM clock_timestamp() - f.heartbeat_at)),
               CASE WHEN c.stands THEN 'its connection stands: it hangs' ELSE 'it did not say that it ends' END),
           CASE WHEN c.stands THEN 'Look at it, or end it. It leaves this list an hour after its last report.'
                ELSE 'It was killed, or cannot reach this database. It leaves this list five minutes after its last report.'
           END,
           f.login, f.instance
    FROM fleet f CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM pg_stat_activity a
            WHERE a.datname = current_database() AND a.application_name LIKE 'liverouter-listen/%'
              AND a.pid = jsonb_path_query_first(f.listener, '$.backend_pid ? (@ >= 0 && @ < 1000000000)')::integer)
    ) c (stands)
    WHERE NOT f.live AND f.bye_at IS NULL
      AND f.heartbeat_at > clock_timestamp() - CASE WHEN c.stands THEN interval '1 hour' ELSE interval '5 minutes' END
$$)
        ) c (name, old, new)
    LOOP
        before := pg_get_functiondef(change.name::regprocedure);
        IF strpos(before, change.old) = 0 THEN
            RAISE EXCEPTION 'function % is not as the migrations before left it', change.name;
        END IF;
        EXECUTE replace(before, change.old, change.new);
    END LOOP;
END $ask$;

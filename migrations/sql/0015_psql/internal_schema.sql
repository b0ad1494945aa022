-- What only our code calls. One that was left when schema liverouter was dropped is made anew. Whoever owns a schema can
-- change what stands in it, so one of a stranger's is not used.
DO $$
DECLARE
    purpose   text := 'What only liverouter''s own code calls; it changes with each version';
    found     pg_namespace%ROWTYPE;
    left_over record;
BEGIN
    SELECT * INTO found FROM pg_namespace n WHERE n.nspname = 'liverouter_internal';
    IF obj_description(found.oid, 'pg_namespace') = purpose AND pg_has_role(found.nspowner, 'USAGE') THEN
        DROP SCHEMA liverouter_internal CASCADE;
        found := NULL;
    END IF;
    IF found.oid IS NULL THEN
        CREATE SCHEMA liverouter_internal;
        EXECUTE format('COMMENT ON SCHEMA liverouter_internal IS %L', purpose);
        RETURN;
    END IF;
    -- An administrator has made it for us, as schema liverouter.
    IF EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = found.oid AND NOT pg_has_role(p.proowner, 'USAGE'))
        OR NOT pg_has_role(found.nspowner, 'USAGE')
           AND found.nspowner <> (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'liverouter')
    THEN
        RAISE EXCEPTION 'schema liverouter_internal is not ours: it belongs to %', found.nspowner::regrole USING
            ERRCODE = 'LR207', HINT = 'See what is in it; then: DROP SCHEMA liverouter_internal CASCADE';
    END IF;
    FOR left_over IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = found.oid LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', left_over.name);
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'this role may not create schema liverouter_internal' USING ERRCODE = 'LR207',
        HINT = format('Whoever may, runs: CREATE SCHEMA liverouter_internal; '
            'GRANT USAGE, CREATE ON SCHEMA liverouter_internal TO %I;', current_user);
END $$;

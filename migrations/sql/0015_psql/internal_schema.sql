-- What only our code calls. Whoever owns a schema can change what stands in it, so one of a stranger's is not used.
DO $$
DECLARE
    owner name := (SELECT r.rolname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
                   WHERE n.nspname = 'liverouter_internal');
BEGIN
    IF owner IS NULL THEN
        CREATE SCHEMA liverouter_internal;
    ELSIF NOT pg_has_role(owner, 'USAGE')
        AND (SELECT n.nspowner <> owner::text::regrole FROM pg_namespace n WHERE n.nspname = 'liverouter')
    THEN
        RAISE EXCEPTION 'schema liverouter_internal belongs to %, who is not the owner of schema liverouter', owner USING
            ERRCODE = 'LR207', HINT = 'See what is in it; then: DROP SCHEMA liverouter_internal CASCADE';
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'this role may not create schema liverouter_internal' USING ERRCODE = 'LR207',
        HINT = format('Whoever may, runs: CREATE SCHEMA liverouter_internal; '
            'GRANT USAGE, CREATE ON SCHEMA liverouter_internal TO %I;', current_user);
END $$;
DO $$
BEGIN
    COMMENT ON SCHEMA liverouter_internal IS 'What only liverouter''s own code calls; it changes with each version';
EXCEPTION WHEN insufficient_privilege THEN
    NULL;  -- an administrator made it for us and owns it
END $$;

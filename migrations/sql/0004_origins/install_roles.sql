CREATE OR REPLACE FUNCTION liverouter.install_roles() RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted record;
    lacks  boolean := false;
    -- An administrator may have made the schema for us: then its tables are ours to grant, and the schema is not.
    schema_is_ours boolean := (
        SELECT pg_has_role(n.nspowner, 'USAGE') FROM pg_namespace n WHERE n.nspname = 'liverouter');
BEGIN
    IF schema_is_ours THEN
        REVOKE ALL ON SCHEMA liverouter FROM PUBLIC;
    END IF;
    REVOKE ALL ON ALL TABLES IN SCHEMA liverouter FROM PUBLIC;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA liverouter FROM PUBLIC;

    FOR wanted IN
        SELECT * FROM (VALUES
            ('liverouter_client', 'Services: read the config with its sealed secrets, report what they run'),
            ('liverouter_writer', 'Who changes settings and secrets; cannot read a secret back'),
            ('liverouter_inspector', 'Who looks: views and diffs, nothing sealed')) r (role, purpose)
    LOOP
        CONTINUE WHEN to_regrole(wanted.role) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted.role);
            EXECUTE format('COMMENT ON ROLE %I IS %L', wanted.role, wanted.purpose);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server is being migrated as well: roles belong to the server
            WHEN insufficient_privilege THEN
                lacks := true;
                RETURN NEXT format('CREATE ROLE %I NOLOGIN;', wanted.role);
        END;
    END LOOP;

    FOR wanted IN
        SELECT * FROM (VALUES
            ('liverouter_client', 'USAGE ON SCHEMA liverouter'),
            ('liverouter_client',
             'SELECT ON liverouter.alembic_version, liverouter.settings, liverouter.secrets, liverouter.head'),
            ('liverouter_client',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), liverouter.report(jsonb), '
             'liverouter.wait_applied(bigint, numeric)'),

            ('liverouter_writer', 'USAGE ON SCHEMA liverouter'),
            ('liverouter_writer', 'SELECT ON liverouter.alembic_version, liverouter.settings, liverouter.head'),
            ('liverouter_writer', 'INSERT (key, value), UPDATE (key, value), DELETE ON liverouter.settings'),
            ('liverouter_writer',
             'SELECT (name, fingerprint, origins, key_id, updated_at, updated_by), '
             'INSERT (name, sealed, fingerprint, origins), UPDATE (name, sealed, fingerprint, origins), DELETE '
             'ON liverouter.secrets'),
            ('liverouter_writer',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), '
             'liverouter.begin_edit(bigint, text, text), liverouter.set_secret(text, text, text, text[]), '
             'liverouter.rollback(bigint, text), liverouter.revision_diff(bigint, bigint), '
             'liverouter.wait_applied(bigint, numeric)'),

            ('liverouter_inspector', 'USAGE ON SCHEMA liverouter'),
            ('liverouter_inspector',
             'SELECT ON liverouter.alembic_version, liverouter.active_config, liverouter.desired_config, '
             'liverouter.instances, liverouter.rollout, liverouter.problems, liverouter.revisions, liverouter.usage, '
             'liverouter.secret_keys, liverouter.problems_by_login'),
            ('liverouter_inspector',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), '
             'liverouter.revision_diff(bigint, bigint), liverouter.wait_applied(bigint, numeric)')
        ) g (role, rights)
    LOOP
        IF wanted.rights = 'USAGE ON SCHEMA liverouter' AND NOT schema_is_ours THEN
            IF NOT EXISTS (
                SELECT FROM pg_roles r
                WHERE r.rolname = wanted.role AND has_schema_privilege(r.oid, 'liverouter', 'USAGE'))
            THEN
                RETURN NEXT format('GRANT %s TO %I;', wanted.rights, wanted.role);
            END IF;
        ELSIF to_regrole(wanted.role) IS NOT NULL THEN
            EXECUTE format('GRANT %s TO %I', wanted.rights, wanted.role);
        END IF;
    END LOOP;
    IF lacks THEN  -- last: it needs the roles
        RETURN NEXT format('SET ROLE %I; SELECT liverouter.install_roles(); RESET ROLE;', current_user);
    END IF;
END $$;

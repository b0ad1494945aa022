-- The roles stay: they belong to the whole server, other databases use them, and logins are members of them.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY '{liverouter_client,liverouter_writer,liverouter_inspector}'::text[] LOOP
        IF to_regrole(role_name) IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA liverouter FROM %I', role_name);
            EXECUTE format('REVOKE ALL (name, sealed, fingerprint, key_id, updated_at, updated_by)'
                           ' ON liverouter.secrets FROM %I', role_name);
            EXECUTE format('REVOKE ALL (key, value) ON liverouter.settings FROM %I', role_name);
            EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA liverouter FROM %I', role_name);
            EXECUTE format('REVOKE ALL ON SCHEMA liverouter FROM %I', role_name);
        END IF;
    END LOOP;
END $$;
DROP FUNCTION liverouter.install_roles();

CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0001_config', '0002_fleet')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0002_fleet'
$$;

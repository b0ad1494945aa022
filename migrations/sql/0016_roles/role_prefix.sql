-- Roles belong to the whole server: by a prefix of its own a database has its own.

CREATE FUNCTION liverouter_internal.role_prefix() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 'liverouter' $$;
COMMENT ON FUNCTION liverouter_internal.role_prefix() IS
    'What the names of this database''s roles begin with. Clients read it in this function''s text, where they lack rights.';

CREATE OR REPLACE FUNCTION liverouter_internal.role_name(kind text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT liverouter_internal.role_prefix() || '_' || kind $$;

COMMENT ON FUNCTION liverouter.install_roles() IS
    'For the owner: makes the roles that are missing and gives them what they lack; returns the statements that somebody '
    'with more rights has to run. Their names begin as `liverouter migrate --role-prefix` says, or with liverouter.';

CREATE FUNCTION liverouter_internal.use_role_prefix(prefix text) RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    former record;
    place  record;
BEGIN
    IF prefix = liverouter_internal.role_prefix() THEN
        RETURN;
    END IF;
    FOR former IN
        SELECT k.kind, r.oid, r.rolname FROM unnest('{client,writer,inspector}'::text[]) k (kind)
        JOIN pg_roles r ON r.rolname = liverouter_internal.role_name(k.kind)
    LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA liverouter, liverouter_internal FROM %I', former.rolname);
        EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA liverouter, liverouter_internal FROM %I', former.rolname);
        FOR place IN
            SELECT format('REVOKE ALL ON SCHEMA %I FROM %I;', n.nspname, former.rolname) AS statement,
                   pg_has_role(n.nspowner, 'USAGE') AS is_ours
            FROM pg_namespace n WHERE n.nspname IN ('liverouter', 'liverouter_internal')
        LOOP
            IF place.is_ours THEN
                EXECUTE place.statement;
            ELSE
                RETURN NEXT place.statement;
            END IF;
        END LOOP;
        RETURN QUERY
            SELECT format('GRANT %I TO %I;', prefix || '_' || former.kind, m.rolname)
            FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member
            WHERE a.roleid = former.oid AND m.rolname <> current_user AND NOT m.rolsuper ORDER BY m.rolname;
    END LOOP;
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION liverouter_internal.role_prefix() RETURNS text LANGUAGE sql STABLE '
        'SET search_path = pg_catalog, pg_temp AS %L', format(' SELECT %L ', prefix));
END $$;
COMMENT ON FUNCTION liverouter_internal.use_role_prefix(text) IS
    'Part of migrations: from now on the roles are PREFIX_client, PREFIX_writer and PREFIX_inspector. Those of before lose '
    'their rights in this database. Returns what somebody else has to run; install_roles() makes the new ones.';

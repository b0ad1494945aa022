SELECT liverouter_internal.use_role_prefix('liverouter');
CREATE OR REPLACE FUNCTION liverouter_internal.role_name(kind text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 'liverouter_' || kind $$;
DROP FUNCTION liverouter_internal.use_role_prefix(text), liverouter_internal.role_prefix();
COMMENT ON FUNCTION liverouter.install_roles() IS
    'Creates the roles liverouter_client, liverouter_writer and liverouter_inspector where they are missing and gives '
    'them their rights in this database. Returns the statements that somebody with more rights has to run instead; '
    'none = all done. For the owner; can be run again at any time.';

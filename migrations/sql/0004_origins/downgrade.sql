CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0002_fleet', '0003_roles')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0003_roles'
$$;

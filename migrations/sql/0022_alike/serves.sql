-- Clients of 0.1, and of the schema before; what lies between was never released.
CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0003_roles', '0021_judges', '0022_alike')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0022_alike'
$$;

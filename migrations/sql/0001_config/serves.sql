CREATE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0001_config')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0001_config'
$$;
COMMENT ON FUNCTION liverouter.serves(text) IS
    'Whether clients made for that schema still work with this one; each migration answers for the version before it';

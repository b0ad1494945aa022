CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0003_roles', '0004_origins', '0005_reports', '0006_plain_secrets', '0007_providers',
                             '0008_native', '0009_aging', '0010_names', '0012_health',
                             '0014_goodbye', '0015_psql', '0016_roles', '0017_in_force', '0018_vendors',
                             '0019_turns', '0020_words', '0021_judges')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0021_judges'
$$;

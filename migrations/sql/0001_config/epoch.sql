CREATE FUNCTION liverouter.epoch() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    cluster  text := 'unknown';
    timeline text := '0';
    database text := (SELECT d.oid::text FROM pg_database d WHERE d.datname = current_database());
BEGIN
    -- A managed service may keep either from us. What is left still tells a restored database from the old one, and
    -- change_id tells two histories of one database apart, so a client compares all three by inequality.
    BEGIN
        SELECT to_hex(c.system_identifier) INTO cluster FROM pg_control_system() c;
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_function THEN
        NULL;
    END;
    BEGIN
        IF pg_is_in_recovery() THEN
            SELECT to_hex(c.timeline_id) INTO timeline FROM pg_control_checkpoint() c;
        ELSE
            -- pg_control names the new timeline only after the first checkpoint that follows a promotion.
            timeline := ltrim(lower(left(pg_walfile_name(pg_current_wal_lsn()), 8)), '0');
        END IF;
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_function THEN
        NULL;
    END;
    RETURN cluster || '-' || timeline || '-' || database;
END $$;

COMMENT ON FUNCTION liverouter.epoch() IS
    'Names this database''s line of history: cluster, timeline, database. It changes when a standby is promoted or a '
    'backup is restored, so that a revision that went back is followed, not ignored. Compare by inequality only.';

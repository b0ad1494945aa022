CREATE FUNCTION liverouter.set_secret(name text, sealed text, fingerprint text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- Not excluded.sealed: that would want the right to read the column, which writers do not have.
    INSERT INTO liverouter.secrets (name, sealed, fingerprint)
        VALUES (set_secret.name, set_secret.sealed, set_secret.fingerprint)
        ON CONFLICT (name) DO UPDATE SET sealed = set_secret.sealed, fingerprint = set_secret.fingerprint;
    RETURN (SELECT h.revision FROM liverouter.head h);
END $$;

COMMENT ON FUNCTION liverouter.set_secret(text, text, text) IS
    'Stores a sealed secret, or replaces it; returns the revision. Runs with the caller''s own rights. The plain '
    'value is sealed before it comes here: `liverouter set --secret NAME`.';

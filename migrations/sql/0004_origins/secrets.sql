ALTER TABLE liverouter.secrets ADD COLUMN origins text[];
COMMENT ON COLUMN liverouter.secrets.origins IS
    'Where the secret may be sent to beside its provider''s own hosts and a process''s own machine: scheme, host and '
    'port. Bound when it is stored, to the base URL then in force or to what was named; only a secret stored anew is '
    'bound anew.';

-- What is stored is bound to where it is sent now, and every revision's to where that revision sent it. This is no
-- change of the config: neither a revision nor a stamp comes of it.
ALTER TABLE liverouter.secrets DISABLE TRIGGER USER;
UPDATE liverouter.secrets s SET origins = liverouter.origins_in_force(liverouter.settings_content(), s.name);
ALTER TABLE liverouter.secrets ENABLE TRIGGER USER;
UPDATE liverouter.revision_log l SET sealed = (
    SELECT jsonb_object_agg(e.key, e.value || jsonb_build_object(
        'origins', to_jsonb(liverouter.origins_in_force(l.content, e.key))))
    FROM jsonb_each(l.sealed) e)
WHERE l.sealed <> '{}';
ALTER TABLE liverouter.secrets ALTER COLUMN origins SET NOT NULL;

CREATE OR REPLACE FUNCTION liverouter.secrets_content() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        jsonb_object_agg(
            s.name, jsonb_build_object('sealed', s.sealed, 'fingerprint', s.fingerprint, 'origins', to_jsonb(s.origins))),
        '{}')
    FROM liverouter.secrets s
$$;
COMMENT ON COLUMN liverouter.revision_log.sealed IS
    'All secrets of it, sealed: {name: {"sealed", "fingerprint", "origins"}}';

CREATE TABLE liverouter.spent_envelopes (digest bytea PRIMARY KEY);
COMMENT ON TABLE liverouter.spent_envelopes IS
    'Envelopes that a rotation replaced, in the history too: who kept one cannot store it again, for wherever it likes';
COMMENT ON COLUMN liverouter.spent_envelopes.digest IS 'SHA-256 of the envelope';

CREATE FUNCTION liverouter.bind_origins() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.origins IS NULL THEN
        NEW.origins := liverouter.origins_in_force(liverouter.settings_content(), NEW.name);
    END IF;
    IF array_ndims(NEW.origins) > 1 OR cardinality(NEW.origins) > 50
        OR EXISTS (
            SELECT FROM unnest(NEW.origins) o (origin)
            WHERE o.origin IS NULL OR o.origin IS DISTINCT FROM liverouter.origin_of(o.origin))
    THEN
        RAISE EXCEPTION 'the origins of a secret are at most 50 addresses of the form scheme://host:port' USING
            ERRCODE = '23514', HINT = 'Name the base URL: liverouter set --secret NAME --for https://gateway.internal';
    END IF;
    IF (TG_OP = 'INSERT' OR NEW.sealed <> OLD.sealed) AND EXISTS (
        SELECT FROM liverouter.spent_envelopes s WHERE s.digest = sha256(convert_to(NEW.sealed, 'UTF8')))
    THEN
        RAISE EXCEPTION 'a rotation of the keyring has replaced this envelope' USING
            ERRCODE = '23514', HINT = 'Store the secret itself again: liverouter set --secret NAME';
    END IF;
    -- Who cannot seal a secret cannot send it elsewhere: an envelope goes where the history has it go, and nowhere else.
    IF (TG_OP = 'UPDATE' AND NEW.sealed = OLD.sealed
            AND (NEW.name, NEW.fingerprint, NEW.origins) IS DISTINCT FROM (OLD.name, OLD.fingerprint, OLD.origins))
        OR ((TG_OP = 'INSERT' OR NEW.sealed <> OLD.sealed) AND (
            SELECT bool_and((l.sealed -> NEW.name) - 'sealed' IS DISTINCT FROM
                jsonb_build_object('fingerprint', NEW.fingerprint, 'origins', to_jsonb(NEW.origins)))
            FROM liverouter.revision_log l
            WHERE l.sealed -> NEW.name ->> 'sealed' = NEW.sealed))
    THEN
        RAISE EXCEPTION 'a stored secret cannot be bound to another name, fingerprint or other origins' USING
            ERRCODE = '23514',
            HINT = 'Store the secret itself again for the other address: liverouter set --secret NAME --for URL';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION liverouter.bind_origins() IS
    'Trigger: binds a secret that is stored to where settings have it sent, unless other origins are named with it, and '
    'refuses (23514) to bind a stored one anew';

CREATE TRIGGER b_bind_origins BEFORE INSERT OR UPDATE ON liverouter.secrets
    FOR EACH ROW EXECUTE FUNCTION liverouter.bind_origins();

DROP FUNCTION liverouter.set_secret(text, text, text);
CREATE FUNCTION liverouter.set_secret(name text, sealed text, fingerprint text, origins text[] DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- Not excluded.sealed: that would want the right to read the column, which writers do not have.
    INSERT INTO liverouter.secrets (name, sealed, fingerprint, origins)
        VALUES (set_secret.name, set_secret.sealed, set_secret.fingerprint, set_secret.origins)
        ON CONFLICT (name) DO UPDATE SET
            sealed = set_secret.sealed, fingerprint = set_secret.fingerprint, origins = set_secret.origins;
    RETURN (SELECT h.revision FROM liverouter.head h);
END $$;
COMMENT ON FUNCTION liverouter.set_secret(text, text, text, text[]) IS
    'Stores a sealed secret, or replaces it; returns the revision. It may then be sent to its provider''s own hosts and '
    'to origins, by default those that settings now send it to. Runs with the caller''s own rights. The plain value is '
    'sealed before it comes here: `liverouter set --secret NAME`.';

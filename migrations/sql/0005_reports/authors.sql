-- Who says to have written is free text; which login wrote is a fact, and stands beside it.

ALTER TABLE liverouter.settings ADD COLUMN role text;
ALTER TABLE liverouter.secrets ADD COLUMN role text;
COMMENT ON COLUMN liverouter.settings.role IS
    'Login role of the session that changed it, whatever updated_by says; NULL = before version 0.2';
COMMENT ON COLUMN liverouter.secrets.role IS
    'Login role of the session that changed it, whatever updated_by says; NULL = before version 0.2';

CREATE OR REPLACE FUNCTION liverouter.stamp_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept text[] := '{updated_at,updated_by,role,key_id}';  -- by the database itself
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - kept = to_jsonb(OLD) - kept THEN
        NEW.updated_at := OLD.updated_at;
        NEW.updated_by := OLD.updated_by;
        NEW.role := OLD.role;
    ELSE
        NEW.updated_at := clock_timestamp();
        NEW.role := session_user;
        NEW.updated_by := coalesce(
            nullif(liverouter.clean_text(to_jsonb(current_setting('liverouter.author', true)), 200), ''), NEW.role);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION liverouter.stamp_row() IS 'Trigger: keeps updated_at, updated_by and role, which no writer can set';

CREATE FUNCTION liverouter.clean_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.author := liverouter.clean_text(to_jsonb(NEW.author), 200);
    NEW.comment := liverouter.clean_text(to_jsonb(NEW.comment), 2000);
    NEW.application_name := liverouter.clean_text(to_jsonb(NEW.application_name), 100);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION liverouter.clean_revision() IS
    'Trigger: bounds what a writer says of itself, which it may set to anything, and keeps it on one line';
CREATE TRIGGER clean_revision BEFORE INSERT OR UPDATE OF author, comment, application_name ON liverouter.revision_log
    FOR EACH ROW EXECUTE FUNCTION liverouter.clean_revision();

CREATE OR REPLACE FUNCTION liverouter.begin_edit(
    expected_revision bigint DEFAULT NULL, author text DEFAULT NULL, comment text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_at bigint;
BEGIN
    SELECT h.revision INTO STRICT now_at FROM liverouter.head h FOR NO KEY UPDATE;
    IF now_at IS DISTINCT FROM coalesce(expected_revision, now_at) THEN
        RAISE EXCEPTION USING ERRCODE = 'LR211',
            MESSAGE = (
                SELECT format('the config is at revision %s, not %s: %s changed it at %s%s',
                    l.revision, expected_revision,
                    CASE WHEN l.author <> l.author_role THEN format('%s (%s)', l.author, l.author_role)
                         ELSE l.author_role END,
                    to_char(l.committed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
                    coalesce(' UTC through ' || l.application_name, ' UTC'))
                FROM liverouter.revision_log l WHERE l.revision = now_at),
            HINT = format('See what changed: SELECT * FROM liverouter.revision_diff(%s, %s). Then edit that revision.',
                least(expected_revision, now_at), greatest(expected_revision, now_at));
    END IF;
    IF author IS NOT NULL THEN
        PERFORM set_config('liverouter.author', left(author, 200), true);
    END IF;
    IF comment IS NOT NULL THEN
        PERFORM set_config('liverouter.comment', left(comment, 2000), true);
    END IF;
    RETURN now_at;
END $$;

-- Writers see of a secret who stored it. The rest of the function is as the migration before left it.
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('liverouter.install_roles()'::regprocedure),
        'updated_at, updated_by', 'updated_at, updated_by, role');
END $$;

DROP TRIGGER b_bind_origins ON liverouter.secrets;
DROP FUNCTION liverouter.bind_origins(), liverouter.set_secret(text, text, text, text[]);

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

CREATE OR REPLACE FUNCTION liverouter.secrets_content() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        jsonb_object_agg(s.name, jsonb_build_object('sealed', s.sealed, 'fingerprint', s.fingerprint)), '{}')
    FROM liverouter.secrets s
$$;

ALTER TABLE liverouter.secrets DROP COLUMN origins;
UPDATE liverouter.revision_log l SET sealed = (
    SELECT jsonb_object_agg(e.key, e.value - 'origins') FROM jsonb_each(l.sealed) e)
WHERE l.sealed <> '{}';
COMMENT ON COLUMN liverouter.revision_log.sealed IS 'All secrets of it, sealed: {name: {"sealed", "fingerprint"}}';
DROP FUNCTION liverouter.origins_in_force(jsonb, text), liverouter.origin_of(text);

CREATE OR REPLACE FUNCTION liverouter.rollback(revision bigint, comment text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before uuid;
    goal   liverouter.revision_log%ROWTYPE;
    head   liverouter.head%ROWTYPE;
BEGIN
    PERFORM liverouter.begin_edit(
        comment => coalesce(nullif(rollback.comment, ''), format('back to revision %s', rollback.revision)));
    goal := liverouter.revision_of(rollback.revision);
    before := (SELECT h.change_id FROM liverouter.head h);

    DELETE FROM liverouter.settings s WHERE NOT goal.content ? s.key;
    INSERT INTO liverouter.settings AS s (key, value)
        SELECT c.key, c.value FROM jsonb_each(goal.content) c
        ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE s.value IS DISTINCT FROM excluded.value;
    DELETE FROM liverouter.secrets s WHERE NOT goal.sealed ? s.name;
    INSERT INTO liverouter.secrets AS s (name, sealed, fingerprint)
        SELECT c.key, c.value ->> 'sealed', c.value ->> 'fingerprint' FROM jsonb_each(goal.sealed) c
        ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, fingerprint = excluded.fingerprint
        WHERE s.sealed IS DISTINCT FROM excluded.sealed;

    SELECT * INTO STRICT head FROM liverouter.head;
    IF head.change_id IS DISTINCT FROM before THEN
        UPDATE liverouter.revision_log l SET kind = 'rollback' WHERE l.revision = head.revision;
    END IF;
    RETURN head.revision;
END $$;

CREATE OR REPLACE FUNCTION liverouter.revision_diff(
    a bigint, b bigint, OUT object text, OUT key text, OUT old jsonb, OUT new jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was liverouter.revision_log%ROWTYPE := liverouter.revision_of(a);
    is_ liverouter.revision_log%ROWTYPE := liverouter.revision_of(b);
BEGIN
    RETURN QUERY
        SELECT 'setting', coalesce(x.key, y.key), x.value, y.value
        FROM jsonb_each(was.content) x FULL JOIN jsonb_each(is_.content) y ON y.key = x.key
        WHERE x.value IS DISTINCT FROM y.value
        UNION ALL
        SELECT 'secret', coalesce(x.key, y.key), x.value -> 'fingerprint', y.value -> 'fingerprint'
        FROM jsonb_each(was.sealed) x FULL JOIN jsonb_each(is_.sealed) y ON y.key = x.key
        WHERE x.value -> 'fingerprint' IS DISTINCT FROM y.value -> 'fingerprint'
        ORDER BY 1 DESC, 2;
END $$;
COMMENT ON FUNCTION liverouter.revision_diff(bigint, bigint) IS
    'What differs between two revisions: object (setting or secret), key, old and new value. NULL = not there. Of a '
    'secret the fingerprint is shown, never the value.';

CREATE OR REPLACE VIEW liverouter.desired_config WITH (security_barrier) AS
WITH config AS (
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') AS settings FROM liverouter.settings s
),
entry AS (
    SELECT 'settings' AS place, 0 AS position, '{}'::jsonb AS own,
           c.settings ->> 'llm_provider' AS provider, c.settings ->> 'llm_model' AS model
    FROM config c
    WHERE c.settings ->> 'llm_provider' IS NOT NULL OR c.settings ->> 'llm_model' IS NOT NULL
    UNION ALL
    SELECT 'settings.llm_fallback_config' || CASE jsonb_typeof(c.settings -> 'llm_fallback_config')
               WHEN 'array' THEN format('[%s]', e.position - 1) ELSE '' END,
           e.position::integer, e.value, e.value ->> 'provider', e.value ->> 'model'
    FROM config c
    CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(c.settings -> 'llm_fallback_config')
        WHEN 'array' THEN c.settings -> 'llm_fallback_config'
        WHEN 'object' THEN jsonb_build_array(c.settings -> 'llm_fallback_config')
        END) WITH ORDINALITY e (value, position)
    WHERE jsonb_typeof(e.value) = 'object' AND c.settings -> 'litellm_enable' IS DISTINCT FROM 'false'
),
deployment AS (
    SELECT e.place, e.position, e.own,
           coalesce(jsonb_path_query_first(e.own, '$.order ? (@ >= 1 && @ <= 1000)')::integer, e.position + 1)
               AS "order",
           btrim(e.provider, blank.characters) AS provider, btrim(e.model, blank.characters) AS model
    FROM entry e, (VALUES (  -- what processes strip: all that is blank in Unicode
        E' \t\n\u000b\f\r\u001c\u001d\u001e\u001f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006'
        '\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')) blank (characters)
)
SELECT
    h.revision,
    CASE e."order" WHEN 1 THEN 'primary' ELSE 'fallback' END AS role,
    e."order",
    e.provider,
    e.model,
    jsonb_strip_nulls(jsonb_build_object(
        'temperature', coalesce(nullif(e.own -> 'temperature', 'null'), c.settings -> 'llm_temperature'),
        'max_tokens', coalesce(nullif(e.own -> 'max_tokens', 'null'), c.settings -> 'llm_max_tokens'))) AS params,
    CASE WHEN credential.stored THEN 'secret ' || credential.name ELSE 'environment ' || upper(credential.name) END
        AS credential_source,
    credential.fingerprint,
    coalesce(jsonb_path_query_first(e.own, '$.weight ? (@ >= 1 && @ <= 1000)')::integer, 1) AS weight,
    e.place
FROM deployment e
CROSS JOIN config c
CROSS JOIN liverouter.head h
LEFT JOIN LATERAL (
    SELECT w.name, s.name IS NOT NULL AS stored, s.fingerprint
    FROM (
        SELECT coalesce(e.own -> p.name ->> 'secret', e.own -> p.alias ->> 'secret', p.name) AS name, p.preference
        FROM (VALUES
            ('anthropic', 'anthropic_api_key', 'api_key', 1),
            ('azure-openai', 'azure_openai_api_key', 'api_key', 1),
            ('azure-openai', 'azure_openai_ad_token', 'ad_token', 2),
            ('openai', 'openai_api_key', 'api_key', 1),
            ('snowflake-cortex', 'snowflake_token', 'api_key', 1),
            ('vertex-ai', 'vertex_ai_credentials', 'api_key', 1)
        ) p (provider, name, alias, preference)
        WHERE p.provider = e.provider
    ) w
    LEFT JOIN liverouter.secrets s ON s.name = w.name
    ORDER BY s.name IS NULL, w.preference
    LIMIT 1
) credential ON true
ORDER BY 3, e.position;


CREATE OR REPLACE FUNCTION liverouter.install_roles() RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted record;
    lacks  boolean := false;
    -- An administrator may have made the schema for us: then its tables are ours to grant, and the schema is not.
    schema_is_ours boolean := (
        SELECT pg_has_role(n.nspowner, 'USAGE') FROM pg_namespace n WHERE n.nspname = 'liverouter');
BEGIN
    IF schema_is_ours THEN
        REVOKE ALL ON SCHEMA liverouter FROM PUBLIC;
    END IF;
    REVOKE ALL ON ALL TABLES IN SCHEMA liverouter FROM PUBLIC;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA liverouter FROM PUBLIC;

    FOR wanted IN
        SELECT * FROM (VALUES
            ('liverouter_client', 'Services: read the config with its sealed secrets, report what they run'),
            ('liverouter_writer', 'Who changes settings and secrets; cannot read a secret back'),
            ('liverouter_inspector', 'Who looks: views and diffs, nothing sealed')) r (role, purpose)
    LOOP
        CONTINUE WHEN to_regrole(wanted.role) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted.role);
            EXECUTE format('COMMENT ON ROLE %I IS %L', wanted.role, wanted.purpose);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server is being migrated as well: roles belong to the server
            WHEN insufficient_privilege THEN
                lacks := true;
                RETURN NEXT format('CREATE ROLE %I NOLOGIN;', wanted.role);
        END;
    END LOOP;

    FOR wanted IN
        SELECT * FROM (VALUES
            ('liverouter_client', 'USAGE ON SCHEMA liverouter'),
            ('liverouter_client',
             'SELECT ON liverouter.alembic_version, liverouter.settings, liverouter.secrets, liverouter.head'),
            ('liverouter_client',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), liverouter.report(jsonb), '
             'liverouter.wait_applied(bigint, numeric)'),

            ('liverouter_writer', 'USAGE ON SCHEMA liverouter'),
            ('liverouter_writer', 'SELECT ON liverouter.alembic_version, liverouter.settings, liverouter.head'),
            ('liverouter_writer', 'INSERT (key, value), UPDATE (key, value), DELETE ON liverouter.settings'),
            ('liverouter_writer',
             'SELECT (name, fingerprint, key_id, updated_at, updated_by), '
             'INSERT (name, sealed, fingerprint), UPDATE (name, sealed, fingerprint), DELETE ON liverouter.secrets'),
            ('liverouter_writer',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), '
             'liverouter.begin_edit(bigint, text, text), liverouter.set_secret(text, text, text), '
             'liverouter.rollback(bigint, text), liverouter.revision_diff(bigint, bigint), '
             'liverouter.wait_applied(bigint, numeric)'),

            ('liverouter_inspector', 'USAGE ON SCHEMA liverouter'),
            ('liverouter_inspector',
             'SELECT ON liverouter.alembic_version, liverouter.active_config, liverouter.desired_config, '
             'liverouter.instances, liverouter.rollout, liverouter.problems, liverouter.revisions, liverouter.usage, '
             'liverouter.secret_keys'),
            ('liverouter_inspector',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), '
             'liverouter.revision_diff(bigint, bigint), liverouter.wait_applied(bigint, numeric)')
        ) g (role, rights)
    LOOP
        IF wanted.rights = 'USAGE ON SCHEMA liverouter' AND NOT schema_is_ours THEN
            IF NOT EXISTS (
                SELECT FROM pg_roles r
                WHERE r.rolname = wanted.role AND has_schema_privilege(r.oid, 'liverouter', 'USAGE'))
            THEN
                RETURN NEXT format('GRANT %s TO %I;', wanted.rights, wanted.role);
            END IF;
        ELSIF to_regrole(wanted.role) IS NOT NULL THEN
            EXECUTE format('GRANT %s TO %I', wanted.rights, wanted.role);
        END IF;
    END LOOP;
    IF lacks THEN  -- last: it needs the roles
        RETURN NEXT format('SET ROLE %I; SELECT liverouter.install_roles(); RESET ROLE;', current_user);
    END IF;
END $$;

SELECT liverouter.install_roles();

CREATE OR REPLACE FUNCTION liverouter.serves(client_schema text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT client_schema IN ('0002_fleet', '0003_roles')
        AND (SELECT v.version_num FROM liverouter.alembic_version v) = '0003_roles'
$$;

DROP TRIGGER b_bind_origins ON liverouter.secrets;
DROP FUNCTION liverouter.bind_origins(), liverouter.set_secret(text, text, text, text[]);
DROP TABLE liverouter.spent_envelopes;

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


CREATE OR REPLACE VIEW liverouter.problems WITH (security_barrier) AS
WITH config AS (
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') AS settings FROM liverouter.settings s
),
head AS (
    SELECT h.*, liverouter.epoch() AS epoch FROM liverouter.head h
),
fleet AS (
    SELECT f.*, f.epoch IS NOT DISTINCT FROM h.epoch AND f.applied_revision IS NOT DISTINCT FROM h.revision AS current,
           (f.rejected_epoch, f.rejected_revision) IS NOT DISTINCT FROM (h.epoch, h.revision) AS refuses,
           f.applied_revision || CASE WHEN f.epoch IS DISTINCT FROM h.epoch THEN ' of another line of history' ELSE '' END
               AS applied
    FROM liverouter.fleet f CROSS JOIN head h
),
desired AS (
    SELECT array_agg(format('%s %s/%s', d.role, d.provider, d.model)
                     ORDER BY d."order", d.role DESC, d.provider, d.model) AS places,
           array_agg(format('%s %s/%s', d.role, d.provider, d.model)) FILTER (WHERE d.place = 'settings') AS alone,
           bool_and(d.provider IS NOT NULL AND d.model IS NOT NULL) AND bool_or(d.place = 'settings') AS whole
    FROM liverouter.desired_config d
),
active AS (
    SELECT a.instance,
           array_agg(format('%s %s/%s', a.role, a.provider, a.model)
                     ORDER BY a."order", a.role DESC, a.provider, a.model) AS places,
           bool_or(a.credential_source LIKE 'secret %' AND NOT EXISTS (
               SELECT FROM liverouter.secrets s
               WHERE 'secret ' || s.name = a.credential_source AND s.fingerprint = a.fingerprint)) AS otherwise_keyed
    FROM liverouter.active_config a
    GROUP BY a.instance
),
-- What of it can be compared: fallbacks that are in no row, or off by no row, are the environment's business.
drift AS (
    SELECT f.label, s.runs, s.wanted, a.otherwise_keyed
    FROM fleet f CROSS JOIN desired d CROSS JOIN config c JOIN active a ON a.instance = f.instance
    CROSS JOIN LATERAL (
        SELECT CASE WHEN fallbacks.known THEN a.places
                    ELSE ARRAY[format('%s %s/%s', p ->> 'role', p ->> 'provider', p ->> 'model')] END,
               CASE WHEN fallbacks.known THEN d.places ELSE d.alone END
        FROM (VALUES (f.deployments -> 0)) first (p), (VALUES (
            c.settings ? 'llm_fallback_config'
            AND (c.settings ? 'litellm_enable' OR f.litellm_enable IS DISTINCT FROM false))) fallbacks (known)
    ) s (runs, wanted)
    WHERE f.live AND f.current AND d.whole
),
-- What rows lack or hold wrong, as far as SQL can see; silent where a process runs the head: it knows its environment.
setting AS (
    SELECT 'LR100', 'error', 'settings.' || want.key, format('''%s'' is not set', want.key),
           format('Set it: liverouter set %s=%s; or the environment variable %s of each process',
               want.key, want.example, upper(want.key))
    FROM config c, (VALUES ('llm_provider', 'anthropic'), ('llm_model', 'claude-sonnet-4-6')) want (key, example)
    WHERE coalesce(c.settings -> want.key, 'null') = 'null'
    UNION ALL
    SELECT 'LR103', 'error', 'settings.' || wrong.key,
           format('%s stands where %s belongs', jsonb_typeof(c.settings -> wrong.key), wrong.want),
           format('Write it like this: %s', wrong.example)
    FROM config c, (VALUES
        ('llm_provider', 'text', '{string,"null"}'::text[], '"anthropic"'),
        ('llm_model', 'text', '{string,"null"}', '"claude-sonnet-4-6"'),
        ('litellm_enable', 'true or false', '{boolean,"null"}', 'true'),
        ('llm_fallback_config', 'an object, a list of them or null', '{object,array,"null"}',
         '{"provider": "openai", "model": "gpt-4o"}')
    ) wrong (key, want, kinds, example)
    WHERE c.settings ? wrong.key AND jsonb_typeof(c.settings -> wrong.key) <> ALL (wrong.kinds)
    UNION ALL
    SELECT 'LR101', 'error', CASE d.place WHEN 'settings' THEN 'settings.llm_provider' ELSE d.place || '.provider' END,
           format('provider ''%s'' is not one of anthropic, azure-openai, openai, snowflake-cortex, vertex-ai',
               left(d.provider, 60)),
           'Choose one of them'
    FROM liverouter.desired_config d
    WHERE d.provider NOT IN ('anthropic', 'azure-openai', 'openai', 'snowflake-cortex', 'vertex-ai')
    UNION ALL
    SELECT 'LR100', 'error', d.place || '.' || missing.member, format('the fallback has no ''%s''', missing.member),
           'Write it like this: {"provider": "openai", "model": "gpt-4o"}'
    FROM liverouter.desired_config d
    CROSS JOIN LATERAL (VALUES ('provider', d.provider), ('model', d.model)) missing (member, value)
    WHERE d.place <> 'settings' AND missing.value IS NULL
    UNION ALL
    SELECT 'LR102', 'warning', 'secrets.' || lower(split_part(d.credential_source, ' ', 2)),
           format('no secret for %s/%s is stored', d.provider, d.model),
           format('Store it: liverouter set --secret %s; or set the environment variable %s of each process',
               lower(split_part(d.credential_source, ' ', 2)), split_part(d.credential_source, ' ', 2))
    FROM liverouter.desired_config d
    WHERE d.credential_source LIKE 'environment %' AND d.provider <> 'vertex-ai'  -- which has ambient credentials, too
),
instance AS (
    SELECT coalesce(p.value ->> 'code', ''), CASE p.value ->> 'severity' WHEN 'warning' THEN 'warning' ELSE 'error' END,
           f.label || coalesce(', ' || nullif(p.value ->> 'where', ''), ''),
           p.value ->> 'message', coalesce(p.value ->> 'hint', '')
    FROM fleet f CROSS JOIN LATERAL jsonb_array_elements(f.problems) p
    WHERE f.live
    UNION ALL
    SELECT 'LR403', 'error', f.label,
           format('it rejected revision %s and %s', f.rejected_revision,
               coalesce('goes on with ' || f.applied, 'has none to serve with')),
           coalesce(nullif(f.last_error ->> 'hint', ''), 'SELECT * FROM liverouter.instances says why')
    FROM fleet f
    WHERE f.live AND NOT f.current AND f.refuses
    UNION ALL
    SELECT 'LR404', 'warning', f.label,
           format('revision %s is pending there for %s s: it %s', h.revision,
               round(extract(epoch FROM clock_timestamp() - h.committed_at)),
               coalesce('runs ' || f.applied, 'has none to serve with')),
           'It follows by polling within a minute. If not, look at its log.'
    FROM fleet f CROSS JOIN head h
    WHERE f.live AND NOT f.current AND NOT f.refuses
      AND h.committed_at < clock_timestamp() - interval '5 seconds'
      AND f.started_at < clock_timestamp() - interval '5 seconds'
    UNION ALL
    SELECT 'LR210', 'warning', f.label,
           'it hears of changes by polling only' || coalesce(': ' || nullif(f.mode_cause, ''), ''),
           CASE f.mode_cause
               WHEN 'pooler' THEN 'Give it a direct DSN for LISTEN: LIVEROUTER_LISTEN_URL'
               WHEN 'standby' THEN 'Name the primary in its DSN: a standby delivers no notifications'
               WHEN 'half_open' THEN 'Something between drops idle connections: it reconnects by itself'
               ELSE 'It tries again by itself; is the database reachable from there?' END
    FROM fleet f
    WHERE f.live AND f.mode = 'poll_only'
    UNION ALL
    SELECT 'LR407', 'warning', f.label,
           format('no report for %s s, and it did not say that it ends',
               round(extract(epoch FROM clock_timestamp() - f.heartbeat_at))),
           'It was killed, hangs, or cannot reach this database. It leaves this list an hour after its last report.'
    FROM fleet f
    WHERE NOT f.live AND f.bye_at IS NULL AND f.heartbeat_at > clock_timestamp() - interval '1 hour'
    UNION ALL
    SELECT 'LR408', 'warning', d.label,
           CASE WHEN d.runs IS DISTINCT FROM d.wanted
                THEN format('it runs %s, rows say %s', array_to_string(d.runs, ', '), array_to_string(d.wanted, ', '))
                ELSE 'it runs with another credential than the stored one' END,
           'Compare liverouter.active_config with liverouter.desired_config; restart it if this stays'
    FROM drift d
    WHERE d.runs IS DISTINCT FROM d.wanted OR d.otherwise_keyed
),
server AS (
    SELECT 'LR208', 'error', 'database', format('the notification queue is %s %% full', round(100 * q.usage::numeric)),
           'A session that listens sits in an open transaction: see pg_stat_activity, state ''idle in transaction'''
    FROM (SELECT pg_notification_queue_usage() AS usage) q
    WHERE q.usage > 0.5
)
SELECT p.severity, p.code, p.object, p.message, p.hint
FROM (
    SELECT * FROM setting WHERE NOT EXISTS (SELECT FROM fleet f WHERE f.live AND f.current)
    UNION
    SELECT * FROM instance
    UNION
    SELECT * FROM server
) p (code, severity, object, message, hint)
ORDER BY p.severity, p.code, p.object, p.message;

DROP VIEW liverouter.problems_by_login;

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

-- Texts of the migrations before, as they left them.
DROP VIEW
    liverouter.active_config, liverouter.desired_config, liverouter.instances, liverouter.problems, liverouter.revisions,
    liverouter.rollout, liverouter.rollout_detail, liverouter.usage, liverouter.usage_daily;
ALTER VIEW liverouter.active_config_detail RENAME TO active_config;
ALTER VIEW liverouter.desired_config_detail RENAME TO desired_config;
ALTER VIEW liverouter.instances_detail RENAME TO instances;
ALTER VIEW liverouter.problems_detail RENAME TO problems;
ALTER VIEW liverouter.revisions_detail RENAME TO revisions;
ALTER VIEW liverouter.usage_detail RENAME TO usage;
ALTER VIEW liverouter.usage_daily_detail RENAME TO usage_daily;
DROP FUNCTION
    liverouter.report(jsonb), liverouter.next_alert(), liverouter.settle_alert(uuid, text),
    liverouter.due_probes(text[], double precision), liverouter_internal.role_name(text),
    liverouter_internal.wrapped(text, integer), liverouter_internal.fitted(timestamptz),
    liverouter_internal.fitted(jsonb, integer), liverouter_internal.fitted(text, integer),
    liverouter_internal.room(text, integer), liverouter_internal.in_psql();

CREATE OR REPLACE FUNCTION liverouter_internal.server_problems(
    OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'error', 'LR208', 'database', format('the notification queue is %s %% full', round(100 * q.usage::numeric)),
           'A session that listens sits in an open transaction: see pg_stat_activity, state ''idle in transaction'''
    FROM (SELECT pg_notification_queue_usage() AS usage) q
    WHERE q.usage > 0.5
$$;
COMMENT ON FUNCTION liverouter_internal.server_problems() IS 'Problems: the server';

SELECT pg_temp.move('liverouter_internal', 'liverouter');
DROP FUNCTION pg_temp.move(text, text);
ALTER VIEW liverouter.rollout_outcomes RENAME TO rollout;
COMMENT ON VIEW liverouter.rollout IS
    'How each revision came to the processes: who applied it, who refused it, who is still to come, and how long it took.';
DO $$
BEGIN
    DROP SCHEMA liverouter_internal;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;  -- an administrator made it for us and owns it
END $$;

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
             'SELECT ON liverouter.alembic_version, liverouter.providers, liverouter.setting_specs, liverouter.settings, liverouter.secrets, liverouter.head'),
            ('liverouter_client',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), liverouter.report(jsonb), liverouter.due_probes(text[], double precision), liverouter.next_alert(), liverouter.settle_alert(uuid, text), '
             'liverouter.wait_applied(bigint, numeric)'),

            ('liverouter_writer', 'USAGE ON SCHEMA liverouter'),
            ('liverouter_writer', 'SELECT ON liverouter.alembic_version, liverouter.providers, liverouter.setting_specs, liverouter.settings, liverouter.head'),
            ('liverouter_writer', 'INSERT (key, value), UPDATE (key, value), DELETE ON liverouter.settings'),
            ('liverouter_writer',
             'SELECT (name, fingerprint, origins, key_id, updated_at, updated_by, role), '
             'INSERT (name, sealed, fingerprint, origins), UPDATE (name, sealed, fingerprint, origins), DELETE '
             'ON liverouter.secrets'),
            ('liverouter_writer',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), '
             'liverouter.begin_edit(bigint, text, text), liverouter.set_secret(text, text, text, text[]), liverouter.set_setting(text, jsonb), '
             'liverouter.judge_setting(text, jsonb), '
             'liverouter.rollback(bigint, text), liverouter.revision_diff(bigint, bigint), '
             'liverouter.wait_applied(bigint, numeric)'),

            ('liverouter_inspector', 'USAGE ON SCHEMA liverouter'),
            ('liverouter_inspector',
             'SELECT ON liverouter.alembic_version, liverouter.providers, liverouter.setting_specs, liverouter.active_config, liverouter.desired_config, '
             'liverouter.instances, liverouter.rollout, liverouter.problems, liverouter.revisions, liverouter.usage, '
             'liverouter.secret_keys, liverouter.problems_by_login, liverouter.usage_daily, liverouter.retention'),
            ('liverouter_inspector',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), '
             'liverouter.revision_diff(bigint, bigint), liverouter.wait_applied(bigint, numeric), '
             'liverouter.all_problems(), liverouter.desired_deployments(), liverouter.changes_of(bigint), liverouter.count_outcomes(bigint[])')
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

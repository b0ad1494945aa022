CREATE FUNCTION liverouter_internal.role_name(kind text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 'liverouter_' || kind $$;
COMMENT ON FUNCTION liverouter_internal.role_name(text) IS
    'What the role of a kind is called: client, writer or inspector';

CREATE OR REPLACE FUNCTION liverouter.install_roles() RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted record;
    lacks  boolean := false;
    -- An administrator may have made a schema for us: then what stands in it is ours to grant, and the schema is not.
    our_schemas text[] := ARRAY(
        SELECT n.nspname::text FROM pg_namespace n
        WHERE n.nspname IN ('liverouter', 'liverouter_internal') AND pg_has_role(n.nspowner, 'USAGE'));
BEGIN
    FOR wanted IN SELECT unnest(our_schemas) AS schema LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', wanted.schema);
    END LOOP;
    REVOKE ALL ON ALL TABLES IN SCHEMA liverouter, liverouter_internal FROM PUBLIC;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA liverouter, liverouter_internal FROM PUBLIC;

    FOR wanted IN
        SELECT liverouter_internal.role_name(r.kind) AS role, r.purpose FROM (VALUES
            ('client', 'Services: read the config with its sealed secrets, report what they run'),
            ('writer', 'Who changes settings and secrets; cannot read a secret back'),
            ('inspector', 'Who looks: views and diffs, nothing sealed')) r (kind, purpose)
    LOOP
        CONTINUE WHEN to_regrole(quote_ident(wanted.role)) IS NOT NULL;
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
        SELECT liverouter_internal.role_name(k.kind) AS role, g.rights,
               substring(g.rights FROM '^USAGE ON SCHEMA (.*)$') AS schema
        FROM (VALUES
            ('{client,writer,inspector}'::text[], 'USAGE ON SCHEMA liverouter'),
            ('{client,writer,inspector}', 'USAGE ON SCHEMA liverouter_internal'),
            ('{client,writer,inspector}',
             'SELECT ON liverouter.alembic_version, liverouter.providers, liverouter.setting_specs'),
            ('{client,writer,inspector}',
             'EXECUTE ON FUNCTION liverouter.serves(text), liverouter.epoch(), '
             'liverouter.wait_applied(bigint, numeric)'),

            ('{client}', 'SELECT ON liverouter.settings, liverouter.secrets, liverouter.head'),
            ('{client}',
             'EXECUTE ON FUNCTION liverouter_internal.report(jsonb), liverouter_internal.next_alert(), '
             'liverouter_internal.settle_alert(uuid, text), liverouter_internal.due_probes(text[], double precision), '
             'liverouter.report(jsonb), liverouter.next_alert(), '
             'liverouter.settle_alert(uuid, text), liverouter.due_probes(text[], double precision)'),

            ('{writer}', 'SELECT ON liverouter.settings, liverouter.head'),
            ('{writer}', 'INSERT (key, value), UPDATE (key, value), DELETE ON liverouter.settings'),
            ('{writer}',
             'SELECT (name, fingerprint, origins, key_id, updated_at, updated_by, role), '
             'INSERT (name, sealed, fingerprint, origins), UPDATE (name, sealed, fingerprint, origins), DELETE '
             'ON liverouter.secrets'),
            ('{writer}',
             'EXECUTE ON FUNCTION liverouter.begin_edit(bigint, text, text), liverouter.set_setting(text, jsonb), '
             'liverouter.set_secret(text, text, text, text[]), liverouter.rollback(bigint, text), '
             'liverouter.revision_diff(bigint, bigint), liverouter_internal.judge_setting(text, jsonb)'),

            ('{inspector}',
             'SELECT ON liverouter.active_config, liverouter.active_config_detail, liverouter.desired_config, '
             'liverouter.desired_config_detail, liverouter.instances, liverouter.instances_detail, liverouter.problems, '
             'liverouter.problems_detail, liverouter.revisions, liverouter.revisions_detail, liverouter.rollout, '
             'liverouter.rollout_detail, liverouter.usage, liverouter.usage_detail, liverouter.usage_daily, '
             'liverouter.usage_daily_detail, liverouter.secret_keys, liverouter.retention, '
             'liverouter_internal.problems_by_login'),
            ('{inspector}',
             'EXECUTE ON FUNCTION liverouter.revision_diff(bigint, bigint), liverouter_internal.all_problems(), '
             'liverouter_internal.desired_deployments(), liverouter_internal.changes_of(bigint), '
             'liverouter_internal.count_outcomes(bigint[]), liverouter_internal.in_psql(), '
             'liverouter_internal.room(text, integer), liverouter_internal.fitted(text, integer), '
             'liverouter_internal.fitted(jsonb, integer), liverouter_internal.fitted(timestamptz), '
             'liverouter_internal.wrapped(text, integer)')
        ) g (kinds, rights)
        CROSS JOIN LATERAL unnest(g.kinds) k (kind)
    LOOP
        IF wanted.schema IS NOT NULL AND wanted.schema <> ALL (our_schemas) THEN
            IF NOT EXISTS (
                SELECT FROM pg_roles r
                WHERE r.rolname = wanted.role AND has_schema_privilege(r.oid, wanted.schema, 'USAGE'))
            THEN
                RETURN NEXT format('GRANT %s TO %I;', wanted.rights, wanted.role);
            END IF;
        ELSIF to_regrole(quote_ident(wanted.role)) IS NOT NULL THEN
            EXECUTE format('GRANT %s TO %I', wanted.rights, wanted.role);
        END IF;
    END LOOP;
    IF lacks THEN  -- last: it needs the roles
        RETURN NEXT format('SET ROLE %I; SELECT liverouter.install_roles(); RESET ROLE;', current_user);
    END IF;
END $$;

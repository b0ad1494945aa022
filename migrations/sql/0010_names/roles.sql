-- Who looks needs the functions that the views call, who writes those that judge. The rest of install_roles is as the
-- migrations before left it.
DO $$
BEGIN
    EXECUTE replace(replace(replace(
        pg_get_functiondef('liverouter.install_roles()'::regprocedure),
        'SELECT ON liverouter.alembic_version, liverouter.providers',
        'SELECT ON liverouter.alembic_version, liverouter.providers, liverouter.setting_specs'),
        'liverouter.find_problems()', 'liverouter.all_problems(), liverouter.desired_deployments()'),
        'liverouter.set_secret(text, text, text, text[])',
        'liverouter.set_secret(text, text, text, text[]), liverouter.set_setting(text, jsonb), '
        || E'''\n             ''liverouter.judge_setting(text, jsonb)');
END $$;

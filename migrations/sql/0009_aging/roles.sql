-- Who looks needs the functions that the views call. The rest of install_roles is as the migrations before left it.
DO $$
BEGIN
    EXECUTE replace(replace(
        pg_get_functiondef('liverouter.install_roles()'::regprocedure),
        'liverouter.secret_keys, liverouter.problems_by_login',
        'liverouter.secret_keys, liverouter.problems_by_login, liverouter.usage_daily, liverouter.retention'),
        '''liverouter.revision_diff(bigint, bigint), liverouter.wait_applied(bigint, numeric)'')' || E'\n        ) g',
        '''liverouter.revision_diff(bigint, bigint), liverouter.wait_applied(bigint, numeric), '
        || E'''\n             ''liverouter.find_problems(), liverouter.changes_of(bigint), '
        || 'liverouter.count_outcomes(bigint[])'')' || E'\n        ) g');
END $$;

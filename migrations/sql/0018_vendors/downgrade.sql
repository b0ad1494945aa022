-- What was bound anew stays bound: it may go where it went.
SELECT liverouter.change_function(
    'liverouter_internal.origins_in_force(jsonb, text)',
    'THEN r.reference ->> ''secret'' END = secret_name
        UNION ALL
        SELECT coalesce(
            nullif(held.members -> p.base, ''null''),
            CASE WHEN secret_name NOT IN (SELECT f.secret FROM provider f) THEN
                to_jsonb(liverouter_internal.vendor_base(
                    p.vendors, CASE jsonb_typeof(e.own -> ''model'') WHEN ''string'' THEN e.own ->> ''model'' END,
                    held.members)) END)
        FROM liverouter_internal.config_entries(settings) e
        JOIN liverouter.member_providers p ON CASE coalesce(jsonb_typeof(e.own -> ''provider''), ''null'')
            WHEN ''null'' THEN e.place = ''settings''
            WHEN ''string'' THEN liverouter_internal.stripped(e.own ->> ''provider'') = p.name
            ELSE false END
        CROSS JOIN LATERAL (
            SELECT CASE jsonb_typeof(e.own -> p.holder) WHEN ''object'' THEN e.own -> p.holder END) held (members)
        WHERE EXISTS (
            SELECT FROM unnest(p.secrets) m (name)
            WHERE held.members -> m.name -> ''secret'' = to_jsonb(secret_name))
    )',
    'THEN r.reference ->> ''secret'' END = secret_name
    )');
SELECT liverouter.change_function(
    'liverouter_internal.config_entries(jsonb)',
    '''params'', settings -> ''llm_params'', ''litellm_params'', settings -> ''litellm_params'', ''weight''',
    '''params'', settings -> ''llm_params'', ''weight''');
SELECT liverouter.change_function(
    'liverouter_internal.desired_deployments()',
    'WHERE p.name = s.provider
            UNION ALL
            SELECT e.own -> p.holder -> m.name ->> ''secret'', m.preference
            FROM liverouter.member_providers p
            CROSS JOIN unnest(p.secrets) WITH ORDINALITY m (name, preference)
            WHERE p.name = s.provider AND jsonb_typeof(e.own -> p.holder -> m.name -> ''secret'') = ''string''
        ) w',
    'WHERE p.name = s.provider
        ) w');
SELECT liverouter.change_function(
    'liverouter_internal.secret_problems()',
    'NOT EXISTS (
        SELECT FROM liverouter.providers p
        WHERE p.name = d.provider AND p.takes_ambient AND d.secret_name = ANY (p.secrets))',
    'd.provider NOT IN (SELECT p.name FROM liverouter.providers p WHERE p.takes_ambient)');
COMMENT ON COLUMN liverouter.secrets.origins IS
    'Where the secret may be sent to beside its provider''s own hosts and a process''s own machine: scheme, host and '
    'port. Bound when it is stored, to the base URL then in force or to what was named; only a secret stored anew is '
    'bound anew.';
DROP FUNCTION liverouter_internal.vendor_base(jsonb, text, jsonb);
DROP TABLE liverouter.member_providers;

-- The default's entry has its object of members, as others have theirs.
SELECT liverouter.change_function(
    'liverouter_internal.config_entries(jsonb)',
    '''params'', settings -> ''llm_params'', ''weight''',
    '''params'', settings -> ''llm_params'', ''litellm_params'', settings -> ''litellm_params'', ''weight''');

-- Of a provider whose secrets are named in such an object, those that are named.
SELECT liverouter.change_function(
    'liverouter_internal.desired_deployments()',
    'WHERE p.name = s.provider
        ) w',
    'WHERE p.name = s.provider
            UNION ALL
            SELECT e.own -> p.holder -> m.name ->> ''secret'', m.preference
            FROM liverouter.member_providers p
            CROSS JOIN unnest(p.secrets) WITH ORDINALITY m (name, preference)
            WHERE p.name = s.provider AND jsonb_typeof(e.own -> p.holder -> m.name -> ''secret'') = ''string''
        ) w');

-- A secret that an entry refers to has to be there, also where its provider can do without one.
SELECT liverouter.change_function(
    'liverouter_internal.secret_problems()',
    'd.provider NOT IN (SELECT p.name FROM liverouter.providers p WHERE p.takes_ambient)',
    'NOT EXISTS (
        SELECT FROM liverouter.providers p
        WHERE p.name = d.provider AND p.takes_ambient AND d.secret_name = ANY (p.secrets))');

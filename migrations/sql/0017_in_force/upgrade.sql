-- A base that nobody uses binds no secret: whoever planted it would have the secret at the next change of rows. Where no
-- row names the primary's provider, the environment may.
SELECT liverouter.change_function(
    'liverouter_internal.origins_in_force(jsonb, text)',
    'WHERE p.secret = secret_name
        UNION ALL',
    'WHERE p.secret = secret_name
            AND CASE coalesce(jsonb_typeof(settings -> ''llm_provider''), ''null'')
                WHEN ''null'' THEN true
                WHEN ''string'' THEN liverouter_internal.stripped(settings ->> ''llm_provider'') = p.name
                ELSE false END
        UNION ALL');

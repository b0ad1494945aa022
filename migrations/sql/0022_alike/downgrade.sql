SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$    IF coalesce(kind, 'null') = 'null' THEN$old$,
    $new$    IF kind = 'null' THEN$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$        WHERE r.value <> 'null' OR s.kind = 'rejected'
           OR s.name IS NULL AND (r.key !~ '^llm:[a-z][a-z0-9_-]{0,31}$' OR r.key = 'llm:default')
    ),$old$,
    $new$        WHERE r.value <> 'null'
    ),$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$strpos(r.key, '_') > 0 AND split_part(r.key, '_', 1) = ANY (liverouter_internal.own_words())$old$,
    $new$split_part(translate(r.key, ':', '_'), '_', 1) = ANY (liverouter_internal.own_words())$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$            AND (e.place = 'settings' OR (r.spec).kind <> 'json'
                 AND coalesce(e.own -> r.key, e.own -> nullif((r.spec).alias, ''), 'null') = 'null')))$old$,
    $new$            AND coalesce(e.own -> r.key, e.own -> nullif((r.spec).alias, ''), 'null') = 'null'))$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_together(jsonb)',
    $old$                CASE WHEN s.kind <> 'json' AND (s.alias NOT IN ('deployment', 'base_model') OR e.name = 'default'
                        AND e.provider <> liverouter_internal.stripped(e.inherited ->> 'provider'))
                    THEN nullif(settings -> s.name, 'null') END))$old$,
    $new$                CASE WHEN s.kind <> 'json' THEN nullif(settings -> s.name, 'null') END))$new$);

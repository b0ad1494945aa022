-- What is not there, null as a stranger's value, a row of the primary's that is no object, and which rows name a
-- deployment: as processes judge them.

-- A member that is not there fits: thinking has some that it needs not.
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$    IF kind = 'null' THEN$old$,
    $new$    IF coalesce(kind, 'null') = 'null' THEN$new$);

-- A row that says nothing under a name that is none is refused all the same: it may have been meant for another.
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$        WHERE r.value <> 'null'
    ),$old$,
    $new$        WHERE r.value <> 'null' OR s.kind = 'rejected'
           OR s.name IS NULL AND (r.key !~ '^llm:[a-z][a-z0-9_-]{0,31}$' OR r.key = 'llm:default')
    ),$new$);
-- Other software may have a row that is called as a provider is.
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$split_part(translate(r.key, ':', '_'), '_', 1) = ANY (liverouter_internal.own_words())$old$,
    $new$strpos(r.key, '_') > 0 AND split_part(r.key, '_', 1) = ANY (liverouter_internal.own_words())$new$);
-- The object that holds a provider's settings is a row of the primary's alone.
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$            AND coalesce(e.own -> r.key, e.own -> nullif((r.spec).alias, ''), 'null') = 'null'))$old$,
    $new$            AND (e.place = 'settings' OR (r.spec).kind <> 'json'
                 AND coalesce(e.own -> r.key, e.own -> nullif((r.spec).alias, ''), 'null') = 'null')))$new$);

-- The rows that name a deployment of the user's own, and the model behind it, are about one that stands in for another
-- provider's primary: any other is named as the model, unless it says so itself.
SELECT liverouter.change_function(
    'liverouter_internal.judge_together(jsonb)',
    $old$                CASE WHEN s.kind <> 'json' THEN nullif(settings -> s.name, 'null') END))$old$,
    $new$                CASE WHEN s.kind <> 'json' AND (s.alias NOT IN ('deployment', 'base_model') OR e.name = 'default'
                        AND e.provider <> liverouter_internal.stripped(e.inherited ->> 'provider'))
                    THEN nullif(settings -> s.name, 'null') END))$new$);

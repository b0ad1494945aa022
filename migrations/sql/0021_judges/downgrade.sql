SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$own_words()) OR r.key ~* '^(llm_|litellm_|llm:)' AS is_ours$old$,
    $new$own_words()) AS is_ours$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_settings(jsonb)',
    $old$    FROM entry e CROSS JOIN LATERAL liverouter_internal.judge_entry(e.place, e.place = 'settings', e.own) j
    UNION ALL
    SELECT j.* FROM liverouter_internal.judge_together(settings) j
$old$,
    $new$    FROM entry e CROSS JOIN LATERAL liverouter_internal.judge_entry(e.place, e.place = 'settings', e.own) j
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.judge_entry(text, boolean, jsonb)',
    $old$    SELECT f.* FROM liverouter_internal.judge_params(
        own -> 'params', CASE WHEN is_row THEN 'settings.llm_params' ELSE place || '.params' END) f
    UNION ALL
    SELECT f.* FROM liverouter_internal.judge_profile(own -> 'profile', place || '.profile') f
    UNION ALL
    SELECT f.* FROM whole w CROSS JOIN LATERAL liverouter_internal.judge_parts(own, place) f WHERE w.is
$old$,
    $new$    SELECT coalesce(f.code, 'LR106'), params.place || '.' || liverouter_internal.shown(m.key),
           coalesce(f.message, format('''%s'' is no parameter of rows', liverouter_internal.shown(m.key))),
           coalesce(f.hint, liverouter_internal.did_you_mean(m.key, known.names),
               format('Rows may give %s', array_to_string(known.names, ', ')))
    FROM (SELECT CASE WHEN is_row THEN 'settings.llm_params' ELSE place || '.params' END) params (place)
    CROSS JOIN (SELECT array_agg(s.name ORDER BY s.name) FROM liverouter.setting_specs s WHERE s.scope = 'param')
        known (names)
    CROSS JOIN LATERAL (
        SELECT * FROM jsonb_each(CASE jsonb_typeof(own -> 'params') WHEN 'object' THEN own -> 'params' END) LIMIT 50) m
    LEFT JOIN liverouter.setting_specs s ON s.scope = 'param' AND s.name = m.key
    LEFT JOIN LATERAL liverouter_internal.misfit(s, m.value) f ON s.name IS NOT NULL
    WHERE f.code IS NOT NULL OR m.key <> ALL (known.names)
$new$);
SELECT liverouter.change_function(
    'liverouter_internal.header_secret(jsonb)',
    $old$WHERE liverouter_internal.names_credential(h.key)$old$,
    $new$WHERE lower(h.key) ~ (
                '(^|[^a-z0-9])(auth|authentication|authorization|bearer|cookie2?|credentials?|jwt|key|passphrase|passwd'
                '|signature|[a-z0-9]*(apikey|token|secret|password))([^a-z0-9]|$)')$new$);
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$    ELSIF spec.kind = 'texts' THEN
        IF (CASE kind WHEN 'array' THEN jsonb_array_length(value) ELSE 1 END) NOT BETWEEN 1 AND spec.high OR EXISTS (
            SELECT FROM jsonb_array_elements_text(CASE kind WHEN 'array' THEN value ELSE jsonb_build_array(value) END) e (text)
            WHERE liverouter_internal.stripped(e.text) = '' OR length(e.text) > 500)
        THEN
            code := 'LR104';
            message := 'these are too many texts, blank ones or too long ones';
            hint := spec.hint;
        END IF;
    ELSIF value #>> '{}' <> ALL (spec.words) THEN
        code := 'LR104';
        message := 'the word is not known';
        hint := format('Write one of %s', array_to_string(spec.words, ', '));
    ELSIF said = '' THEN$old$,
    $new$    ELSIF said = '' THEN$new$);
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$        WHEN 'texts' THEN CASE
            WHEN said IS NULL AND (kind <> 'array' OR jsonb_path_exists(value, 'strict $[*] ? (@.type() != "string")'))
            THEN 'a text or a list of texts' END
        ELSE CASE WHEN said IS NULL THEN 'text' END END;$old$,
    $new$        ELSE CASE WHEN said IS NULL THEN 'text' END END;$new$);
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$    IF kind = 'null' THEN$old$,
    $new$    IF kind = 'null' OR spec.kind = 'any' THEN$new$);
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$IF liverouter_internal.is_secret_reference(value) IS NOT TRUE THEN$old$,
    $new$IF NOT liverouter_internal.is_secret_reference(value) THEN$new$);
DELETE FROM liverouter.setting_specs WHERE scope IN ('part', 'thinking', 'model');
UPDATE liverouter.setting_specs SET kind = 'any' WHERE kind = 'texts';
ALTER TABLE liverouter.setting_specs
    DROP CONSTRAINT setting_specs_scope,
    DROP COLUMN words,
    DROP COLUMN refused,
    ADD CONSTRAINT setting_specs_scope CHECK (scope IN ('row', 'member', 'param'));
SELECT liverouter.change_function(
    'liverouter_internal.judge_entry(text, boolean, jsonb)',
    $old$spec.pattern, spec.may_be_list, spec.hint, spec.severity, spec.words, spec.refused)::liverouter.setting_specs$old$,
    $new$spec.pattern, spec.may_be_list, spec.hint, spec.severity)::liverouter.setting_specs$new$);
DROP FUNCTION
    liverouter_internal.judge_together(jsonb), liverouter_internal.is_looked_up(text),
    liverouter_internal.judge_parts(jsonb, text), liverouter_internal.judge_profile(jsonb, text),
    liverouter_internal.judge_params(jsonb, text), liverouter_internal.judge_body(jsonb, text, text[]),
    liverouter_internal.judge_headers(jsonb, text, text[]), liverouter_internal.judge_thinking(jsonb, text),
    liverouter_internal.names_credential(text), liverouter_internal.nodes(jsonb);
COMMENT ON COLUMN liverouter.setting_specs.scope IS
    'row: key of a setting; member: of an entry of llm_fallback_config or a row llm:NAME; param: of llm_params or params';
COMMENT ON COLUMN liverouter.setting_specs.kind IS
    'text, url, number, integer, boolean, json, secret (never a row), any, or rejected: a name that cannot be used';

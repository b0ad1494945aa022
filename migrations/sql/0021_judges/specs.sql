-- Words and lists of texts are judged by the table, too, and so are the members of objects.

ALTER TABLE liverouter.setting_specs
    ADD COLUMN words text[],
    ADD COLUMN refused text[],
    DROP CONSTRAINT setting_specs_scope,
    ADD CONSTRAINT setting_specs_scope CHECK (scope IN ('row', 'member', 'param', 'part', 'thinking', 'model'));
COMMENT ON COLUMN liverouter.setting_specs.scope IS
    'row: key of a setting; member: of an entry of llm_fallback_config or a row llm:NAME; param: of llm_params or params; '
    'thinking: of the parameter thinking; part: of the object that holds a provider''s settings; model: of which provider '
    'models must be called so';
COMMENT ON COLUMN liverouter.setting_specs.kind IS
    'text, texts (one, or a list of up to high), url, number, integer, boolean, json, secret (never a row), or rejected: a '
    'name that cannot be used';
COMMENT ON COLUMN liverouter.setting_specs.words IS 'The words that a text may be; NULL for any';
COMMENT ON COLUMN liverouter.setting_specs.refused IS 'Names that members of an object may not have; NULL for none';

-- {} is no reference to a secret.
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$IF NOT liverouter_internal.is_secret_reference(value) THEN$old$,
    $new$IF liverouter_internal.is_secret_reference(value) IS NOT TRUE THEN$new$);
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$    IF kind = 'null' OR spec.kind = 'any' THEN$old$,
    $new$    IF kind = 'null' THEN$new$);
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$        ELSE CASE WHEN said IS NULL THEN 'text' END END;$old$,
    $new$        WHEN 'texts' THEN CASE
            WHEN said IS NULL AND (kind <> 'array' OR jsonb_path_exists(value, 'strict $[*] ? (@.type() != "string")'))
            THEN 'a text or a list of texts' END
        ELSE CASE WHEN said IS NULL THEN 'text' END END;$new$);
SELECT liverouter.change_function(
    'liverouter_internal.misfit(liverouter.setting_specs, jsonb)',
    $old$    ELSIF said = '' THEN$old$,
    $new$    ELSIF spec.kind = 'texts' THEN
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
    ELSIF said = '' THEN$new$);

CREATE FUNCTION liverouter_internal.nodes(
    root jsonb, OUT place text, OUT depth integer, OUT member text, OUT name text, OUT value jsonb, OUT kind text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE node AS (
        SELECT '' AS place, 0 AS depth, NULL::text AS member, '' AS name, root AS value, jsonb_typeof(root) AS kind
        UNION ALL
        SELECT left(n.place || child.step, 200), n.depth + 1, child.member, coalesce(child.member, n.name), child.value,
               jsonb_typeof(child.value)
        FROM node n
        CROSS JOIN LATERAL (
            SELECT '.' || CASE
                       WHEN m.key ~ '^[A-Za-z0-9_.-]{1,40}$' AND NOT liverouter_internal.looks_like_key(m.key)
                       THEN m.key ELSE chr(8230) END,
                   m.key, m.value
            FROM jsonb_each(CASE n.kind WHEN 'object' THEN n.value END) m
            UNION ALL
            SELECT '[' || e.position - 1 || ']', NULL, e.value
            FROM jsonb_array_elements(CASE n.kind WHEN 'array' THEN n.value END) WITH ORDINALITY e (value, position)
        ) child (step, member, value)
    )
    SELECT n.place, n.depth, n.member, n.name, n.value, n.kind FROM node n
$$;
COMMENT ON FUNCTION liverouter_internal.nodes(jsonb) IS
    'A JSON value and all within it: the path, empty for the value itself; how deep; the member''s name, NULL where it is '
    'none; the name it goes by, an element by its list''s; the value and its type';

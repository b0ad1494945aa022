-- What a row may hold, which only the code can say: each run of `liverouter migrate` fills it in. So rows are judged here
-- as processes judge them, while none runs.

CREATE TABLE liverouter.setting_specs (
    scope       text    NOT NULL CONSTRAINT setting_specs_scope CHECK (scope IN ('row', 'member', 'param')),
    name        text    NOT NULL,
    kind        text    NOT NULL,
    provider    text,
    alias       text    NOT NULL,
    low         numeric,
    above_low   boolean NOT NULL,
    high        numeric,
    pattern     text,
    may_be_list boolean NOT NULL,
    hint        text    NOT NULL,
    PRIMARY KEY (scope, name)
);
COMMENT ON TABLE liverouter.setting_specs IS
    'The settings of the liverouter that migrated last. Each run of `liverouter migrate` brings it up to date; nobody '
    'else writes it.';
COMMENT ON COLUMN liverouter.setting_specs.scope IS
    'row: key of a setting; member: of an entry of llm_fallback_config or a row llm:NAME; param: of llm_params or params';
COMMENT ON COLUMN liverouter.setting_specs.name IS 'The key, or the name of the member';
COMMENT ON COLUMN liverouter.setting_specs.kind IS
    'text, url, number, integer, boolean, json, secret (never a row), any, or rejected: a name that cannot be used';
COMMENT ON COLUMN liverouter.setting_specs.provider IS 'The provider that it belongs to; NULL = all';
COMMENT ON COLUMN liverouter.setting_specs.alias IS 'Its short name inside an entry; empty for none';
COMMENT ON COLUMN liverouter.setting_specs.low IS 'Least number that is taken; NULL for no bound';
COMMENT ON COLUMN liverouter.setting_specs.above_low IS 'Whether a number has to be greater than low';
COMMENT ON COLUMN liverouter.setting_specs.high IS 'Greatest number that is taken; NULL for no bound';
COMMENT ON COLUMN liverouter.setting_specs.pattern IS 'What a text has to match whole; NULL for any';
COMMENT ON COLUMN liverouter.setting_specs.may_be_list IS 'json: whether a list of objects is taken as well as one';
COMMENT ON COLUMN liverouter.setting_specs.hint IS 'What to write instead';

CREATE FUNCTION liverouter.kind_of(value jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'null' THEN 'null' WHEN 'boolean' THEN 'true or false' WHEN 'number' THEN 'a number'
        WHEN 'string' THEN 'text' WHEN 'array' THEN 'a list' ELSE 'an object' END
$$;
COMMENT ON FUNCTION liverouter.kind_of(jsonb) IS 'The type of a JSON value, for people';

CREATE FUNCTION liverouter.shown(word text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN liverouter.looks_like_key(word) THEN chr(8230) ELSE liverouter.clean_text(to_jsonb(word), 60) END
$$;
COMMENT ON FUNCTION liverouter.shown(text) IS 'A word of a row, fit to be repeated in a message';

CREATE FUNCTION liverouter.grams(word text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(g.gram || row_number)
    FROM (SELECT g.gram, row_number() OVER (PARTITION BY g.gram)
          FROM left(lower(word), 60) w (word), generate_series(1, length(w.word)) i,
               LATERAL (VALUES (substr(w.word, i, 1)), (nullif(substr(w.word, i, 2), substr(w.word, i, 1)))) g (gram)
          WHERE g.gram IS NOT NULL) g
$$;
COMMENT ON FUNCTION liverouter.grams(text) IS
    'The letters and pairs of letters of a word, each with a number, so that one that comes twice counts twice';

CREATE FUNCTION liverouter.nearest(words text[], known text[], OUT word text, OUT near text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- Alike are words of which six in ten letters and pairs of letters are the same.
    WITH asked AS MATERIALIZED (
        SELECT w.word, g.grams FROM unnest(words) w (word) CROSS JOIN LATERAL liverouter.grams(w.word) g (grams)
    ),
    gram AS MATERIALIZED (
        SELECT k.known, g.gram, cardinality(l.grams) AS number
        FROM unnest(known) k (known)
        CROSS JOIN LATERAL liverouter.grams(k.known) l (grams)
        CROSS JOIN LATERAL unnest(l.grams) g (gram)
    )
    SELECT DISTINCT ON (c.word) c.word, c.known FROM (
        SELECT a.word, k.known, 2.0 * count(*) / (k.number + cardinality(a.grams)) AS ratio
        FROM asked a CROSS JOIN LATERAL unnest(a.grams) g (gram) JOIN gram k ON k.gram = g.gram
        GROUP BY a.word, a.grams, k.known, k.number) c
    WHERE c.ratio >= 0.6 ORDER BY c.word, c.ratio DESC, c.known COLLATE "C"
$$;
COMMENT ON FUNCTION liverouter.nearest(text[], text[]) IS
    'For each of the words that is like one of known the one that it is most like';

CREATE FUNCTION liverouter.did_you_mean(word text, known text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('Did you mean ''%s''?', n.near) FROM liverouter.nearest(ARRAY[word], known) n
$$;
COMMENT ON FUNCTION liverouter.did_you_mean(text, text[]) IS
    'Did you mean ''x''? for the word of known that is most like word; NULL where none is like it';

CREATE FUNCTION liverouter.misfit(
    spec liverouter.setting_specs, value jsonb, OUT code text, OUT message text, OUT hint text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind   text := jsonb_typeof(value);
    said   text := CASE kind WHEN 'string' THEN liverouter.stripped(value #>> '{}') END;
    number numeric := CASE kind WHEN 'number' THEN value::numeric END;
    wanted text;
BEGIN
    IF kind = 'null' OR spec.kind = 'any' THEN
        RETURN;
    END IF;
    IF spec.kind = 'secret' THEN
        IF NOT liverouter.is_secret_reference(value) THEN
            code := 'LR110';
            message := format('%s stands where a reference to a secret belongs', liverouter.kind_of(value));
            hint := 'Store the secret (liverouter set --secret NAME) and write {"secret": "NAME"}';
        END IF;
        RETURN;
    END IF;
    wanted := CASE spec.kind
        WHEN 'boolean' THEN CASE WHEN kind <> 'boolean' THEN 'true or false' END
        WHEN 'integer' THEN CASE WHEN number IS NULL OR number <> trunc(number) THEN 'a whole number' END
        WHEN 'number' THEN CASE WHEN number IS NULL THEN 'a number' END
        WHEN 'json' THEN CASE
            WHEN kind = 'object' OR kind = 'array' AND spec.may_be_list THEN NULL
            WHEN spec.may_be_list THEN 'an object or a list of objects' ELSE 'an object' END
        ELSE CASE WHEN said IS NULL THEN 'text' END END;
    IF wanted IS NOT NULL THEN
        code := 'LR103';
        message := format('%s stands where %s belongs', liverouter.kind_of(value), wanted);
        hint := spec.hint;
    ELSIF spec.kind IN ('number', 'integer') THEN
        IF number < coalesce(spec.low, 0) OR number > spec.high OR spec.above_low AND number = spec.low THEN
            code := 'LR104';
            message := 'the number is out of range';
            hint := format('Choose a number %s %s%s', CASE WHEN spec.above_low THEN 'above' ELSE 'from' END,
                coalesce(spec.low, 0),
                (SELECT CASE WHEN spec.above_low THEN ' and up to ' ELSE ' to ' END || spec.high));
        END IF;
    ELSIF said = '' THEN
        code := 'LR100';
        message := 'the value is empty';
        hint := 'Give it a value, or remove it';
    ELSIF length(said) > 2000 OR said <> liverouter.clean_text(to_jsonb(said), 2000)
        OR said ~ '[\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f\u3000\ue000-\uf8ff\ufff0-\uffff]' THEN
        code := 'LR104';
        message := 'the text is too long or holds control characters';
        hint := 'Write plain text';
    ELSIF spec.kind = 'url' AND (liverouter.origin_of(said) IS NULL OR said ~ '[[:space:]]') THEN
        code := 'LR105';
        message := 'the URL cannot be used: it starts with http:// or https:// and a host, and holds neither user nor blank';
        hint := spec.hint;
    ELSIF said !~ ('^(?:' || spec.pattern || ')$') THEN
        code := 'LR104';
        message := 'the text holds characters that cannot stand in a URL, of which it becomes a piece';
        hint := 'Write letters, digits, dots and dashes';
    END IF;
END $$;
COMMENT ON FUNCTION liverouter.misfit(liverouter.setting_specs, jsonb) IS
    'Why a value can never be a setting''s, as a process would say it; all NULL where it can';

CREATE FUNCTION liverouter.judge_entry(
    place text, is_row boolean, own jsonb, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp
AS $$
    -- Members of the default's primary are rows: those are judged as rows.
    WITH spec AS (
        SELECT s.*, CASE WHEN s.scope = 'member' THEN s.name ELSE w.word END AS word
        FROM liverouter.setting_specs s
        CROSS JOIN LATERAL (SELECT s.name UNION SELECT s.alias) w (word)
        WHERE w.word <> ''
          AND (s.scope = 'member' OR s.scope = 'row' AND s.provider = liverouter.stripped(own ->> 'provider'))
    ),
    -- What a provider knows is asked of one that there is, with a model.
    fits AS (
        SELECT s.name, m.code IS NULL AND coalesce(own -> s.name, 'null') <> 'null' AS is
        FROM liverouter.setting_specs s CROSS JOIN LATERAL liverouter.misfit(s, own -> s.name) m
        WHERE s.scope = 'member' AND s.name IN ('provider', 'model')
    ),
    whole AS (
        SELECT bool_and(f.is)
               AND EXISTS (SELECT FROM liverouter.providers p WHERE p.name = liverouter.stripped(own ->> 'provider')) AS is
        FROM fits f
    ),
    said AS (
        SELECT m.key, m.value, spec.kind AS kind, f.*
        FROM (SELECT * FROM jsonb_each(own) LIMIT 200) m
        CROSS JOIN whole w
        LEFT JOIN spec ON spec.word = m.key
        LEFT JOIN LATERAL liverouter.misfit(
            ROW(spec.scope, spec.name, spec.kind, spec.provider, spec.alias, spec.low, spec.above_low, spec.high,
                spec.pattern, spec.may_be_list, spec.hint)::liverouter.setting_specs, m.value) f
            ON spec.kind <> 'rejected' AND (spec.scope = 'member' OR w.is)
    )
    SELECT s.code, place || '.' || liverouter.shown(s.key), s.message, s.hint
    FROM said s WHERE NOT is_row AND s.code IS NOT NULL
    UNION ALL
    SELECT 'LR107', place || '.' || liverouter.shown(s.key), format('''%s'' cannot be used', liverouter.shown(s.key)),
           (SELECT spec.hint FROM spec WHERE spec.word = s.key)
    FROM said s, whole w WHERE NOT is_row AND s.kind = 'rejected' AND w.is
    UNION ALL
    (SELECT 'LR106', place || '.' || liverouter.shown(s.key),
           format('''%s'' is not known here', liverouter.shown(s.key)),
           coalesce(
               liverouter.did_you_mean(s.key, ARRAY(SELECT spec.word FROM spec WHERE spec.kind <> 'rejected')),
               format('A %s deployment knows %s', liverouter.stripped(own ->> 'provider'),
                   (SELECT string_agg(spec.word, ', ' ORDER BY spec.scope, spec.word)
                    FROM spec WHERE spec.kind <> 'rejected')))
    FROM said s, whole w WHERE NOT is_row AND s.kind IS NULL AND w.is ORDER BY s.key LIMIT 20)
    UNION ALL
    SELECT coalesce(f.code, 'LR106'), params.place || '.' || liverouter.shown(m.key),
           coalesce(f.message, format('''%s'' is no parameter of rows', liverouter.shown(m.key))),
           coalesce(f.hint, liverouter.did_you_mean(m.key, known.names),
               format('Rows may give %s', array_to_string(known.names, ', ')))
    FROM (SELECT CASE WHEN is_row THEN 'settings.llm_params' ELSE place || '.params' END) params (place)
    CROSS JOIN (SELECT array_agg(s.name ORDER BY s.name) FROM liverouter.setting_specs s WHERE s.scope = 'param')
        known (names)
    CROSS JOIN LATERAL (
        SELECT * FROM jsonb_each(CASE jsonb_typeof(own -> 'params') WHEN 'object' THEN own -> 'params' END) LIMIT 50) m
    LEFT JOIN liverouter.setting_specs s ON s.scope = 'param' AND s.name = m.key
    LEFT JOIN LATERAL liverouter.misfit(s, m.value) f ON s.name IS NOT NULL
    WHERE f.code IS NOT NULL OR m.key <> ALL (known.names)
    UNION ALL
    SELECT 'LR100', place || '.' || missing.member, format('the deployment has no ''%s''', missing.member),
           'Write it like this: {"provider": "openai", "model": "gpt-4o"}'
    FROM (VALUES ('provider'), ('model')) missing (member)
    WHERE NOT is_row AND coalesce(own -> missing.member, 'null') = 'null'
    UNION ALL
    SELECT 'LR104', place || '.order', 'the number is out of range', 'A named model is asked first itself: order 1, or none'
    WHERE place ~ '^settings\.llm:[^.]*$' AND own -> 'order' <> '1' AND jsonb_typeof(own -> 'order') = 'number'
    UNION ALL
    SELECT 'LR101', CASE WHEN is_row THEN 'settings.llm_provider' ELSE place || '.provider' END,
           format('provider ''%s'' is not one of %s', liverouter.shown(word.word), array_to_string(known.names, ', ')),
           coalesce(liverouter.did_you_mean(word.word, known.names), 'Choose one of them')
    FROM liverouter.stripped(own ->> 'provider') word (word),
         (SELECT array_agg(p.name ORDER BY p.name COLLATE "C") FROM liverouter.providers p) known (names)
    WHERE (SELECT f.is FROM fits f WHERE f.name = 'provider') AND word.word <> ALL (known.names)
$$;
COMMENT ON FUNCTION liverouter.judge_entry(text, boolean, jsonb) IS
    'Part of judge_settings(): what is wrong with one deployment, whose members stand at place, or in rows of their own';

CREATE FUNCTION liverouter.hint_for(key text, near text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN key = 'llm:default'
        THEN '''default'' is what llm_provider, llm_model, ... say: set those, or give this model another name'
        WHEN key ILIKE 'llm:%'
        THEN 'The name of a model begins with a-z, then up to 31 of a-z, 0-9, _ and - follow: llm:fast'
        WHEN EXISTS (SELECT FROM liverouter.setting_specs s WHERE s.scope = 'param' AND 'llm_' || s.name = key)
        THEN format('It is a member of llm_params: {"%s": ...}', substr(key, 5))
        ELSE coalesce(near, 'SELECT name FROM liverouter.setting_specs lists the names') END
$$;
COMMENT ON FUNCTION liverouter.hint_for(text, text) IS
    'What to write in place of a key that is no setting; near: the setting that may be meant, if any';

CREATE FUNCTION liverouter.judge_settings(
    settings jsonb, OUT severity text, OUT code text, OUT object text, OUT message text, OUT hint text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER ROWS 5 SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
    WITH entry AS MATERIALIZED (
        SELECT e.*, liverouter.stripped(e.own ->> 'provider') AS provider FROM liverouter.config_entries(settings) e
    ),
    own_row AS (  -- ours, or of other software
        SELECT r.key, r.value, s AS spec,
               split_part(translate(r.key, ':', '_'), '_', 1) = ANY (liverouter.own_words()) AS is_ours
        FROM jsonb_each(settings) r
        LEFT JOIN liverouter.setting_specs s ON s.scope = 'row' AND s.name = r.key
        WHERE r.value <> 'null'
    ),
    named AS (
        SELECT r.key, r.value FROM own_row r WHERE r.key ~ '^llm:[a-z][a-z0-9_-]{0,31}$' AND r.key <> 'llm:default'
    ),
    unknown AS MATERIALIZED (
        SELECT r.key, r.is_ours FROM own_row r
        WHERE (r.spec).name IS NULL AND r.key NOT IN (SELECT n.key FROM named n)
        ORDER BY r.is_ours DESC, r.key LIMIT 200
    ),
    stranger AS (
        SELECT u.key, u.is_ours, format('Did you mean ''%s''?', n.near) AS near, n.near IS NOT NULL AS is_near
        FROM unknown u
        LEFT JOIN liverouter.nearest(
            ARRAY(SELECT u.key FROM unknown u),
            ARRAY(SELECT s.name FROM liverouter.setting_specs s WHERE s.scope = 'row' AND s.kind <> 'rejected')) n
            ON n.word = u.key
    ),
    list (place, value) AS (  -- where fallbacks belong
        SELECT 'settings.llm_fallback_config', settings -> 'llm_fallback_config'
        UNION ALL
        SELECT 'settings.' || n.key || '.fallbacks', n.value -> 'fallbacks' FROM named n
    ),
    fallback (place, value) AS (
        SELECT l.place || format('[%s]', e.position - 1), e.value
        FROM list l
        CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(l.value) WHEN 'array' THEN l.value END)
            WITH ORDINALITY e (value, position)
        WHERE e.position <= 100
    )
    SELECT 'error', f.code, 'settings.' || r.key, f.message, f.hint
    FROM own_row r CROSS JOIN LATERAL liverouter.misfit(r.spec, r.value) f
    WHERE f.code IS NOT NULL AND (r.spec).kind NOT IN ('secret', 'rejected')
      -- a provider's rows are asked for by the deployments that do not say it themselves
      AND ((r.spec).provider IS NULL OR EXISTS (
          SELECT FROM entry e
          WHERE e.provider = (r.spec).provider
            AND coalesce(e.own -> r.key, e.own -> nullif((r.spec).alias, ''), 'null') = 'null'))
    UNION ALL
    SELECT 'error', 'LR100', 'settings.' || want.key, format('''%s'' is not set', want.key),
           format('Set it: liverouter set %s=%s; or the environment variable %s of each process',
               want.key, want.example, upper(want.key))
    FROM (VALUES ('llm_provider', 'anthropic'), ('llm_model', 'claude-sonnet-4-6')) want (key, example)
    WHERE coalesce(settings -> want.key, 'null') = 'null'
    UNION ALL
    SELECT CASE WHEN s.key ~* '^(llm_|litellm_|llm:)' THEN 'error' ELSE 'warning' END, 'LR106',
           'settings.' || liverouter.shown(s.key), format('''%s'' is not a setting', liverouter.shown(s.key)),
           liverouter.hint_for(s.key, CASE WHEN s.is_near THEN s.near END)
    FROM stranger s WHERE s.is_ours OR s.is_near
    UNION ALL
    SELECT 'error', 'LR107', 'settings.' || r.key, format('''%s'' cannot be used', r.key), (r.spec).hint
    FROM own_row r
    WHERE (r.spec).kind = 'rejected' AND (r.spec).provider IN (SELECT e.provider FROM entry e)
    UNION ALL
    SELECT 'error', 'LR103', 'settings.' || n.key,
           format('%s stands where an object belongs', liverouter.kind_of(n.value)),
           'Write {"provider": "openai", "model": "gpt-4o"}'
    FROM named n WHERE jsonb_typeof(n.value) <> 'object'
    UNION ALL
    SELECT 'error', 'LR103', l.place,
           format('%s stands where an object or a list of objects belongs', liverouter.kind_of(l.value)),
           'Write {"provider": "openai", "model": "gpt-4o"}, a list of such, or null'
    FROM list l
    WHERE l.place <> 'settings.llm_fallback_config' AND jsonb_typeof(l.value) NOT IN ('object', 'array', 'null')
    UNION ALL
    SELECT 'error', 'LR103', b.place, format('%s stands where a fallback belongs', liverouter.kind_of(b.value)),
           'Write {"provider": "openai", "model": "gpt-4o"}'
    FROM fallback b WHERE jsonb_typeof(b.value) <> 'object'
    UNION ALL
    SELECT 'error', 'LR104', l.place, format('%s fallbacks are more than 20', jsonb_array_length(l.value)),
           'Keep the few that would really serve'
    FROM list l WHERE CASE jsonb_typeof(l.value) WHEN 'array' THEN jsonb_array_length(l.value) ELSE 0 END > 20
    UNION ALL
    SELECT 'error', j.code, j.object, j.message, j.hint
    FROM entry e CROSS JOIN LATERAL liverouter.judge_entry(e.place, e.place = 'settings', e.own) j
$$;
COMMENT ON FUNCTION liverouter.judge_settings(jsonb) IS
    'Problems: what settings, given as {key: value}, hold wrong or lack, as far as the database can see; what rests with '
    'the environment of processes it cannot';

CREATE FUNCTION liverouter.judge_setting(
    key text, value jsonb, OUT code text, OUT object text, OUT message text, OUT hint text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    spec liverouter.setting_specs%ROWTYPE;
    is_name boolean := judge_setting.key ~ '^llm:[a-z][a-z0-9_-]{0,31}$' AND judge_setting.key <> 'llm:default';
BEGIN
    object := 'settings.' || liverouter.shown(judge_setting.key);
    SELECT * INTO spec FROM liverouter.setting_specs s WHERE s.scope = 'row' AND s.name = judge_setting.key;
    IF NOT FOUND AND NOT is_name THEN
        code := 'LR106';
        message := 'there is no such setting';
        hint := liverouter.hint_for(judge_setting.key, liverouter.did_you_mean(judge_setting.key, ARRAY(
            SELECT s.name FROM liverouter.setting_specs s WHERE s.scope = 'row' AND s.kind <> 'rejected')));
    ELSIF spec.kind = 'rejected' THEN
        code := 'LR107';
        message := 'it cannot be used';
        hint := spec.hint;
    ELSIF spec.kind = 'secret' THEN
        code := 'LR110';
        message := 'settings take no secrets';
        hint := format('Store it sealed: liverouter set --secret %s', judge_setting.key);
    ELSIF spec.name IS NOT NULL THEN
        SELECT m.code, m.message, m.hint INTO code, message, hint FROM liverouter.misfit(spec, judge_setting.value) m;
    END IF;
    IF code IS NULL THEN
        SELECT j.code, j.object, j.message, j.hint INTO code, object, message, hint
        FROM liverouter.judge_settings(jsonb_build_object(judge_setting.key, judge_setting.value)) j
        WHERE j.severity = 'error' AND starts_with(j.object, 'settings.' || judge_setting.key)
          -- what another row says, no row says alone
          AND NOT (j.code = 'LR100' AND j.object IN ('settings.llm_provider', 'settings.llm_model'))
        LIMIT 1;
    END IF;
END $$;
COMMENT ON FUNCTION liverouter.judge_setting(text, jsonb) IS
    'Part of set_setting(): the first thing wrong with one setting by itself; code is NULL where it can be stored';

CREATE FUNCTION liverouter.set_setting(key text, value jsonb) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found record;
BEGIN
    SELECT * INTO found FROM liverouter.judge_setting(set_setting.key, set_setting.value);
    IF found.code IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = found.code, MESSAGE = format('%s: %s', found.object, found.message), HINT = found.hint;
    END IF;
    INSERT INTO liverouter.settings AS s (key, value) VALUES (set_setting.key, set_setting.value)
        ON CONFLICT (key) DO UPDATE SET value = set_setting.value WHERE s.value IS DISTINCT FROM set_setting.value;
    RETURN (SELECT h.revision FROM liverouter.head h);
END $$;
COMMENT ON FUNCTION liverouter.set_setting(text, jsonb) IS
    'Stores a setting, or replaces it; returns the revision. Refuses at once, with the code of the problem, what no process '
    'would take: SELECT liverouter.set_setting(''llm_temperature'', ''0.2''). Runs with the caller''s own rights. A plain '
    'INSERT or UPDATE is stored all the same, and shown in liverouter.problems.';

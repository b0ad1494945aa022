-- What strangers say, made fit for views, terminals and sums. Each looks at a bounded piece, whatever it is given.

CREATE FUNCTION liverouter.clean_text(value jsonb, longest integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    said text;
BEGIN
    CASE jsonb_typeof(value)
        WHEN 'string', 'boolean' THEN said := left(value #>> '{}', longest);
        WHEN 'number' THEN said := trim_scale(round(least(greatest(value::numeric, -1e18), 1e18), 12))::text;
        ELSE NULL;
    END CASE;
    IF said ~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]' THEN
        said := regexp_replace(
            translate(said, E'\t\n\u000b\f\r\u0085\u2028\u2029', '        '),
            '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]',
            E'\ufffd', 'g');
    END IF;
    RETURN said;
END $$;
COMMENT ON FUNCTION liverouter.clean_text(jsonb, integer) IS
    'A text, number or boolean as one line of at most so many characters, without control and bidi characters; else '
    'NULL';

CREATE FUNCTION liverouter.clean_number(value jsonb, highest numeric) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(value) = 'number' THEN
        RETURN trim_scale(round(least(greatest(value::numeric, 0), highest), 12));
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.clean_number(jsonb, numeric) IS
    'A number brought between 0 and the highest that is allowed, with at most twelve decimals; NULL where it is none';

CREATE FUNCTION liverouter.clean_time(value jsonb) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN jsonb_typeof(value) = 'string' THEN left(value #>> '{}', 60)::timestamptz END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION liverouter.clean_time(jsonb) IS 'A text as a time, NULL where it is none';

CREATE FUNCTION liverouter.clean_json(value jsonb, depth integer DEFAULT 0) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE jsonb_typeof(value)
        WHEN 'string' THEN to_jsonb(liverouter.clean_text(value, 500))
        WHEN 'number' THEN to_jsonb(trim_scale(round(least(greatest(value::numeric, -1e15), 1e15), 12)))
        WHEN 'boolean' THEN value
        WHEN 'array' THEN CASE WHEN depth < 4 THEN (
            SELECT coalesce(jsonb_agg(liverouter.clean_json(e.value, depth + 1) ORDER BY e.position), '[]')
            FROM jsonb_array_elements(value) WITH ORDINALITY e (value, position) WHERE e.position <= 50) END
        WHEN 'object' THEN CASE WHEN depth < 4 THEN (
            SELECT coalesce(jsonb_object_agg(
                liverouter.clean_text(to_jsonb(m.key), 60), liverouter.clean_json(m.value, depth + 1)), '{}')
            FROM (SELECT * FROM jsonb_each(value) LIMIT 50) m) END
    END;
END $$;
COMMENT ON FUNCTION liverouter.clean_json(jsonb, integer) IS
    'A JSON value with clean texts, numbers that every reader can hold, and no more than four levels of fifty members';

CREATE FUNCTION liverouter.clean_words(words jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(
        liverouter.clean_text(to_jsonb(m.key), 100), coalesce(liverouter.clean_text(m.value, 500), '')), '{}')
    FROM (SELECT * FROM jsonb_each(CASE jsonb_typeof(words) WHEN 'object' THEN words END) LIMIT 50) m
$$;
COMMENT ON FUNCTION liverouter.clean_words(jsonb) IS 'An object as {text: text}, at most fifty of them';

-- What psql shows is made to fit into 160 columns. Every other program gets whole values: psql alone says that it is psql.
-- These bodies are bound to what they call as they are made, and are taken into the queries that call them.

CREATE FUNCTION liverouter_internal.in_psql() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN current_setting('application_name') = 'psql';
COMMENT ON FUNCTION liverouter_internal.in_psql() IS 'Whether psql asks';

CREATE FUNCTION liverouter_internal.room(value text, width integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN octet_length(value) = length(value) THEN width ELSE width / 2 END;
COMMENT ON FUNCTION liverouter_internal.room(text, integer) IS
    'How many characters of a text fit into so many columns of a terminal: others than those of ASCII may take two each';

CREATE FUNCTION liverouter_internal.fitted(value text, width integer) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN length(value) > liverouter_internal.room(value, width) AND liverouter_internal.in_psql()
    THEN left(value, (liverouter_internal.room(value, width) - 1) / 2) || '..'
         || right(value, liverouter_internal.room(value, width) / 2 - 1)
    ELSE value END;
COMMENT ON FUNCTION liverouter_internal.fitted(text, integer) IS
    'A text; in psql with its middle left out where it is wider than that';

CREATE FUNCTION liverouter_internal.fitted(value jsonb, width integer) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN jsonb_typeof(value) = 'object' AND length(value::text) > liverouter_internal.room(value::text, width)
         AND liverouter_internal.in_psql()
    THEN jsonb_build_object('..', (SELECT count(*) FROM jsonb_object_keys(value)))
    ELSE value END;
COMMENT ON FUNCTION liverouter_internal.fitted(jsonb, integer) IS
    'A JSON object; in psql {"..": how many members} where it is wider than that';

CREATE FUNCTION liverouter_internal.fitted(value timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN liverouter_internal.in_psql() THEN date_trunc('second', value) ELSE value END;
COMMENT ON FUNCTION liverouter_internal.fitted(timestamptz) IS 'A time; in psql in whole seconds';

CREATE FUNCTION liverouter_internal.wrapped(value text, width integer) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN length(value) > liverouter_internal.room(value, width) AND liverouter_internal.in_psql()
    THEN rtrim(regexp_replace(
        value, format('(.{1,%1$s})(?: +|$)|(\S{%1$s})', liverouter_internal.room(value, width)), E'\\1\\2\n', 'g'), E'\n')
    ELSE value END;
COMMENT ON FUNCTION liverouter_internal.wrapped(text, integer) IS 'A text; in psql in lines that are no wider than that';

-- A key of a setting may hold a colon, llm:fast, and is named in a message all the same; headers of a request take no
-- credentials, whatever they are called.

CREATE FUNCTION liverouter.header_secret(value jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM jsonb_path_query(value, 'lax $.**.extra_headers ? (@.type() == "object")') headers,
                    jsonb_each(headers) h
        WHERE lower(h.key) ~ (
                '(^|[^a-z0-9])(auth|authentication|authorization|bearer|cookie2?|credentials?|jwt|key|passphrase|passwd'
                '|signature|[a-z0-9]*(apikey|token|secret|password))([^a-z0-9]|$)')
           OR liverouter.looks_like_key(h.value #>> '{}')
           OR h.value #>> '{}' ~* '^(apikey|aws4-hmac-sha256|basic|bearer|digest|negotiate|token)[[:space:]]')
$$;
COMMENT ON FUNCTION liverouter.header_secret(jsonb) IS
    'Whether extra_headers somewhere in a setting hold a header that carries a credential, also by reference';

CREATE OR REPLACE FUNCTION liverouter.refuse_plain_secrets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    shown text := CASE
        WHEN NEW.key ~ '^[A-Za-z0-9_.:-]{1,63}$' AND NOT liverouter.looks_like_key(NEW.key) THEN NEW.key ELSE chr(8230) END;
    plain record;
BEGIN
    -- No message here repeats the value, and this runs before every constraint, whose DETAIL would show the whole row.
    IF NEW.key IS NULL OR NEW.value IS NULL OR NEW.key !~ '^[^[:space:][:cntrl:]]{1,100}$' THEN
        RAISE EXCEPTION 'a setting needs a key of 1 to 100 characters without blanks, and a JSON value' USING
            ERRCODE = '23514', HINT = 'To remove a setting, delete its row; JSON null is a value: ''null''.';
    END IF;
    IF length(NEW.value::text) > 100000 THEN
        RAISE EXCEPTION 'the value of setting % is longer than 100000 characters', shown USING
            ERRCODE = '23514', HINT = 'A service account or another credential belongs into liverouter.secrets.';
    END IF;
    -- PostgreSQL keeps what no JSON reader takes; one such row would keep every process from reading the others.
    IF jsonb_path_exists(NEW.value, 'strict $.**{100}') THEN
        RAISE EXCEPTION 'the value of setting % is nested more than 100 levels deep', shown USING
            ERRCODE = '23514', HINT = 'Store it as text: a JSON string may hold any JSON.';
    END IF;
    IF jsonb_path_exists(NEW.value, 'strict $.** ? (@ > 1e308 || @ < -1e308)') THEN
        RAISE EXCEPTION 'the value of setting % holds a number beyond 1e308', shown USING
            ERRCODE = '23514', HINT = 'Store it as text, in quotes: few programs read such a number.';
    END IF;
    IF NEW.key LIKE 'llm%' AND liverouter.header_secret(NEW.value) THEN
        RAISE EXCEPTION 'settings.% holds a header that carries a credential: settings take no secrets', shown USING
            ERRCODE = '23514', HINT = 'Keys are stored sealed, liverouter set --secret NAME, and sent by the provider''s '
                'own field alone';
    END IF;
    SELECT * INTO plain FROM liverouter.plain_secret(NEW.key, NEW.value);
    IF plain.reason IS NULL THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = '23514',
        MESSAGE = format('settings.%s%s %s: settings take no secrets', shown, plain.place, CASE plain.reason
            WHEN 'name' THEN 'is named like a secret'
            WHEN 'url' THEN 'holds a URL with a password or a key in it'
            ELSE 'holds what looks like a key or a token' END),
        HINT = CASE
            WHEN NEW.key ~* '^snowflake_password$' OR plain.place ~* '\.snowflake_password$' THEN
                'Snowflake Cortex takes no password: make a programmatic access token and store it sealed, '
                'liverouter set --secret snowflake_token'
            WHEN plain.reason = 'url' THEN
                'Leave user, password and key out of the URL, and store the key sealed: liverouter set --secret NAME'
            WHEN plain.place = '' AND liverouter.is_secret_name(NEW.key) THEN
                format('Store it sealed: liverouter set --secret %s', shown)
            ELSE
                'Store it sealed, liverouter set --secret NAME, and write {"secret": "NAME"} here' END;
END $$;

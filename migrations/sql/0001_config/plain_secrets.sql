-- Settings are readable by every client, stand in the history for ever and are shown by views: they take no secrets.

CREATE FUNCTION liverouter.looks_like_key(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT value ~ (
        '(^|[^A-Za-z0-9_-])('
        'sk-[A-Za-z0-9_-]{8}'                                   -- OpenAI, Anthropic, OpenRouter, DeepSeek, ...
        '|(gh[oprsu]|github_pat|glpat|hf|gsk|xai|pplx|r8|nvapi|lsv2|xox[abeprs])[_-][A-Za-z0-9_-]{16}'
        '|pat[/_-][A-Za-z0-9_.-]{16}'                           -- programmatic access tokens
        '|dapi[0-9a-f]{32}'                                     -- Databricks
        '|AIza[A-Za-z0-9_-]{30}|ya29\.[A-Za-z0-9_-]{16}'        -- Google
        '|(AKIA|ASIA)[A-Z0-9]{16}'                              -- AWS
        '|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8}'               -- JSON web tokens
        '|(Bearer|Basic) +[A-Za-z0-9._~+/=-]{8}'
        ')'
        '|-----BEGIN [A-Z0-9 ]*PRIVATE KEY|"private_key" *:')
$$;
COMMENT ON FUNCTION liverouter.looks_like_key(text) IS
    'Whether a text holds what a provider''s key, an access token or a private key looks like';

CREATE FUNCTION liverouter.is_secret_name(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT lower(name) ~ (
        '((api|access|account|private|secret|shared|signing|subscription)[^a-z0-9]?key'
        '|token|password|passwd|passphrase|credentials?|secret|authorization)$')
$$;
COMMENT ON FUNCTION liverouter.is_secret_name(text) IS
    'Whether a setting, or a member of one, is named like a secret: ...api_key, ...token, ...password, ...credentials, '
    '...secret';

CREATE FUNCTION liverouter.is_secret_reference(value jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_typeof(value) = 'object' AND value - 'secret' = '{}' AND jsonb_typeof(value -> 'secret') = 'string'
        AND value ->> 'secret' ~ '^[A-Za-z][A-Za-z0-9_.-]{0,62}$'
        AND value ->> 'secret' !~ '[A-Za-z0-9]{24}'             -- a key, pasted where its name belongs
        AND NOT liverouter.looks_like_key(value ->> 'secret')
$$;
COMMENT ON FUNCTION liverouter.is_secret_reference(jsonb) IS
    'Whether a value is {"secret": "name"}: it names a row of liverouter.secrets and is no secret itself';

CREATE FUNCTION liverouter.plain_secret(key text, value jsonb, OUT place text, OUT reason text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    -- Every node of the value with the name it goes by; an element goes by its array's name.
    WITH RECURSIVE node (place, depth, name, value, kind, is_reference) AS (
        SELECT '', 0, $1, $2, jsonb_typeof($2), false           -- a row is not a reference: secrets are found by name
        UNION ALL
        SELECT n.place || child.step, n.depth + 1, coalesce(child.name, n.name), child.value,
               jsonb_typeof(child.value), liverouter.is_secret_reference(child.value)
        FROM node n
        CROSS JOIN LATERAL (
            SELECT '.' || CASE
                       WHEN m.key ~ '^[A-Za-z0-9_.-]{1,40}$' AND NOT liverouter.looks_like_key(m.key)
                       THEN m.key ELSE chr(8230) END,
                   m.key, m.value
            FROM jsonb_each(CASE n.kind WHEN 'object' THEN n.value END) m
            UNION ALL
            SELECT '[' || e.position - 1 || ']', NULL, e.value
            FROM jsonb_array_elements(CASE n.kind WHEN 'array' THEN n.value END) WITH ORDINALITY e (value, position)
        ) child (step, name, value)
        WHERE NOT n.is_reference
    ),
    judged AS (
        SELECT n.place, n.depth, CASE
            WHEN liverouter.looks_like_key(n.name) THEN 'key'
            WHEN n.kind = 'string' AND liverouter.looks_like_key(n.value #>> '{}') THEN 'key'
            WHEN n.kind = 'string' AND n.value #>> '{}' ~* (
                '[a-z][a-z0-9+.-]*://[^/?#[:space:]]*:[^/?#[:space:]]*@'
                '|[?&][^=&#]*(key|token|password|secret|signature|sig)=[^&#]') THEN 'url'
            WHEN n.is_reference OR n.kind = 'null' OR NOT liverouter.is_secret_name(n.name) THEN NULL
            -- a number is a limit or a price there, max_token or cost_per_token, unless it is the row itself
            WHEN n.depth = 0 OR n.kind IN ('string', 'object') THEN 'name'
        END AS reason
        FROM node n
    )
    SELECT j.place, j.reason FROM judged j WHERE j.reason IS NOT NULL ORDER BY j.depth, j.place LIMIT 1
$$;
COMMENT ON FUNCTION liverouter.plain_secret(text, jsonb) IS
    'Where in a setting a plain secret stands (a path, empty for the row itself) and what gave it away: its name, the '
    'look of a key, or a URL that carries one. NULL where there is none.';

CREATE FUNCTION liverouter.refuse_plain_secrets() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    shown text := CASE
        WHEN NEW.key ~ '^[A-Za-z0-9_.-]{1,63}$' AND NOT liverouter.looks_like_key(NEW.key) THEN NEW.key ELSE chr(8230) END;
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
COMMENT ON FUNCTION liverouter.refuse_plain_secrets() IS
    'Trigger: refuses a setting that is or holds a plain secret, or that JSON readers cannot take (23514), with a hint and '
    'without repeating it';

CREATE FUNCTION liverouter.refuse_unsealed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    shown text := CASE
        WHEN NEW.name ~ '^[A-Za-z0-9_.-]{1,63}$' AND NOT liverouter.looks_like_key(NEW.name)
        THEN NEW.name ELSE 'NAME' END;
BEGIN
    IF NEW.name IS NULL OR NEW.name !~ '^[A-Za-z][A-Za-z0-9_.-]{0,62}$' OR liverouter.looks_like_key(NEW.name) THEN
        RAISE EXCEPTION 'a secret needs a name of letters, digits, _, . and -, 63 at most' USING
            ERRCODE = '23514', HINT = 'Name it like its setting: anthropic_api_key.';
    END IF;
    IF NEW.sealed IS NULL OR NEW.sealed !~ '^v1:[0-9a-f]{8}:[A-Za-z0-9_-]{16}:[A-Za-z0-9_-]{22,}$' THEN
        RAISE EXCEPTION 'secrets.% is not sealed: plain text is refused', shown USING
            ERRCODE = '23514',
            HINT = format(
                'Let liverouter seal it, with a key this database never sees: liverouter set --secret %s', shown);
    END IF;
    IF NEW.fingerprint IS NULL OR NEW.fingerprint !~ '^[0-9a-f]{8}$' THEN
        RAISE EXCEPTION 'the fingerprint of secrets.% is not eight hex digits', shown USING
            ERRCODE = '23514', HINT = format('Let liverouter write it: liverouter set --secret %s', shown);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION liverouter.refuse_unsealed() IS
    'Trigger: refuses a secret that is not sealed (23514), without repeating it';

CREATE TRIGGER b_refuse_plain_secrets BEFORE INSERT OR UPDATE ON liverouter.settings
    FOR EACH ROW EXECUTE FUNCTION liverouter.refuse_plain_secrets();
CREATE TRIGGER b_refuse_unsealed BEFORE INSERT OR UPDATE ON liverouter.secrets
    FOR EACH ROW EXECUTE FUNCTION liverouter.refuse_unsealed();

CREATE TABLE liverouter.settings (
    key        text        PRIMARY KEY,
    value      jsonb       NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by text        NOT NULL DEFAULT session_user
);

COMMENT ON TABLE liverouter.settings IS
    'The desired config, one row per setting. A row wins over the environment variable of the same name in capitals. '
    'Every change makes a revision and goes live within milliseconds. Secrets are refused here: see '
    'liverouter.secrets.';
COMMENT ON COLUMN liverouter.settings.key IS 'Name of the setting, llm_provider for example';
COMMENT ON COLUMN liverouter.settings.value IS 'The value as JSON: "anthropic", 0.2, true, null, [ ... ]';
COMMENT ON COLUMN liverouter.settings.updated_at IS 'When the value last changed; kept by the database';
COMMENT ON COLUMN liverouter.settings.updated_by IS
    'Who changed it: the application''s user (liverouter.author) where one was given, else the login role';

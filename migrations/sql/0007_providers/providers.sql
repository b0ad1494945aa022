-- What the database has to know of providers, which only the code can say: each run of `liverouter migrate` fills it in.
CREATE TABLE liverouter.providers (
    name           text PRIMARY KEY,
    label          text NOT NULL,
    secrets        text[] NOT NULL,
    secret_aliases text[] NOT NULL,
    base           text NOT NULL,
    base_alias     text NOT NULL,
    takes_ambient  boolean NOT NULL
);
COMMENT ON TABLE liverouter.providers IS
    'The providers of the liverouter that migrated last. Each run of `liverouter migrate` brings it up to date; nobody '
    'else writes it.';
COMMENT ON COLUMN liverouter.providers.name IS 'The value of llm_provider';
COMMENT ON COLUMN liverouter.providers.label IS 'Its name for people';
COMMENT ON COLUMN liverouter.providers.secrets IS
    'Names of its secrets; of several the first that is stored is the credential';
COMMENT ON COLUMN liverouter.providers.secret_aliases IS
    'Their short names inside an entry of llm_fallback_config, in the same order; empty for none';
COMMENT ON COLUMN liverouter.providers.base IS 'The setting that says where its calls go';
COMMENT ON COLUMN liverouter.providers.base_alias IS 'Its short name inside an entry; empty for none';
COMMENT ON COLUMN liverouter.providers.takes_ambient IS
    'Whether it can do without a secret, by the identity that its cloud knows a process''s machine by';

COMMENT ON COLUMN liverouter.active_config.provider IS 'As in liverouter.providers';
COMMENT ON COLUMN liverouter.desired_config.provider IS 'As in liverouter.providers';
COMMENT ON COLUMN liverouter.desired_config.credential_source IS
    'secret NAME where one is stored; else environment NAME, which each process must have, or ambient credentials where '
    'the provider takes them';

-- All roles may read it. The rest of the function is as the migrations before left it.
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('liverouter.install_roles()'::regprocedure),
        'SELECT ON liverouter.alembic_version', 'SELECT ON liverouter.alembic_version, liverouter.providers');
END $$;

DO $$
BEGIN
    COMMENT ON SCHEMA liverouter IS
        'Live LLM routing config: rows in, a live chat model out. Start with: SELECT * FROM liverouter.problems';
EXCEPTION WHEN insufficient_privilege THEN
    NULL;  -- an administrator made the schema for us and owns it
END $$;
COMMENT ON TABLE liverouter.alembic_version IS 'Which migration this schema is at; kept by `liverouter migrate`';
COMMENT ON COLUMN liverouter.alembic_version.version_num IS 'Name of the last migration';

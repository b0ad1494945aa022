CREATE TABLE liverouter.revision_log (
    revision         bigint      PRIMARY KEY,
    change_id        uuid        NOT NULL,
    kind             text        NOT NULL CONSTRAINT revision_log_kind CHECK (kind IN ('edit', 'rollback', 'rotate')),
    author_role      text        NOT NULL,
    author           text,
    application_name text,
    comment          text,
    committed_at     timestamptz NOT NULL,
    content          jsonb       NOT NULL,
    sealed           jsonb       NOT NULL
);

COMMENT ON TABLE liverouter.revision_log IS
    'Every revision with its whole content, the way back. Read it through the views revisions and revision_diff(a, '
    'b).';
COMMENT ON COLUMN liverouter.revision_log.revision IS 'Number of the revision';
COMMENT ON COLUMN liverouter.revision_log.change_id IS 'Identity of the change, as in liverouter.head';
COMMENT ON COLUMN liverouter.revision_log.kind IS
    'edit, rollback (old content restored) or rotate (secrets sealed anew)';
COMMENT ON COLUMN liverouter.revision_log.author_role IS 'Login role of the session that made it';
COMMENT ON COLUMN liverouter.revision_log.author IS 'The application''s user, where it said so (liverouter.author)';
COMMENT ON COLUMN liverouter.revision_log.application_name IS 'application_name of that session';
COMMENT ON COLUMN liverouter.revision_log.comment IS 'Why, where the writer said so (liverouter.comment)';
COMMENT ON COLUMN liverouter.revision_log.committed_at IS 'When it was committed, to within the commit itself';
COMMENT ON COLUMN liverouter.revision_log.content IS 'All settings of this revision: {key: value}';
COMMENT ON COLUMN liverouter.revision_log.sealed IS 'All secrets of it, sealed: {name: {"sealed", "fingerprint"}}';

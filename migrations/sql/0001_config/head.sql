CREATE TABLE liverouter.head (
    only_row     boolean     PRIMARY KEY DEFAULT true CONSTRAINT head_one_row CHECK (only_row),
    revision     bigint      NOT NULL,
    change_id    uuid        NOT NULL,
    committed_at timestamptz NOT NULL,
    xid          bigint      NOT NULL,
    xact_at      timestamptz NOT NULL
) WITH (fillfactor = 10);  -- one row, updated in place for ever

COMMENT ON TABLE liverouter.head IS
    'One row: the newest revision. Its lock puts writers in commit order, so no slower writer is ever overtaken.';
COMMENT ON COLUMN liverouter.head.only_row IS 'Always true: keeps the table at one row';
COMMENT ON COLUMN liverouter.head.revision IS
    'Number of the desired config; follows commit order, without gaps; 0 = nothing set yet';
COMMENT ON COLUMN liverouter.head.change_id IS
    'New with every change: tells two revisions of the same number apart after a restore or a failover';
COMMENT ON COLUMN liverouter.head.committed_at IS 'When the revision was committed, to within the commit itself';
COMMENT ON COLUMN liverouter.head.xid IS
    'Transaction that made the revision: further statements of it belong to the same revision';
COMMENT ON COLUMN liverouter.head.xact_at IS
    'Start of that transaction: a number alone could come again after a dump was restored elsewhere';

CREATE FUNCTION liverouter.keep_head() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the row of liverouter.head cannot be removed'
        USING ERRCODE = 'LR212', HINT = 'To go back, use: SELECT liverouter.rollback(revision)';
END $$;
COMMENT ON FUNCTION liverouter.keep_head() IS
    'Trigger: refuses to remove the head row, on whose lock every write depends';

CREATE TRIGGER head_is_kept BEFORE DELETE OR TRUNCATE ON liverouter.head
    FOR EACH STATEMENT EXECUTE FUNCTION liverouter.keep_head();

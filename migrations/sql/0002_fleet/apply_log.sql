CREATE TABLE liverouter.apply_log (
    revision    bigint           NOT NULL,
    instance    uuid             NOT NULL,
    outcome     text             NOT NULL,
    stage       text,
    finished_at timestamptz      NOT NULL,
    lag_ms      double precision,
    read_ms     double precision,
    validate_ms double precision,
    build_ms    double precision,
    warm_ms     double precision,
    code        text,
    message     text,
    PRIMARY KEY (revision, instance)
);

COMMENT ON TABLE liverouter.apply_log IS
    'What became of each revision in each process. Read it through the view rollout.';
COMMENT ON COLUMN liverouter.apply_log.revision IS 'The revision';
COMMENT ON COLUMN liverouter.apply_log.instance IS 'The process, as in processes';
COMMENT ON COLUMN liverouter.apply_log.outcome IS 'applied or rejected; the last one, where it was tried again';
COMMENT ON COLUMN liverouter.apply_log.stage IS 'live, or where it was refused: validate, build, warm';
COMMENT ON COLUMN liverouter.apply_log.finished_at IS 'When, by this database''s clock';
COMMENT ON COLUMN liverouter.apply_log.lag_ms IS
    'From commit until calls were first served by it; NULL where none was, or the process started after the commit';
COMMENT ON COLUMN liverouter.apply_log.read_ms IS 'Milliseconds of that for reading the rows';
COMMENT ON COLUMN liverouter.apply_log.validate_ms IS 'Milliseconds for validating them';
COMMENT ON COLUMN liverouter.apply_log.build_ms IS 'Milliseconds for building the router';
COMMENT ON COLUMN liverouter.apply_log.warm_ms IS 'Milliseconds for loading what the first call needs';
COMMENT ON COLUMN liverouter.apply_log.code IS 'Why it was rejected, LR101 for example';
COMMENT ON COLUMN liverouter.apply_log.message IS 'Why it was rejected, in words';

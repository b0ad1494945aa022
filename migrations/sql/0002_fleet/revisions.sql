CREATE VIEW liverouter.revisions WITH (security_barrier) AS
SELECT
    r.revision,
    date_trunc('second', r.committed_at) AS committed_at,
    coalesce(r.author, r.author_role) AS author,
    r.application_name AS application,
    r.kind,
    (SELECT string_agg(c.what, ', ' ORDER BY c.what) FROM (
        SELECT coalesce(x.key, y.key)
        FROM jsonb_each(p.content) x FULL JOIN jsonb_each(r.content) y ON y.key = x.key
        WHERE x.value IS DISTINCT FROM y.value
        UNION ALL
        SELECT 'secret ' || coalesce(x.key, y.key)
        FROM jsonb_each(p.sealed) x FULL JOIN jsonb_each(r.sealed) y ON y.key = x.key
        WHERE x.value IS DISTINCT FROM y.value) c (what)) AS changed,
    r.comment,
    r.author_role AS role
FROM liverouter.revision_log r
LEFT JOIN liverouter.revision_log p ON p.revision = r.revision - 1
ORDER BY r.revision DESC;

COMMENT ON VIEW liverouter.revisions IS
    'Who changed what, when, through which application, and why. What exactly: revision_diff(a, b). The way back: '
    'rollback(revision).';
COMMENT ON COLUMN liverouter.revisions.revision IS 'The revision, newest first';
COMMENT ON COLUMN liverouter.revisions.committed_at IS 'When it was committed';
COMMENT ON COLUMN liverouter.revisions.author IS 'The application''s user where it named one, else the login role';
COMMENT ON COLUMN liverouter.revisions.application IS 'Through which application: psql, liverouter set, ...';
COMMENT ON COLUMN liverouter.revisions.kind IS 'edit, rollback (old content restored) or rotate (secrets sealed anew)';
COMMENT ON COLUMN liverouter.revisions.changed IS 'Which settings and secrets differ from the revision before';
COMMENT ON COLUMN liverouter.revisions.comment IS 'Why, where the author said so';
COMMENT ON COLUMN liverouter.revisions.role IS 'Login role of the session';

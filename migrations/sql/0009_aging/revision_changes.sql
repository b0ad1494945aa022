-- What a revision changed is found out once, when it is made: whoever lists the history compares nothing.

CREATE TABLE liverouter.revision_changes (
    revision   bigint  PRIMARY KEY,
    changed    text,
    ours_alone boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE liverouter.revision_changes IS 'What each revision changed. Read it through the view revisions.';
COMMENT ON COLUMN liverouter.revision_changes.revision IS 'The revision, as in revision_log';
COMMENT ON COLUMN liverouter.revision_changes.changed IS
    'Which settings and secrets differ from the revision before; NULL for none';
COMMENT ON COLUMN liverouter.revision_changes.ours_alone IS
    'Whether the revision was made while settings held too many rows of other software, and so holds none of them';

CREATE FUNCTION liverouter.changes_between(
    old_content jsonb, old_sealed jsonb, new_content jsonb, new_sealed jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(c.what, ', ' ORDER BY c.what) FROM (
        SELECT coalesce(x.key, y.key)
        FROM jsonb_each(old_content) x FULL JOIN jsonb_each(new_content) y ON y.key = x.key
        WHERE x.value IS DISTINCT FROM y.value
        UNION ALL
        SELECT 'secret ' || coalesce(x.key, y.key)
        FROM jsonb_each(old_sealed) x FULL JOIN jsonb_each(new_sealed) y ON y.key = x.key
        WHERE x.value IS DISTINCT FROM y.value) c (what)
$$;
COMMENT ON FUNCTION liverouter.changes_between(jsonb, jsonb, jsonb, jsonb) IS
    'Names of the settings and secrets that differ between two revisions, each given by its content and sealed; NULL '
    'for none';

CREATE FUNCTION liverouter.changes_of(revision bigint) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT liverouter.changes_between(p.content, p.sealed, r.content, r.sealed)
    FROM liverouter.revision_log r LEFT JOIN liverouter.revision_log p ON p.revision = r.revision - 1
    WHERE r.revision = changes_of.revision
$$;
COMMENT ON FUNCTION liverouter.changes_of(bigint) IS
    'Part of view revisions: what a revision changed, where its transaction began before this was written down';

CREATE OR REPLACE FUNCTION liverouter.clean_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before     liverouter.revision_log%ROWTYPE;
    content    jsonb := NEW.content;
    ours_alone boolean := NOT liverouter.has_few_strangers();
BEGIN
    NEW.author := liverouter.clean_text(to_jsonb(NEW.author), 200);
    NEW.comment := liverouter.clean_text(to_jsonb(NEW.comment), 2000);
    NEW.application_name := liverouter.clean_text(to_jsonb(NEW.application_name), 100);
    SELECT * INTO before FROM liverouter.revision_log l WHERE l.revision = NEW.revision - 1;
    IF ours_alone IS DISTINCT FROM (
        SELECT c.ours_alone FROM liverouter.revision_changes c WHERE c.revision = NEW.revision - 1)
    THEN  -- rows of other software did not change: they left the history, or entered it
        before.content := liverouter.own_content(before.content);
        content := liverouter.own_content(content);
    END IF;
    INSERT INTO liverouter.revision_changes AS c (revision, changed, ours_alone) VALUES (
        NEW.revision, liverouter.changes_between(before.content, before.sealed, content, NEW.sealed), ours_alone)
        ON CONFLICT (revision) DO UPDATE SET changed = excluded.changed, ours_alone = excluded.ours_alone;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION liverouter.clean_revision() IS
    'Trigger: bounds what a writer says of itself, which it may set to anything, and keeps it on one line; writes down '
    'what the revision changed';

INSERT INTO liverouter.revision_changes (revision, changed)
    SELECT r.revision, liverouter.changes_between(p.content, p.sealed, r.content, r.sealed)
    FROM liverouter.revision_log r LEFT JOIN liverouter.revision_log p ON p.revision = r.revision - 1;

-- No security barrier: the view leaves no row out, so that nobody's function could see a hidden one, and LIMIT reaches
-- the index.
CREATE OR REPLACE VIEW liverouter.revisions AS
SELECT
    r.revision,
    date_trunc('second', r.committed_at) AS committed_at,
    coalesce(r.author, r.author_role) AS author,
    r.application_name AS application,
    r.kind,
    CASE WHEN c.revision IS NULL THEN liverouter.changes_of(r.revision) ELSE c.changed END AS changed,
    r.comment,
    r.author_role AS role
FROM liverouter.revision_log r
LEFT JOIN liverouter.revision_changes c ON c.revision = r.revision;
COMMENT ON COLUMN liverouter.revisions.revision IS 'The revision';

CREATE VIEW liverouter.secret_keys WITH (security_barrier) AS
SELECT k.key_id, count(*) FILTER (WHERE k.current) AS secrets, count(*) FILTER (WHERE NOT k.current) AS in_history
FROM (
    SELECT s.key_id, true FROM liverouter.secrets s
    UNION ALL
    SELECT split_part(e.value ->> 'sealed', ':', 2), false
    FROM liverouter.revision_log r CROSS JOIN LATERAL jsonb_each(r.sealed) e
) k (key_id, current)
GROUP BY k.key_id
ORDER BY 2 DESC, 3 DESC, 1;

COMMENT ON VIEW liverouter.secret_keys IS
    'How many values each key of the keyring has sealed. A key that is not listed here can leave '
    'LIVEROUTER_SECRET_KEYS.';
COMMENT ON COLUMN liverouter.secret_keys.key_id IS 'First eight hex digits of the key''s SHA-256';
COMMENT ON COLUMN liverouter.secret_keys.secrets IS 'Secrets in force that it sealed';
COMMENT ON COLUMN liverouter.secret_keys.in_history IS
    'Secrets of all revisions that it sealed: rollback needs it for them';

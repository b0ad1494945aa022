CREATE TABLE liverouter.secrets (
    name        text        PRIMARY KEY,
    sealed      text        NOT NULL,
    fingerprint text        NOT NULL,
    key_id      text        GENERATED ALWAYS AS (split_part(sealed, ':', 2)) STORED,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_by  text        NOT NULL DEFAULT session_user
);

COMMENT ON TABLE liverouter.secrets IS
    'Provider credentials, sealed (AES-256-GCM) with a key that PostgreSQL never sees. Written by `liverouter set '
    '--secret NAME` or the settings page. Every change makes a revision.';
COMMENT ON COLUMN liverouter.secrets.name IS
    'Name of the secret, anthropic_api_key for example; the seal is bound to it';
COMMENT ON COLUMN liverouter.secrets.sealed IS 'v1:<key id>:<nonce>:<ciphertext>; no view shows it';
COMMENT ON COLUMN liverouter.secrets.fingerprint IS
    'Eight hex digits that tell one secret from another without revealing it; the same secret has the same one '
    'everywhere';
COMMENT ON COLUMN liverouter.secrets.key_id IS
    'Which key of the keyring sealed it: the first eight hex digits of its SHA-256';
COMMENT ON COLUMN liverouter.secrets.updated_at IS 'When the secret last changed; kept by the database';
COMMENT ON COLUMN liverouter.secrets.updated_by IS
    'Who changed it: the application''s user (liverouter.author) where one was given, else the login role';

DROP FUNCTION
    liverouter.rollback(bigint, text), liverouter.revision_diff(bigint, bigint), liverouter.revision_of(bigint);
DROP TABLE liverouter.settings, liverouter.secrets, liverouter.head, liverouter.revision_log;
DROP FUNCTION
    liverouter.keep_head(), liverouter.epoch(), liverouter.settings_content(), liverouter.secrets_content(),
    liverouter.lock_head(), liverouter.bump_head(), liverouter.stamp_commit(), liverouter.stamp_row(),
    liverouter.begin_edit(bigint, text, text), liverouter.set_secret(text, text, text), liverouter.serves(text),
    liverouter.refuse_plain_secrets(), liverouter.refuse_unsealed(), liverouter.plain_secret(text, jsonb),
    liverouter.is_secret_reference(jsonb), liverouter.is_secret_name(text), liverouter.looks_like_key(text);

DROP TABLE liverouter.settings, liverouter.secrets, liverouter.head, liverouter.revision_log;
DROP FUNCTION
    liverouter.keep_head(), liverouter.epoch(), liverouter.begin_edit(bigint, text, text),
    liverouter.serves(text), liverouter.settings_content(), liverouter.secrets_content(),
    liverouter.lock_head(), liverouter.bump_head(), liverouter.stamp_commit(), liverouter.stamp_row();

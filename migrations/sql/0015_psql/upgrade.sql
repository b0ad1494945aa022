ALTER VIEW liverouter.rollout RENAME TO rollout_outcomes;
SELECT pg_temp.move('liverouter', 'liverouter_internal');
DROP FUNCTION pg_temp.move(text, text);

CREATE OR REPLACE VIEW liverouter.problems WITH (security_barrier) AS
SELECT DISTINCT p.severity, p.code, p.object, p.message, p.hint
FROM liverouter.problems_by_login p
ORDER BY p.severity, p.code, p.object, p.message;
DROP FUNCTION liverouter.find_problems();
COMMENT ON COLUMN liverouter.usage.minute IS 'Start of the minute, newest first';

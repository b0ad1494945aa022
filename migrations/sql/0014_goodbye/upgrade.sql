SELECT pg_temp.ask_fleet(true);
DROP FUNCTION pg_temp.ask_fleet(boolean);

-- For the time of a migration: long functions of which a line changes are not told again.
CREATE FUNCTION liverouter.change_function(signature regprocedure, old text, new text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    definition text := pg_get_functiondef(signature);
BEGIN
    IF strpos(definition, old) = 0 THEN
        RAISE EXCEPTION '% does not hold what is to be replaced: %', signature, old;
    END IF;
    EXECUTE replace(definition, old, new);
END $$;
COMMENT ON FUNCTION liverouter.change_function(regprocedure, text, text) IS
    'Part of migrations: replaces a piece of a function''s text; fails where the function does not hold it';

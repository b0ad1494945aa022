DROP FUNCTION liverouter.change_function(regprocedure, text, text);

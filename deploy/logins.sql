-- After `liverouter migrate`, as the schema's owner: a login for the page, and one for each service, with passwords of your own.
CREATE ROLE liverouter_page LOGIN PASSWORD 'change-me';
GRANT liverouter_client, liverouter_writer, liverouter_inspector TO liverouter_page;

CREATE ROLE answers LOGIN PASSWORD 'change-me';
GRANT liverouter_client TO answers;

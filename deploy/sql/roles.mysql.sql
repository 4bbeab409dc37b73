-- Who may do what in the ledger's database, on MySQL and MariaDB. Run it as root in that database:
--   mysql --database hotsku <roles.mysql.sql
-- The users must be there: CREATE USER hotsku_owner IDENTIFIED BY '...'; the same for the others. Running it again
-- changes nothing. "ON *" is the database that the client is in.

-- `hotsku migrate`.
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW ON * TO hotsku_owner;

-- Gateways and workers: rows, and no table. Rows are deleted only where they were copied first: by the archive.
GRANT SELECT, INSERT, UPDATE, DELETE ON * TO hotsku_app;

-- Whoever counts.
GRANT SELECT, SHOW VIEW ON * TO hotsku_read;

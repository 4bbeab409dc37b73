-- Who may do what in the ledger's database. Run it as a superuser in that database, before `hotsku migrate` or after:
--   psql --set ON_ERROR_STOP=1 --dbname hotsku --file roles.postgresql.sql
-- Running it again changes nothing. Then: ALTER ROLE hotsku_app PASSWORD '...'; the same for the others.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['hotsku_owner', 'hotsku_app', 'hotsku_read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', name);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;

-- `hotsku migrate`: the tables are its own.
GRANT USAGE, CREATE ON SCHEMA public TO hotsku_owner;

-- Gateways and workers: rows, and no table. Rows are deleted only where they were copied first: by the archive.
GRANT USAGE ON SCHEMA public TO hotsku_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO hotsku_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO hotsku_app;
ALTER DEFAULT PRIVILEGES FOR ROLE hotsku_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO hotsku_app;
ALTER DEFAULT PRIVILEGES FOR ROLE hotsku_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO hotsku_app;

-- Whoever counts.
GRANT USAGE ON SCHEMA public TO hotsku_read;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO hotsku_read;
ALTER DEFAULT PRIVILEGES FOR ROLE hotsku_owner IN SCHEMA public GRANT SELECT ON TABLES TO hotsku_read;

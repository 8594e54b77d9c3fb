-- Run once by the postgres image, as its superuser, on an empty data folder.
-- The writer owns its database and makes the role that reads (`prejoin migrate`); it is no superuser.
\getenv writer_password WRITER_PASSWORD
CREATE ROLE prejoin LOGIN CREATEROLE PASSWORD :'writer_password';
CREATE DATABASE prejoin OWNER prejoin;
REVOKE TEMPORARY ON DATABASE prejoin FROM PUBLIC;

-- Every role may take advisory locks (the writer's among them), make large objects and log messages: none but the writer.
\connect prejoin
DO $$
DECLARE f regprocedure;
BEGIN
  FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
    AND proname ~ '^(pg_(try_)?advisory_|lo_|pg_logical_emit_message|lowrite|loread)'
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO prejoin', f);
  END LOOP;
END $$;

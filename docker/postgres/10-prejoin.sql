-- Run once by the postgres image, as its superuser, on an empty data folder.
-- The writer owns its database and makes the role that reads (`prejoin migrate`); it is no superuser.
\getenv writer_password WRITER_PASSWORD
CREATE ROLE prejoin LOGIN CREATEROLE PASSWORD :'writer_password';
CREATE DATABASE prejoin OWNER prejoin;
REVOKE TEMPORARY ON DATABASE prejoin FROM PUBLIC;

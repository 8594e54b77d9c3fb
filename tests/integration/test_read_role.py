"""The role of the read API: it can write nothing, and read nothing but what is served."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from projector.store.names import schemas
from projector.store.tables import READABLE
from tests.world import World, world

REFUSED = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)


@pytest.fixture(scope="module")
def shop(database_url: str, read_database_url: str) -> Iterator[World]:
    with world(database_url, read_url=read_database_url) as made:
        yield made


@pytest.fixture(params=["as it comes", "having set read-only off"])
def reader(shop: World, read_database_url: str, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    path = ", ".join(f'"{schema}"' for schema in schemas(shop.group))
    with psycopg.connect(read_database_url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {path}")
        if request.param != "as it comes":
            connection.execute("SET default_transaction_read_only = off")
        yield connection


def refused(reader: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(REFUSED):
        reader.execute(statement)


WRITES = [
    "INSERT INTO {table} (order_id) VALUES ('x')",
    "UPDATE {table} SET status = 'paid'",
    "UPDATE {table} SET order_id = order_id WHERE false",
    "DELETE FROM {table}",
    "DELETE FROM {table} WHERE false",
    "TRUNCATE {table}",
    "MERGE INTO {table} AS t USING (SELECT 'x' AS k) AS s ON t.order_id = s.k WHEN MATCHED THEN DELETE",
    "COPY {table} (order_id) FROM STDIN",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/prejoin-reader'",
    "DO $$BEGIN LOCK TABLE {table} IN ROW EXCLUSIVE MODE; END$$",
    "SELECT order_id FROM {table} FOR UPDATE",
    "ALTER TABLE {table} ADD COLUMN x int",
    "DROP TABLE {table}",
    "CREATE INDEX ON {table} (status)",
    "CREATE TRIGGER t BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON UPDATE TO {table} DO INSTEAD NOTHING",
    "COMMENT ON TABLE {table} IS 'x'",
    "GRANT SELECT ON {table} TO PUBLIC",
    "CREATE TABLE {group}.x (y int)",
    "CREATE TABLE {group}_views.x (y int)",
    "CREATE TABLE {group}_entities.x (y int)",
    "CREATE TABLE public.x (y int)",
    "CREATE UNLOGGED TABLE x (y int)",
    "CREATE TEMPORARY TABLE x (y int)",
    "CREATE TEMPORARY VIEW x AS SELECT 1",
    "CREATE TEMPORARY SEQUENCE x",
    "SELECT 1 AS x INTO TEMPORARY x",
    "CREATE VIEW {group}_views.x AS SELECT 1",
    "CREATE MATERIALIZED VIEW public.x AS SELECT 1",
    "CREATE SEQUENCE public.x",
    "CREATE FUNCTION public.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE public.x AS ENUM ('y')",
    "CREATE DOMAIN public.x AS int",
    "CREATE SCHEMA x",
    "CREATE ROLE x",
    "CREATE DATABASE x",
    "CREATE EXTENSION pg_trgm",
    "CREATE PUBLICATION x FOR ALL TABLES",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "SELECT nextval('revisions')",
    "SELECT setval('revisions', 1)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_switch_wal()",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_xact_lock(1)",
    "SELECT pg_logical_emit_message(true, 'x', 'y')",
]  # fmt: skip


@pytest.mark.parametrize("statement", WRITES)
def test_each_kind_of_write_is_refused(shop: World, reader: psycopg.Connection[Any], statement: str) -> None:
    refused(reader, statement.format(table=shop.table("order_overview"), group=shop.group))


def test_it_cannot_become_another_role(reader: psycopg.Connection[Any], database_url: str) -> None:
    writer = psycopg.conninfo.conninfo_to_dict(database_url)["user"]
    refused(reader, f'SET ROLE "{writer}"')
    refused(reader, f'SET SESSION AUTHORIZATION "{writer}"')


def test_of_all_tables_it_reads_what_is_served_and_the_state_of_the_group_alone(
    shop: World, reader: psycopg.Connection[Any]
) -> None:
    everything = shop.fetch(
        "SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'v', 'm', 'p', 'S') AND n.nspname = ANY(%s)",
        list(schemas(shop.group)),
    )
    served = {shop.table(relation.name) for relation in shop.projections.served}
    allowed, forbidden = set(), set()
    for schema, name in everything:
        try:
            reader.execute(f'SELECT count(*) FROM "{schema}"."{name}"')
            allowed.add(name)
        except errors.InsufficientPrivilege:
            forbidden.add(name)
    assert allowed == served | set(READABLE)
    entities = {t.name for e in shop.projections.entities for t in [e.table, *(c.table for c in e.children)]}
    hidden = {shop.table(r.name) for r in shop.projections.relations if r.path is None}
    engine = {"dead_letters", "journals", "journal_records", "pending", "changes_default", "migrations"}
    assert entities
    assert hidden
    assert entities | hidden | engine <= forbidden


def test_of_a_served_table_it_reads_the_served_columns_alone(shop: World, reader: psycopg.Connection[Any]) -> None:
    hidden = 0
    for relation in shop.projections.served:
        table = shop.table(relation.name)
        served = [c.name for c in relation.columns]
        reader.execute(f"SELECT {', '.join(served)} FROM {table}")
        for column in relation.table.c:
            if column.name not in served:
                hidden += 1
                refused(reader, f'SELECT "{column.name}" FROM {table}')
                refused(reader, f'SELECT 1 FROM {table} WHERE "{column.name}" IS NULL')
        if any(c.name.startswith("_") for c in relation.table.c):
            refused(reader, f"SELECT * FROM {table}")
            refused(reader, f"SELECT {table} FROM {table}")
    assert hidden


def test_it_cannot_read_how_rows_are_distributed_in_hidden_columns(
    shop: World, reader: psycopg.Connection[Any]
) -> None:
    shop.execute("ANALYZE")
    seen = reader.execute("SELECT tablename FROM pg_stats WHERE schemaname = %s", [schemas(shop.group)[1]]).fetchall()
    assert seen == []


def test_its_sessions_are_read_only_and_bounded_in_time(read_database_url: str) -> None:
    with psycopg.connect(read_database_url, autocommit=True) as connection:
        shown = connection.execute(
            "SELECT current_setting('default_transaction_read_only'), current_setting('statement_timeout')"
        ).fetchone()
        assert shown == ("on", "10s")


def test_it_is_no_member_of_anything_and_has_no_attribute(shop: World, read_database_url: str) -> None:
    role = psycopg.conninfo.conninfo_to_dict(read_database_url)["user"]
    attributes = shop.fetch(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,"
        " EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid) FROM pg_roles WHERE rolname = %s",
        role,
    )
    assert attributes == [(False,) * 6]

"""The read-only role: SELECT on what is served, and nothing else."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from projector.declare.sql import quoted
from projector.declare.view import Relation
from projector.errors import PrejoinError
from projector.store.names import generation_name, schemas
from projector.store.tables import READABLE

SETTINGS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}


def grant_reading(
    connection: Connection, read_url: str, group: str, relations: Sequence[Relation], served: dict[str, int]
) -> list[str]:
    """Create the reading address's role if it is missing, and let it read what is served. Returns what was done."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    address = urlsplit(read_url)
    role, password = unquote(address.username or ""), unquote(address.password or "")
    if not role:
        raise PrejoinError("PREJOIN_READ_DATABASE_URL names no user: write postgresql://user:password@host/database")
    if role == driver.info.user:
        raise PrejoinError(f"PREJOIN_READ_DATABASE_URL names {role}, the writer: give the API a role of its own")
    done = _ensure_role(driver, role, password)
    _refuse_temporary_tables(driver)
    engine, _, views = schemas(group)
    for schema in (engine, views):
        driver.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), sql.Identifier(role)))
    for name in READABLE:
        table = sql.Identifier(engine, name)
        driver.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table, sql.Identifier(role)))
    for relation in relations:
        let_read(driver, role, group, relation, served[relation.name])
    return done


def let_read(
    driver: psycopg.Connection[tuple[object, ...]], role: str, group: str, relation: Relation, generation: int
) -> None:
    """Let the role read what is served of one generation."""
    table = sql.Identifier(schemas(group)[2], generation_name(relation.name, generation))
    columns = sql.SQL(", ").join(sql.Identifier(c.name) for c in relation.columns)
    driver.execute(sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(columns, table, sql.Identifier(role)))


# By column, as `let_read` grants it, and for a whole table, as somebody may have granted it by hand.
_SAME = """
SELECT format('GRANT SELECT %%s ON %%s TO %%s', columns, %(new)s::text,
  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
FROM (
  SELECT acl.grantee, '' FROM pg_class AS c, aclexplode(relacl) AS acl
  WHERE c.oid = to_regclass(%(old)s) AND privilege_type = 'SELECT' AND acl.grantee <> relowner
  UNION ALL
  SELECT acl.grantee, '(' || string_agg(quote_ident(attname), ', ') || ')'
  FROM pg_attribute, aclexplode(attacl) AS acl
  WHERE attrelid = to_regclass(%(old)s) AND privilege_type = 'SELECT'
    AND attname IN (SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%(new)s)) GROUP BY acl.grantee
) AS granted (grantee, columns)
"""
# Whoever may read which generations are served reads for the API.
_READERS = """
SELECT format('GRANT SELECT (%%s) ON %%s TO %%s',
  (SELECT string_agg(quote_ident(c), ', ') FROM unnest(%(columns)s::text[]) AS c), %(new)s::text,
  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
FROM pg_class, aclexplode(relacl) AS acl
WHERE oid = 'served'::regclass AND privilege_type = 'SELECT' AND grantee <> relowner
"""


def let_the_same_read(cursor: psycopg.Cursor[Any], old: str, new: str) -> None:
    """Let whoever may read one table read the same columns of another, as far as that has them."""
    for (grant,) in cursor.execute(_SAME, {"old": quoted(old), "new": quoted(new)}).fetchall():
        cursor.execute(grant)


def let_readers_read(cursor: psycopg.Cursor[Any], relation: Relation, generation: int) -> None:
    """Let the reading roles read what is served of a generation whose definition is another than the one before."""
    columns, new = [c.name for c in relation.columns], quoted(generation_name(relation.name, generation))
    for (grant,) in cursor.execute(_READERS, {"columns": columns, "new": new}).fetchall():
        cursor.execute(grant)


def _ensure_role(driver: psycopg.Connection[tuple[object, ...]], role: str, password: str) -> list[str]:
    if driver.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
        return []
    # hashed here, so that the password appears in no log of the server
    secret = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    try:
        driver.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOINHERIT PASSWORD {}").format(sql.Identifier(role), sql.Literal(secret))
        )
    except psycopg.errors.InsufficientPrivilege:
        raise PrejoinError(
            f"the reading role {role} does not exist and {driver.info.user} may not create it: create it, or give "
            f"{driver.info.user} CREATEROLE"
        ) from None
    for name, value in SETTINGS.items():
        setting = sql.SQL("ALTER ROLE {} SET {} = {}")
        driver.execute(setting.format(sql.Identifier(role), sql.Identifier(name), sql.Literal(value)))
    return [f"create the reading role {role}"]


def _refuse_temporary_tables(driver: psycopg.Connection[tuple[object, ...]]) -> None:
    """Postgres lets everybody make temporary tables: in a database of ours its owner alone may."""
    row = driver.execute(
        "SELECT datname FROM pg_database WHERE datname = current_database()"
        " AND pg_has_role(datdba, 'USAGE') AND has_database_privilege('public', oid, 'TEMPORARY')"
    ).fetchone()
    if row is not None:
        driver.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(str(row[0]))))

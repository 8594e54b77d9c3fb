"""Entity tables brought to what their states declare, in place: rows folded before stay as they are."""

from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Table, Text, inspect, literal
from sqlalchemy.dialects import postgresql

from projector.declare.entity import Entity
from projector.declare.sql import plain, quoted, type_name
from projector.errors import OutOfDate
from projector.store.definitions import entity_tables, index_ddl, indexing, table_ddl

# One type may be spelled in several ways: FLOAT is DOUBLE PRECISION.
_SAME_TYPE = """
SELECT format_type(to_regtype(a), to_regtypemod(a)) = format_type(to_regtype(b), to_regtypemod(b))
FROM (VALUES (%(there)s::text, %(declared)s::text)) AS types (a, b)
"""


def bring_along(connection: Connection, schema: str, entity: Entity[Any], drop: bool = True) -> list[str]:
    """Create or alter the entity's tables; returns what was done. Raises OutOfDate for what cannot be done in place.

    What is done leaves workers of the release before able to write. Without `drop` they keep their indexes, too.
    """
    done = []
    states = [entity.state, *(child.state for child in entity.children)]
    for table, state in zip(entity_tables(entity), states, strict=True):
        if inspect(connection).has_table(table.name, schema):
            done += _alter(connection, schema, table, _defaults(state))
        else:
            connection.exec_driver_sql(table_ddl(table, schema))
            done.append(f"create entity table {table.name}")
        done += _index(connection, schema, table, drop)
    return done


def _alter(connection: Connection, schema: str, table: Table, defaults: dict[str, Any]) -> list[str]:
    have = {column["name"]: column for column in inspect(connection).get_columns(table.name, schema)}
    alter, done = f"ALTER TABLE {quoted(schema)}.{quoted(table.name)}", []
    for column in table.c:
        name = f"{table.name}.{column.name}"
        there = have.pop(column.name, None)
        if there is None:
            connection.exec_driver_sql(f"{alter} ADD COLUMN {_column(column, name, defaults)}")
            done.append(f"add column {name}")
        elif not _same(connection, kind := _type_there(connection, there["type"]), type_name(column)):
            raise OutOfDate(
                f"{name} is {kind}, declared {type_name(column)}: a type cannot change in place; declare a new field"
            )
        elif column.nullable and not there["nullable"]:
            have[column.name] = there
    for name, there in have.items():  # what may be null now, and what is no longer written
        if not there["nullable"]:
            connection.exec_driver_sql(f"{alter} ALTER COLUMN {quoted(name)} DROP NOT NULL")
            done.append(f"let {table.name}.{name} be null")
    return done


def _type_there(connection: Connection, kind: Any) -> str:
    return str(kind.compile(connection.dialect)).split(" COLLATE")[0]


def _same(connection: Connection, there: str, declared: str) -> bool:
    if there == declared:
        return True
    types = {"there": there, "declared": declared}
    return bool(connection.exec_driver_sql(_SAME_TYPE, types).scalar())


def _column(column: Column[Any], name: str, defaults: dict[str, Any]) -> str:
    kind = f"{quoted(column.name)} {column.type.compile(dialect=postgresql.dialect())}"  # type: ignore[no-untyped-call]
    if column.nullable:
        return kind
    if column.name not in defaults:
        raise OutOfDate(f"{name} is new and rows folded before have none: give the field a default, or `| None`")
    return f"{kind} NOT NULL DEFAULT {_literal(defaults[column.name], column)}"


def _literal(value: Any, column: Column[Any]) -> str:
    """DDL takes no parameters; these values come from declarations, never from data."""
    if isinstance(column.type, postgresql.JSONB):
        return plain(literal(msgspec.json.encode(value).decode(), Text()))
    return plain(literal(value, column.type))


def _defaults(state: type[Any]) -> dict[str, Any]:
    fields = msgspec.structs.fields(state)
    plain_ones = {f.name: f.default for f in fields if f.default is not msgspec.NODEFAULT}
    made = {f.name: f.default_factory() for f in fields if f.default_factory is not msgspec.NODEFAULT}
    return plain_ones | made


def _index(connection: Connection, schema: str, table: Table, drop: bool) -> list[str]:
    have = {index["name"] for index in inspect(connection).get_indexes(table.name, schema)}
    declared = {str(index.name): index for index in table.indexes}
    others = have - declared.keys() if drop else ()
    gone = sorted(name for name in others if name is not None and name.startswith("ix_"))
    for name in gone:
        connection.exec_driver_sql(f"DROP INDEX {quoted(schema)}.{quoted(name)}")
    missing = sorted(declared.keys() - have)
    for name in missing:
        with indexing(ddl := index_ddl(declared[name])):
            connection.exec_driver_sql(ddl)
    return [*(f"drop index {name}" for name in gone), *(f"create index {name}" for name in missing)]

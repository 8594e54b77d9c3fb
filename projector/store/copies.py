"""Copies of a group made from its log: entities and views of their own, to be switched to or kept as a snapshot.

A copy is a group of its own (`prejoin$7`): engine tables and entities in schemas of that name, its views as generations
among those of the group it is of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from sqlalchemy import inspect

from projector.declare.projections import Projections
from projector.errors import PrejoinError
from projector.store import generations
from projector.store.connect import engine
from projector.store.definitions import declarations_digest, entity_tables, relation_digests, table_ddl
from projector.store.migrate import upgrade_engine
from projector.store.names import SNAPSHOT_NAME, copy_group, schemas

_COLUMNS = "id, name, until, phase, generations, declared"
_REGISTER = f"""
INSERT INTO copies (name, until, state, phase, generations, declared, runner)
VALUES (%(name)s, %(until)s, 'building', 'replaying', %(generations)s, %(declared)s, %(runner)s) RETURNING {_COLUMNS}
"""
_GENERATION = """
INSERT INTO generations (relation, generation, version, digest, state)
SELECT %(relation)s, coalesce(max(generation), 0) + 1, %(version)s, %(digest)s, 'copy' FROM generations
WHERE relation = %(relation)s RETURNING generation
"""
_TELL = "UPDATE copies SET phase = %s, done = %s, total = %s, runner = %s, beat_at = now() WHERE id = %s"
_BEGIN = "INSERT INTO positions (topic, partition, next, topic_id) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
_BEGUN = "SELECT topic, partition, topic_id FROM {copy}.positions"
_IN_STATE = f"SELECT {_COLUMNS} FROM copies WHERE state = %s ORDER BY id"
# Aggregates whose events are past the time of a snapshot; and where the log begins that a copy is made from.
_MORE = [
    'CREATE TABLE IF NOT EXISTS past (entity text, aggregate text COLLATE "C", PRIMARY KEY (entity, aggregate))',
    "CREATE TABLE IF NOT EXISTS reaches (topic text, partition int, start bigint, PRIMARY KEY (topic, partition))",
]
_REACHES = "INSERT INTO reaches (topic, partition, start) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"

Cursor = psycopg.Cursor[Any]


@dataclass(frozen=True)
class Copy:
    """One copy. `until`: a snapshot's time; `generations`: relation → the generation that is its."""

    id: int
    name: str | None
    until: datetime | None
    phase: str
    generations: dict[str, int]
    declared: str


def register(cursor: Cursor, projections: Projections, name: str | None, until: datetime | None) -> Copy:
    """Note that a copy is made, and take a new generation of each relation for it."""
    taken, digests = dict[str, int](), relation_digests(projections)
    for relation in projections.relations:
        of = {"relation": relation.name, "version": relation.version, "digest": digests[relation.name]}
        (taken[relation.name],) = cursor.execute(_GENERATION, of).fetchone() or (0,)
    values = {"name": name, "until": until, "generations": Jsonb(taken), "runner": generations.this_process()}
    values["declared"] = declarations_digest(projections)
    with cursor.connection.cursor(row_factory=class_row(Copy)) as named:
        made = named.execute(_REGISTER, values).fetchone()
    assert made is not None
    return made


def in_state(connection: psycopg.Connection[Any], state: str) -> list[Copy]:
    """The group's copies that are `building`, a `snapshot`, or `replaced`, which hold the entities of before."""
    with connection.cursor(row_factory=class_row(Copy)) as cursor:
        return cursor.execute(_IN_STATE, (state,)).fetchall()


def is_made(connection: psycopg.Connection[Any], copy: Copy) -> bool:
    """Whether a copy is served, or kept as a snapshot: its last COMMIT may be one whose answer was lost."""
    kept = any(each.id == copy.id for each in in_state(connection, "snapshot"))
    return kept or copy.generations.items() <= generations.served(connection).items()


def tell(connection: psycopg.Connection[Any], copy: Copy, phase: str, done: int = 0, total: int | None = None) -> None:
    """Note how far a copy is, for those who look from elsewhere."""
    connection.execute(_TELL, (phase, done, total, generations.this_process(), copy.id))


def begun(connection: psycopg.Connection[Any], group: str, copy: Copy) -> dict[tuple[str, int], str | None]:
    """The partitions that a copy reads, and the id that the topic of each had when that was begun."""
    query = sql.SQL(_BEGUN).format(copy=sql.Identifier(copy_group(group, copy.id)))
    try:
        return {(topic, partition): topic_id for topic, partition, topic_id in connection.execute(query)}
    except psycopg.errors.UndefinedTable:  # registered, and no more
        return {}


def prepare(
    url: str,
    group: str,
    projections: Projections,
    copy: Copy,
    starts: Mapping[Any, int],
    topic_ids: Mapping[str, str],
) -> None:
    """Make the copy's schemas, engine tables and entity tables, without indexes, and its positions; what is there
    of an interrupted run stays.
    """
    own = copy_group(group, copy.id)
    database = engine(url, own)
    try:
        with database.begin() as connection:
            for schema in schemas(own)[:2]:
                connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            upgrade_engine(connection, own)
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            with driver.cursor() as cursor:
                for table in (t for entity in projections.entities for t in entity_tables(entity)):
                    if not inspect(connection).has_table(table.name, schemas(own)[1]):
                        cursor.execute(table_ddl(table, schemas(own)[1]))
                for statement in _MORE:
                    cursor.execute(statement)
                cursor.execute("UPDATE projection_group SET declarations = %s", (declarations_digest(projections),))
                begin = [(*place, at, topic_ids.get(place[0])) for place, at in starts.items()]
                cursor.executemany(_BEGIN, begin)
                cursor.executemany(_REACHES, [place for *place, _ in begin])
    finally:
        database.dispose()


def drop(cursor: Cursor, group: str, order: Sequence[str], copy: Copy) -> list[str]:
    """Drop a copy with all that is its, views last read first (`order`: relations in dependency order)."""
    its = copy.generations
    dropped = [generations.drop(cursor, name, its[name]) for name in reversed(order) if name in its]
    drop_schemas(cursor, group, copy)
    cursor.execute("DELETE FROM copies WHERE id = %s", (copy.id,))
    return dropped


def drop_schemas(cursor: Cursor, group: str, copy: Copy) -> None:
    """Drop all of a copy but its views."""
    for schema in schemas(copy_group(group, copy.id))[:2]:
        cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def drop_unread(connection: psycopg.Connection[Any], group: str, order: Sequence[str], copy: Copy) -> list[str]:
    """Drop a copy once nobody reads it; returns its views' tables. Raises PrejoinError where somebody goes on reading.

    Readers that come while it waits would wait behind it: so it tries for a moment at a time.
    """
    return generations.when_unread(connection, lambda cursor: drop(cursor, group, order, copy))


def refuse_name(name: str) -> None:
    """Raise PrejoinError for what cannot name a snapshot."""
    if not SNAPSHOT_NAME.fullmatch(name):
        raise PrejoinError(f"{name!r} cannot name a snapshot: letters, digits, _ . -, at most 63, the first no sign")

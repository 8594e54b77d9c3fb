"""Copies of views that nobody refreshes: kept, snapshots, or being built. An erasure blanks them by itself."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import psycopg

from projector.declare.personal import Personal
from projector.declare.projections import Projections
from projector.declare.sql import quoted
from projector.store.definitions import relation_digests
from projector.store.names import generation_name

PORTION = 5_000  # rows of one copy blanked in a transaction, which batches wait for

_COPIES = """
SELECT relation, generation, state, digest FROM generations
JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(relation || '__g' || generation))
WHERE state IN ('kept', 'building', 'snapshot') AND c.relkind IN ('r', 'p') ORDER BY relation, generation
"""
_BLANK = """
UPDATE {table} SET {blank} WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM {table} WHERE {owner} = ANY(%(keys)s) AND num_nonnulls({columns}) > 0 LIMIT {most}{locks}))
"""
# Entities of copies made from the log, being made or replaced: who makes one blanks what is locked here.
_MADE = """
SELECT format('%%I.%%I', schema, %(table)s::text)
FROM (SELECT current_schema() || '$' || id || '_entities' AS schema FROM copies WHERE state IN ('building', 'replaced'))
WHERE to_regclass(format('%%I.%%I', schema, %(table)s::text)) IS NOT NULL
"""
_UNLOCKED = " FOR UPDATE SKIP LOCKED"
_COPIED = """
SELECT relation, generation, digest FROM generations
JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(relation || '__g' || generation))
WHERE state = 'copy' AND c.relkind IN ('r', 'p') ORDER BY relation, generation
"""
_EMPTY = "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} LIMIT {most}))"


class Copies:
    """The statements that blank what is personal in copies of views."""

    def __init__(self, projections: Projections, personal: dict[str, list[Personal]]) -> None:
        self._personal, self._digests = personal, relation_digests(projections)
        self._entities = {entity.name: entity for entity in projections.personal.values()}

    def blank(self, cursor: psycopg.Cursor[Any], entity: str, keys: Collection[str]) -> tuple[Counter[str], bool]:
        """Blank the rows of these aggregates, a portion of each copy; returns rows by table, and whether it was all."""
        touched, whole = Counter[str](), True
        for table, statement in self._statements(cursor, entity):
            rows = cursor.execute(statement, {"keys": list(keys)}).rowcount
            whole = whole and rows < PORTION
            touched[table] += rows
        return +touched, whole

    def _statements(self, cursor: psycopg.Cursor[Any], entity: str) -> Iterator[tuple[str, str]]:
        for relation, generation, state, digest in cursor.execute(_COPIES).fetchall():
            name = generation_name(relation, generation)
            known = self._digests.get(relation) == digest
            theirs = [p for p in self._personal.get(relation, ()) if p.entity == entity] if known else []
            for personal in (p for p in theirs if p.owner is not None):
                yield name, _blanking(quoted(name), personal.columns, personal.owner or "")
            # Made by another definition, or without a column that tells whose a row is: nothing of it may stay. What is
            # being built by this one needs all its rows; those of the aggregates are marked, and refreshed.
            if not known or (state != "building" and any(p.owner is None for p in theirs)):
                yield name, _EMPTY.format(table=quoted(name), most=PORTION)
        yield from self._of_copies(cursor, entity)

    def _of_copies(self, cursor: psycopg.Cursor[Any], name: str) -> Iterator[tuple[str, str]]:
        """What copies made from the log have of an entity: its rows, and those of views that are not yet kept."""
        for relation, generation, digest in cursor.execute(_COPIED).fetchall():
            if self._digests.get(relation) == digest:
                for personal in (
                    p for p in self._personal.get(relation, ()) if p.entity == name and p.owner is not None
                ):
                    table = generation_name(relation, generation)
                    yield table, _blanking(quoted(table), personal.columns, personal.owner or "", _UNLOCKED)
        entity = self._entities[name]
        for (table,) in cursor.execute(_MADE, {"table": entity.table.name}).fetchall():
            assert entity.erasure is not None
            yield table, _blanking(table, entity.erasure.fields, entity.key, _UNLOCKED)


def _blanking(table: str, blank: Iterable[str], owner: str, locks: str = "") -> str:
    columns = [quoted(column) for column in blank]
    return _BLANK.format(
        table=table,
        blank=", ".join(f"{column} = NULL" for column in columns),
        owner=quoted(owner),
        columns=", ".join(columns),
        most=PORTION,
        locks=locks,
    )

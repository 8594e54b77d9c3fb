"""Copies of views that nobody refreshes: served before, or being built. An erasure blanks them by itself."""

from collections import Counter
from collections.abc import Collection, Iterator
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
WHERE state IN ('kept', 'building') AND c.relkind IN ('r', 'p') ORDER BY relation, generation
"""
_BLANK = """
UPDATE {table} SET {blank} WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM {table} WHERE {owner} = ANY(%(keys)s) AND num_nonnulls({columns}) > 0 LIMIT {most}))
"""
_EMPTY = "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} LIMIT {most}))"


class Copies:
    """The statements that blank what is personal in copies of views."""

    def __init__(self, projections: Projections, personal: dict[str, list[Personal]]) -> None:
        self._personal, self._digests = personal, relation_digests(projections)

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
                yield name, _blanking(name, personal)
            # Made by another definition, or without a column that tells whose a row is: nothing of it may stay. What is
            # being built by this one needs all its rows; those of the aggregates are marked, and refreshed.
            if not known or (state == "kept" and any(p.owner is None for p in theirs)):
                yield name, _EMPTY.format(table=quoted(name), most=PORTION)


def _blanking(name: str, personal: Personal) -> str:
    columns = [quoted(column) for column in personal.columns]
    return _BLANK.format(
        table=quoted(name),
        blank=", ".join(f"{column} = NULL" for column in columns),
        owner=quoted(personal.owner or ""),
        columns=", ".join(columns),
        most=PORTION,
    )

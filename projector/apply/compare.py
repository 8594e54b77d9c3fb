"""Stored rows beside what their definition says: the statement that compares a range of keys, and ranges to compare.

Over the entities alone a row is judged wherever it stands, and what it costs may follow the entities. Over what the
relation reads, as that is stored, it costs what the range costs, and drift shows beside the row it came from, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Column

from projector.apply.refresh import Condition, restricted
from projector.declare.projections import Projections, reads
from projector.declare.shape import Scope, shape_of
from projector.declare.sql import in_range, quoted, render, substitute, type_name
from projector.declare.view import Relation, Rollup, View
from projector.store.definitions import whole_query
from projector.store.names import generation_name, generation_table
from projector.store.sampling import random_keys

LISTED = 100_000  # differences that one statement lists; it counts them all

Generations = Mapping[str, int]
Cursor = psycopg.Cursor[Any]

SERVED = """
SELECT (SELECT coalesce(jsonb_object_agg(relation, generation), '{}') FROM served),
       EXISTS (SELECT FROM pending JOIN served USING (relation, generation))
"""
_COMPARE = """
WITH expected AS MATERIALIZED ({expected}),
stored AS MATERIALIZED (SELECT {columns} FROM {table} s WHERE {condition}),
both_sides AS (
  SELECT {key} AS key, coalesce(e.{first}, s.{first})::text AS first,
         CASE WHEN e._there AND s._there THEN {differing} ELSE '{{}}' END AS columns,
         CASE WHEN s._there IS NULL THEN 'missing' WHEN e._there IS NULL THEN 'extra' ELSE 'different' END AS kind
  FROM (SELECT *, true AS _there FROM expected) e
  FULL JOIN (SELECT *, true AS _there FROM stored) s ON {key_e} = {key_s}
),
wrong AS MATERIALIZED (SELECT * FROM both_sides WHERE kind <> 'different' OR cardinality(columns) > 0)
SELECT (SELECT count(*) FROM stored), (SELECT count(*) FROM wrong),
  (SELECT coalesce(jsonb_agg(jsonb_build_array(key, first, kind, columns) ORDER BY key), '[]')
   FROM (SELECT * FROM wrong ORDER BY key LIMIT {listed}) AS l)
"""


class Compared(NamedTuple):
    """Rows stored, how many keys differ, and of those the first: `[key, first key column, kind, columns]`."""

    rows: int
    different: int
    listed: list[Any]


class KeySource(NamedTuple):
    """A table and its column that a relation's first key column comes from, an index on it."""

    table: str
    column: str


class Comparing:
    """Statements over one package's relations, each made once."""

    def __init__(self, projections: Projections) -> None:
        self._projections = projections
        self._made: dict[tuple[Any, ...], str] = {}

    def ranged(self, cursor: Cursor, relation: Relation, served: Generations, low: Any, high: Any) -> Compared:
        """Compare `low < first key column <= high` with the entities; a virtual view with what it is made from."""
        return self._compare(cursor, relation, served, not relation.stored, {"low": low, "high": high})

    def nearby(self, cursor: Cursor, relation: Relation, served: Generations, low: Any, high: Any) -> Compared:
        """Compare such a range with what the relation reads, as that is stored."""
        return self._compare(cursor, relation, served, True, {"low": low, "high": high})

    def _compare(
        self, cursor: Cursor, relation: Relation, served: Generations, nearby: bool, bounds: Mapping[str, Any]
    ) -> Compared:
        at = (relation.name, nearby, *sorted(served.items()))
        if at not in self._made:
            self._made[at] = self.statement(relation, served, in_range, nearby)
        # not prepared: a plan for any bounds is a bad one for these
        return Compared(*(cursor.execute(self._made[at], bounds, prepare=False).fetchone() or (0, 0, [])))

    def statement(self, relation: Relation, served: Generations, condition: Condition, nearby: bool = False) -> str:
        """SQL of one `Compared`, of the rows whose first key column meets the condition."""
        columns = [quoted(c.name) for c in relation.table.c]
        others = [c for c in relation.table.c if c.name not in relation.key]
        differing = ", ".join(
            f"CASE WHEN e.{quoted(c.name)} IS DISTINCT FROM s.{quoted(c.name)} THEN '{c.name}' END" for c in others
        )
        stored = substitute(condition(relation.table.c[relation.key[0]]), {relation.table: relation.table.alias("s")})
        return _COMPARE.format(
            expected=render(expected_rows(self._projections, relation, condition, served if nearby else None)),
            columns=", ".join(columns),
            table=quoted(generation_name(relation.name, served[relation.name])),
            condition=render(stored),
            first=quoted(relation.key[0]),
            key=f"jsonb_build_array({', '.join(f'coalesce(e.{quoted(k)}, s.{quoted(k)})' for k in relation.key)})",
            key_e=f"jsonb_build_array({', '.join(f'e.{quoted(k)}' for k in relation.key)})",
            key_s=f"jsonb_build_array({', '.join(f's.{quoted(k)}' for k in relation.key)})",
            differing=f"array_remove(ARRAY[{differing}]::text[], NULL)",
            listed=LISTED,
        )

    def bound(self, cursor: Cursor, relation: Relation, served: Generations, low: str | None, rows: int) -> str | None:
        """Where the range behind `low` ends that has so many rows at most, stored or to be there; None: nowhere."""
        kind = type_name(relation.table.c[relation.key[0]])
        behind = (
            "(SELECT {1} FROM {0} WHERE %(low)s::text IS NULL OR {1} > %(low)s::" + kind + " ORDER BY {1} "
            "OFFSET %(rows)s LIMIT 1)"
        )
        ends = ", ".join(behind.format(*map(quoted, source)) for source in self.sources(relation, served))
        row = cursor.execute(f"SELECT least({ends})::text", {"low": low, "rows": rows - 1}, prepare=False).fetchone()
        return row[0] if row else None

    def anywhere(self, cursor: Cursor, relation: Relation, served: Generations, many: int) -> list[str]:
        """So many keys at most, in order, chosen at random from rows that are there and rows behind them."""
        query, values = random_keys(self.sources(relation, served), many)
        return [key for (key,) in cursor.execute(query, values, prepare=False).fetchall()]

    def sources(self, relation: Relation, served: Generations) -> list[KeySource]:
        """Where keys of a relation are found by an index: its own table, and those that its query has them from."""
        own = [KeySource(generation_name(relation.name, served[relation.name]), relation.key[0])]
        found = [self._source(column, served) for column in _origins(relation)]
        return (own if relation.stored else []) + [source for source in found if source is not None]

    def _source(self, column: Column[Any], served: Generations) -> KeySource | None:
        table = column.table
        relation = next((r for r in self._projections.relations if r.table is table), None)
        if relation is not None:
            indexed = {relation.key[0], *(index[0].lstrip("-") for index in relation.indexes)}
            name = generation_name(relation.name, served[relation.name])
            return KeySource(name, column.name) if relation.stored and column.name in indexed else None
        keys = [list(table.primary_key.columns), *(list(index.columns) for index in table.indexes)]
        return KeySource(table.name, column.name) if column.name in [key[0].name for key in keys if key] else None


def expected_rows(
    projections: Projections, relation: Relation, condition: Condition, stored: Generations | None = None
) -> Any:
    """What the definition says, for the rows whose first key column meets the condition.

    Over the entities alone; with `stored`, over the generations of what it reads.
    """
    if isinstance(relation, View):
        query = restricted(relation, condition)
    else:
        first = next(iter(relation.by.values()))  # type: ignore[attr-defined]
        query = relation.query.where(condition(first))
    read = [r for r in projections.relations if any(t is r.table for t in reads(relation))]
    if stored is not None:
        return substitute(query, {r.table: generation_table(r, stored[r.name]) for r in read})
    return substitute(query, {r.table: whole_query(projections, r).subquery(r.name) for r in read})


def _origins(relation: Relation) -> Sequence[Column[Any]]:
    """The columns of tables that the first key column is, on each way that its query has."""
    if isinstance(relation, Rollup):
        first = next(iter(relation.by.values()))
        return [first] if isinstance(first, Column) else []
    if isinstance(relation, View) and not relation.keys:
        return _origins_in(shape_of(relation.query), relation.key[0])
    return []


def _origins_in(scope: Scope, name: str) -> list[Column[Any]]:
    found: list[Column[Any]] = []
    for target in scope.targets(name):
        node = scope.node_of(target)
        if node.table is not None:
            found.append(node.table.c[target.key])
        elif node.inner is not None:
            found += _origins_in(node.inner, target.key)
    return found


__all__ = ["LISTED", "SERVED", "Compared", "Comparing", "KeySource", "expected_rows"]

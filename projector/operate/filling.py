"""Generations that are being built, filled from their plain queries range by range, and given their indexes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Table

from projector.apply.refresh import restricted
from projector.declare.projections import Projections
from projector.declare.shape import Scope, shape_of
from projector.declare.sql import in_range, quoted, render, substitute, type_name
from projector.declare.view import Relation, View
from projector.store import definitions
from projector.store.names import generation_name, generation_table, schemas
from projector.store.refused import storing

RANGE = 50_000  # rows filled in one transaction: what an interruption costs at most

_STAND = "SELECT phase, filled_to, rows, expected FROM rebuilds WHERE relation = %s"
_GONE = ("gone", None, 0, None)
_FILLED = """
UPDATE rebuilds SET phase = %(phase)s, filled_to = %(to)s, rows = rows + %(rows)s, beat_at = now()
WHERE relation = %(relation)s
"""
_INDEXES = "SELECT indexname FROM pg_indexes WHERE schemaname = %s"
PHASE = "UPDATE rebuilds SET phase = %s, beat_at = now() WHERE relation = ANY(%s)"


class Step(NamedTuple):
    """How far one view is; `expected` rows are those of the generation before."""

    view: str
    phase: str
    rows: int
    expected: int | None


Progress = Callable[[Step], None]


class Filling:
    """Fills the generations that a run builds; each goes on where an interrupted run has stopped."""

    def __init__(self, group: str, projections: Projections, word_indexes: bool) -> None:
        self._group, self._projections, self._word_indexes = group, projections, word_indexes
        self._generations: dict[str, int] = {}  # what is served, but for what is built

    def _fill(self, connection: psycopg.Connection[Any], relation: Relation, progress: Progress) -> None:
        ranged = isinstance(relation, View) and relation.stored and not relation.keys
        statement = self._filling(relation, ranged) if relation.stored else ""
        while True:
            phase, low, rows, expected = connection.execute(_STAND, (relation.name,)).fetchone() or _GONE
            if phase not in ("waiting", "filling"):
                return
            high = self._bound(connection, relation, low) if ranged and isinstance(relation, View) else None
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL work_mem = '128MB'")
                with storing(relation):
                    filled = cursor.execute(statement, {"low": low, "high": high}).rowcount if statement else 0
                values = {"relation": relation.name, "to": high, "rows": filled}
                cursor.execute(_FILLED, values | {"phase": "filling" if high is not None else "indexing"})
            progress(Step(relation.name, "filling", rows + filled, expected))

    def _filling(self, relation: Relation, ranged: bool) -> str:
        query = restricted(relation, in_range) if ranged and isinstance(relation, View) else relation.query
        names = {r.table: generation_table(r, self._generations[r.name]) for r in self._projections.relations}
        columns = ", ".join(quoted(c.name) for c in relation.table.c)
        table = quoted(generation_name(relation.name, self._generations[relation.name]))
        return f"INSERT INTO {table} ({columns}) {render(substitute(query, names))}"

    def _bound(self, connection: psycopg.Connection[Any], relation: View, low: str | None) -> str | None:
        """Where the next range of the first key column ends: so many rows of the table that it comes from on; None: it
        is the last.
        """
        scope = shape_of(relation.query)
        table, column = _origin(scope, scope.targets(relation.key[0]))
        names = {r.table: generation_name(r.name, self._generations[r.name]) for r in self._projections.relations}
        first, kind = quoted(column), type_name(relation.table.c[relation.key[0]])
        row = connection.execute(
            f"SELECT {first}::text FROM {quoted(names.get(table, table.name))} "
            f"WHERE %(low)s::text IS NULL OR {first} > %(low)s::{kind} ORDER BY {first} OFFSET {RANGE} LIMIT 1",
            {"low": low},
            prepare=False,
        ).fetchone()
        return None if row is None else row[0]

    def _index(self, connection: psycopg.Connection[Any], relation: Relation, progress: Progress) -> None:
        """Make what indexes it lacks; where an interrupted run has made them, others may be declared since."""
        wanted = definitions.indexes(self._projections, relation, self._generations, self._word_indexes)
        there = {name for (name,) in connection.execute(_INDEXES, (schemas(self._group)[2],))}
        lacking = [ddl for name, ddl in wanted.items() if name not in there]
        phase, _, rows, expected = connection.execute(_STAND, (relation.name,)).fetchone() or _GONE
        if phase != "indexing" and (phase == "gone" or not lacking):
            return
        progress(Step(relation.name, "indexing", rows, expected))
        for ddl in lacking:
            with definitions.indexing(ddl):
                connection.execute(ddl)
        if relation.stored:
            connection.execute(f"ANALYZE {quoted(generation_name(relation.name, self._generations[relation.name]))}")
        connection.execute(PHASE, ("draining", [relation.name]))


def _origin(scope: Scope, targets: list[Any]) -> tuple[Table, str]:
    """The table and the column that a view's first key column comes from, at best a table that has one row for each."""
    found: list[tuple[Table, str]] = []
    for target in targets:
        node = scope.node_of(target)
        if node.table is not None:
            found.append((node.table, target.name))
        elif node.inner is not None:
            found.append(_origin(node.inner, node.inner.targets(target.key)))
    return next((f for f in found if [c.name for c in f[0].primary_key] == [f[1]]), found[0])

"""`prejoin verify`: each view against what its definition says over the entities, row by row; and its repair.

Views are verified one by one, each against the entities alone, never against another view: so a drifted row is told
once, where it is, and mending it touches nothing else. The applier keeps rows equal in every snapshot but for pending
keys: those are drained first, and a difference is looked at twice.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from projector.apply.applier import Applier
from projector.apply.refresh import Condition, restricted
from projector.apply.write import THESE_KEYS
from projector.declare.projections import Projections, reads
from projector.declare.sql import among_keys, in_range, quoted, render, substitute, type_name
from projector.declare.view import Relation, View
from projector.errors import OutOfDate
from projector.store import outbox
from projector.store.connect import connect
from projector.store.definitions import whole_query
from projector.store.names import generation_name

RANGE = 100_000  # rows compared in one snapshot; bounds memory, and how long vacuum is held back
TOLD = 1_000  # differences listed; the rest are counted

_COMPARE = """
WITH expected AS MATERIALIZED ({expected}),
stored AS MATERIALIZED (SELECT {columns} FROM {table} s WHERE {condition}),
both_sides AS (
  SELECT {key} AS key, coalesce(e.{first}, s.{first})::text AS first,
         CASE WHEN e._there AND s._there THEN {differing} ELSE '{{}}' END AS columns,
         CASE WHEN s._there IS NULL THEN 'missing' WHEN e._there IS NULL THEN 'extra' ELSE 'different' END AS kind
  FROM (SELECT *, true AS _there FROM expected) e
  FULL JOIN (SELECT *, true AS _there FROM stored) s ON {key_e} = {key_s}
)
SELECT (SELECT count(*) FROM stored),
       coalesce(jsonb_agg(jsonb_build_array(key, first, kind, columns) ORDER BY key), '[]')
FROM both_sides WHERE kind <> 'different' OR cardinality(columns) > 0
"""


@dataclass(frozen=True)
class Difference:
    """One row that is not what it should be. `kind`: missing, extra or different (in `columns`)."""

    view: str
    key: list[Any]
    kind: str
    columns: list[str]


@dataclass
class Verified:
    """What was found in one view; `repaired` rows do not differ any more."""

    view: str
    rows: int = 0
    different: int = 0
    repaired: int = 0
    differences: list[Difference] = field(default_factory=list)


Progress = Callable[[str, int], None]


class Verifier:
    """Verifies and repairs the relations of one group. `progress` is told view and rows compared so far."""

    def __init__(self, url: str, group: str, projections: Projections) -> None:
        self._url, self._group, self._projections = url, group, projections
        self._applier = Applier(url, group, projections)

    def verify(
        self, relation: Relation, repair: bool = False, progress: Progress = lambda view, rows: None
    ) -> Verified:
        """Compare each row of one relation, and mend those that differ if asked to."""
        found = Verified(relation.name)
        if not relation.stored:
            found.rows = self._count(relation)
            return found
        self._drain()
        for low, high in self._ranges(relation):
            rows, differing = self._compare(relation, in_range, {"low": low, "high": high})
            if differing:
                self._drain()
                differing = self._again(relation, differing, repair)
            found.rows += rows
            found.repaired += len(differing) if repair else 0
            found.different += len(differing)
            told = TOLD - len(found.differences)
            found.differences += [
                Difference(relation.name, key, kind, columns) for key, _, kind, columns in differing[:told]
            ]
            progress(relation.name, found.rows)
        return found

    def close(self) -> None:
        """Close its connection."""
        self._applier.close()

    def _drain(self) -> None:
        while self._applier.drain():
            pass

    def _connect(self) -> psycopg.Connection[Any]:
        return connect(self._url, self._group, name="prejoin verify")

    def _generation(self, connection: psycopg.Connection[Any], relation: Relation) -> int:
        try:
            row = connection.execute("SELECT generation FROM served WHERE relation = %s", (relation.name,)).fetchone()
        except psycopg.errors.UndefinedTable:
            row = None
        if row is None:
            raise OutOfDate(f"{relation.name} is not in the database: run `prejoin migrate`")
        return int(row[0])

    def _count(self, relation: Relation) -> int:
        with self._connect() as connection:
            name = generation_name(relation.name, self._generation(connection, relation))
            (rows,) = connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone() or (0,)
            return int(rows)

    def _ranges(self, relation: Relation) -> Iterator[tuple[str | None, str | None]]:
        """Bounds of the first key column, so many rows apart, while rows come and go."""
        first, low = quoted(relation.key[0]), None
        kind = type_name(relation.table.c[relation.key[0]])
        while True:
            with self._connect() as connection:
                table = quoted(generation_name(relation.name, self._generation(connection, relation)))
                query = (
                    f"SELECT {first}::text FROM {table} WHERE %(low)s::text IS NULL OR {first} > %(low)s::{kind} "
                    f"ORDER BY {first} OFFSET {RANGE} LIMIT 1"
                )
                row = connection.execute(query, {"low": low}).fetchone()
            if row is None or row[0] is None:
                yield low, None
                return
            yield low, row[0]
            low = row[0]

    def _compare(self, relation: Relation, condition: Condition, parameters: dict[str, Any]) -> tuple[int, list[Any]]:
        with self._connect() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            statement = self._statement(relation, self._generation(connection, relation), condition)
            rows, differing = connection.execute(statement, parameters).fetchone() or (0, [])
            return rows, differing

    def _again(self, relation: Relation, differing: list[Any], repair: bool) -> list[Any]:
        """Under the group's lock and with nothing pending: what differs still, and is mended if asked to.

        A row that waits is no drift; and mended here, it would not move the rollups over it when its turn comes.
        """
        keys, condition = _first_keys(differing)
        with self._applier.transaction() as (cursor, plan, _):
            while plan.drain(cursor):
                pass
            cursor.execute(THESE_KEYS)
            statement = self._statement(relation, plan.served[relation.name], condition)
            _, differing = cursor.execute(statement, {"keys": keys}).fetchone() or (0, [])
            if repair and differing:
                self._repair(cursor, relation, plan.served[relation.name], differing)
                if relation.name in plan.searched:
                    outbox.put(cursor, {relation.name: [str(key) for (key,), *_ in differing]})
        return differing

    def _repair(self, cursor: psycopg.Cursor[Any], relation: Relation, generation: int, differing: list[Any]) -> None:
        """Exactly these rows are replaced by what the definition says now."""
        keys, condition = _first_keys(differing)
        key = f"jsonb_build_array({', '.join(quoted(k) for k in relation.key)})"
        exactly = f"{key} = ANY(%(exact)s::jsonb[])"
        parameters = {"keys": keys, "exact": [json.dumps(whole) for whole, *_ in differing]}
        table = quoted(generation_name(relation.name, generation))
        columns = ", ".join(quoted(c.name) for c in relation.table.c)
        expected = render(expected_rows(self._projections, relation, condition))
        cursor.execute(f"DELETE FROM {table} WHERE {exactly}", parameters)
        cursor.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM ({expected}) e WHERE {exactly}", parameters
        )

    def _statement(self, relation: Relation, generation: int, condition: Condition) -> str:
        columns = [quoted(c.name) for c in relation.table.c]
        others = [c for c in relation.table.c if c.name not in relation.key]
        differing = ", ".join(
            f"CASE WHEN e.{quoted(c.name)} IS DISTINCT FROM s.{quoted(c.name)} THEN '{c.name}' END" for c in others
        )
        stored = substitute(condition(relation.table.c[relation.key[0]]), {relation.table: relation.table.alias("s")})
        return _COMPARE.format(
            expected=render(expected_rows(self._projections, relation, condition)),
            columns=", ".join(columns),
            table=quoted(generation_name(relation.name, generation)),
            condition=render(stored),
            first=quoted(relation.key[0]),
            key=f"jsonb_build_array({', '.join(f'coalesce(e.{quoted(k)}, s.{quoted(k)})' for k in relation.key)})",
            key_e=f"jsonb_build_array({', '.join(f'e.{quoted(k)}' for k in relation.key)})",
            key_s=f"jsonb_build_array({', '.join(f's.{quoted(k)}' for k in relation.key)})",
            differing=f"array_remove(ARRAY[{differing}]::text[], NULL)",
        )


def _first_keys(differing: list[Any]) -> tuple[list[str], Condition]:
    """The first key columns of the rows that differ, as the parameter `keys`, and the condition that takes them."""
    keys = sorted({first for _, first, *_ in differing if first is not None})
    if any(first is None for _, first, *_ in differing):
        return keys, lambda column: among_keys(column) | column.is_(None)
    return keys, among_keys


def expected_rows(projections: Projections, relation: Relation, condition: Condition) -> Any:
    """What the definition says over the entities, for the rows whose first key column meets the condition."""
    if isinstance(relation, View):
        query = restricted(relation, condition)
    else:
        first = next(iter(relation.by.values()))  # type: ignore[attr-defined]
        query = relation.query.where(condition(first))
    replaced = {
        r.table: whole_query(projections, r).subquery(r.name)
        for r in projections.relations
        if any(t is r.table for t in reads(relation))
    }
    return substitute(query, replaced)

"""An entity beside its source service's own export: keys and columns that differ show events that never came.

The export lies in a temporary table, and Postgres compares: so memory is bounded, however large it is. Columns are
compared that both have; values as their types compare, so `12.5` is `12.50`, and a time is the same in any zone. What
is never null here is 0, false or nothing where the export has null.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.types.json import set_json_loads
from sqlalchemy import Column, Numeric
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import BigInteger, String

from projector.declare.entity import Child, Entity
from projector.declare.sql import quoted, type_name
from projector.errors import PrejoinError
from projector.operate.exports import Progress, named, read_in
from projector.store.connect import connect

TOLD = 1_000  # differences listed; the rest are counted
SOME = 500  # aggregates that are corrected at a time

_FIELDS = "SELECT DISTINCT jsonb_object_keys(row) FROM source_export WHERE jsonb_typeof(row) = 'object'"
_INNER = """
SELECT DISTINCT jsonb_object_keys(CASE WHEN jsonb_typeof(e.each) = 'object' THEN e.each ELSE '{}' END)
FROM source_export,
  jsonb_array_elements(CASE WHEN jsonb_typeof(row -> %(f)s) = 'array' THEN row -> %(f)s ELSE '[]' END) AS e (each)
"""
_NO_OBJECT = "SELECT count(*) FROM source_export WHERE jsonb_typeof(row) <> 'object'"
_TWICE = """
WITH last AS (SELECT row ->> %(key)s AS key, max(n) AS n FROM source_export GROUP BY 1 HAVING count(*) > 1)
DELETE FROM source_export AS s USING last
WHERE s.row ->> %(key)s = last.key AND s.n < last.n RETURNING s.row ->> %(key)s
"""
_NO_KEY = "DELETE FROM source_export WHERE row ->> %(key)s IS NULL"
_COMPARE = """
CREATE TEMPORARY TABLE source_differs AS
WITH both_sides AS (
  SELECT coalesce(o.{key}, s.row ->> {key_field}) AS key, s.row,
    CASE WHEN o.{key} IS NULL THEN 'missing' WHEN s.row IS NULL THEN 'extra' ELSE 'different' END AS kind,
    CASE WHEN o.{key} IS NOT NULL AND s.row IS NOT NULL THEN array_remove(ARRAY[{differing}]::text[], NULL) END
      AS columns,
    CASE WHEN s.row IS NOT NULL THEN {theirs} END AS theirs,
    CASE WHEN o.{key} IS NOT NULL THEN {ours} END AS ours
  FROM {entity} AS o {children} FULL JOIN source_export AS s ON o.{key} = s.row ->> {key_field}
)
SELECT * FROM both_sides WHERE kind <> 'different' OR cardinality(columns) > 0
"""
_COUNT = """
SELECT coalesce(jsonb_object_agg(kind, n), '{}') FROM (SELECT kind, count(*) AS n FROM source_differs GROUP BY 1) AS c
"""
_COLUMNS = """
SELECT coalesce(jsonb_object_agg(c, n), '{}')
FROM (SELECT c, count(*) AS n FROM source_differs, unnest(columns) AS c GROUP BY 1) AS counted
"""
_LISTED = "SELECT key, kind, coalesce(columns, '{}'), theirs, ours FROM source_differs ORDER BY key LIMIT %s"
_ALL = "SELECT key, row, theirs FROM source_differs WHERE kind <> 'extra' ORDER BY key"


class Differs(NamedTuple):
    """One aggregate. `kind`: missing (here), extra (the source lacks it), or different in `columns`.

    `theirs` and `ours` are its compared columns, as JSON; None where there is none.
    """

    key: str
    kind: str
    columns: list[str]
    theirs: dict[str, Any] | None
    ours: dict[str, Any] | None


class Wanted(NamedTuple):
    """What the source says of one aggregate: its row as it came, and the compared columns of ours, as JSON."""

    key: str
    row: dict[str, Any]
    columns: dict[str, Any]


@dataclass
class Against:
    """What was found. `columns` are those compared, `differing` counts by column, `twice` keys given more than once."""

    entity: str
    columns: list[str]
    rows: int
    as_of: str | None = None
    twice: int = 0
    without_key: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    differing: dict[str, int] = field(default_factory=dict)
    differences: list[Differs] = field(default_factory=list)

    @property
    def different(self) -> int:
        """Aggregates that differ, and rows of the export that tell nobody which they are of."""
        return sum(self.kinds.values()) + self.twice + self.without_key


class Comparison:
    """One comparison, on a connection of its own, whose temporary tables go with it. `compare` first."""

    def __init__(self, url: str, group: str, entity: Entity[Any], mapped: Mapping[str, str]) -> None:
        self._entity = entity
        there = {*entity.fields, *(child.name for child in entity.children)}
        for column in mapped:
            if column not in there:
                raise PrejoinError(f"--map {column}: {entity.name} has {', '.join(sorted(there))}")
        self._field = {name: mapped.get(name, name) for name in there}
        self.connection = connect(url, group, autocommit=True, name="prejoin verify")
        self.connection.execute("SET work_mem = '128MB'")
        set_json_loads(lambda text: json.loads(text, parse_float=Decimal), self.connection)

    def compare(self, where: str, table: str | None, progress: Progress = lambda _: None) -> Against:
        """Read the export in and compare it with the entity. Raises PrejoinError where it is no export of this one."""
        rows = read_in(self.connection, where, table, progress)
        (wrong,) = self.connection.execute(_NO_OBJECT).fetchone() or (0,)
        if wrong:
            raise PrejoinError(f"{named(where)}: {wrong:,} of its rows are no JSON objects")
        columns = self._both_have(named(where))
        found = Against(self._entity.name, columns, rows)
        key = {"key": self._field[self._entity.key]}
        found.without_key = self.connection.execute(_NO_KEY, key).rowcount
        found.twice = self.connection.execute(_TWICE, key).rowcount
        self.connection.execute("ANALYZE source_export")
        self.connection.execute(self._statement(columns))
        (found.kinds,) = self.connection.execute(_COUNT).fetchone() or ({},)
        (found.differing,) = self.connection.execute(_COLUMNS).fetchone() or ({},)
        found.differences = [Differs(*row) for row in self.connection.execute(_LISTED, (TOLD,)).fetchall()]
        (as_of,) = self.connection.execute("SELECT as_of FROM projection_group").fetchone() or (None,)
        found.as_of = None if as_of is None else as_of.isoformat().replace("+00:00", "Z")
        return found

    def wanted(self) -> Iterator[list[Wanted]]:
        """Each aggregate that is missing or different, as the source has it, in the order of keys, some at a time."""
        with self.connection.cursor("wanted", withhold=True) as cursor:  # held: no snapshot stays open meanwhile
            cursor.execute(_ALL)
            while rows := cursor.fetchmany(SOME):
                yield [Wanted(*row) for row in rows]

    def close(self) -> None:
        """Close the connection; the temporary tables are gone."""
        self.connection.close()

    def _both_have(self, name: str) -> list[str]:
        fields = {field_ for (field_,) in self.connection.execute(_FIELDS).fetchall()}
        key = self._field[self._entity.key]
        if key not in fields:
            seen = ", ".join(sorted(fields)[:20]) or "nothing"
            raise PrejoinError(
                f"{name}: has no {key!r}, the key of {self._entity.name}: say --map {self._entity.key}=FIELD; "
                f"its fields are {seen}"
            )
        missed = [f"{column}={own}" for column, own in self._field.items() if own != column and own not in fields]
        if missed:
            raise PrejoinError(f"{name}: has no field for --map {', '.join(missed)}")
        ours = [*self._entity.fields, *(child.name for child in self._entity.children if self._inner(child))]
        return [column for column in ours if self._field[column] in fields]

    def _statement(self, columns: Sequence[str]) -> str:
        ours, theirs, wrong, joins = dict[str, str](), dict[str, str](), dict[str, str](), list[str]()
        for child in (c for c in self._entity.children if c.name in columns):
            ours[child.name], theirs[child.name], join = self._collection(child)
            joins.append(join)
        for column in (self._entity.table.c[name] for name in columns if name in self._entity.table.c):
            given = f"(s.row ->> {_text(self._field[column.name])})"
            ours[column.name] = f"o.{quoted(column.name)}"
            theirs[column.name] = _read(given, column)
            if not isinstance(column.type, String | JSONB):
                wrong[column.name] = f"NOT coalesce(pg_input_is_valid({given}, '{_kind(column)}'), true) OR "
        compared = [name for name in columns if name != self._entity.key]
        return _COMPARE.format(
            entity=quoted(self._entity.table.name),
            key=quoted(self._entity.key),
            key_field=_text(self._field[self._entity.key]),
            children=" ".join(joins),
            differing=", ".join(
                f"CASE WHEN {wrong.get(n, '')}{ours[n]} IS DISTINCT FROM {theirs[n]} THEN {_text(n)} END"
                for n in compared
            ),
            ours=_object(ours),
            theirs=_object(theirs),
        )

    def _inner(self, child: Child) -> list[Column[Any]]:
        """The columns that the export has of a collection; none where it has no lists, or lists without their key."""
        given = self.connection.execute(_INNER, {"f": self._field[child.name]}).fetchall()
        inside = {name for (name,) in given}
        columns = [c for c in child.table.c if c.name in inside and c.name != self._entity.key]
        return columns if child.key in inside else []

    def _collection(self, child: Child) -> tuple[str, str, str]:
        """A collection as one JSON value, ours and theirs, and the join that ours comes from."""
        columns, given = self._inner(child), f"s.row -> {_text(self._field[child.name])}"
        alias, key = quoted(f"c_{child.name}"), quoted(self._entity.key)
        values = {c.name: _read(f"(e.each ->> {_text(c.name)})", c) for c in columns}
        theirs = (
            f"(SELECT coalesce(jsonb_agg({_object(values)} ORDER BY {values[child.key]}), '[]') FROM "
            f"jsonb_array_elements(CASE WHEN jsonb_typeof({given}) = 'array' THEN {given} ELSE '[]' END) AS e (each))"
        )
        rows = f"jsonb_agg({_object({c.name: f't.{quoted(c.name)}' for c in columns})} ORDER BY t.{quoted(child.key)})"
        join = (
            f"LEFT JOIN (SELECT {key}, {rows} AS rows FROM {quoted(child.table.name)} AS t GROUP BY {key}) AS {alias} "
            f"ON {alias}.{key} = o.{key}"
        )
        return f"coalesce({alias}.rows, '[]')", theirs, join


def _kind(column: Column[Any]) -> str:
    """The type that a text is read as: a number whole and unrounded, whatever the column's scale."""
    return "numeric" if isinstance(column.type, Numeric | BigInteger) else type_name(column)


def _read(given: str, column: Column[Any]) -> str:
    """A text of the export as a value of the column's type; null where it is none."""
    if isinstance(column.type, JSONB):
        return f"coalesce({_amounts(given)}, '{{}}')"
    if isinstance(column.type, String):
        return given
    kind = _kind(column)
    value = f"CASE WHEN pg_input_is_valid({given}, '{kind}') THEN {given}::{kind} END"
    if column.nullable or column.primary_key:
        return value
    nothing = {"numeric": "0", "boolean": "false"}.get(kind.lower())
    return f"coalesce({value}, {nothing})" if nothing else value


def _amounts(given: str) -> str:
    """Amounts by currency, written as in our tables: decimal strings."""
    return (
        f"(SELECT jsonb_object_agg(a.key, CASE WHEN pg_input_is_valid(a.value, 'numeric(38,2)') "
        f"THEN a.value::numeric(38,2)::text END) FROM jsonb_each_text(CASE WHEN {given} IS JSON OBJECT "
        f"THEN {given}::jsonb END) AS a)"
    )


def _object(values: Mapping[str, str]) -> str:
    return f"jsonb_build_object({', '.join(part for name, value in values.items() for part in (_text(name), value))})"


def _text(value: str) -> str:
    """A literal; what comes from the command line is in it as well."""
    return sql.Literal(value).as_string(None).strip()


__all__ = ["TOLD", "Against", "Comparison", "Differs", "Wanted"]

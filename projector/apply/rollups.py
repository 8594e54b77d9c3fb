"""Rollups: moved by the difference that changed rows make, so that a large group costs no more than a small one."""

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Column, Table, and_, case, func, literal_column
from sqlalchemy.sql import visitors
from sqlalchemy.types import BigInteger

from projector.apply.change import Change, distinct_values, key_texts
from projector.declare.sql import quoted, render, substitute
from projector.declare.view import Measure, Rollup
from projector.store.names import generation_name, generation_table

_SIGN: Any = literal_column("_sign", BigInteger)

_MOVE = """,
{cte} AS (
  INSERT INTO {table} AS r ({columns})
  SELECT {sums} FROM delta GROUP BY {by} HAVING {moved}
  ON CONFLICT ({key}) DO UPDATE SET {update}
  RETURNING {returning}
)"""
# A group's least or greatest may have left it: only its source can tell what is the extreme now.
_LOST = """,
{cte}_lost AS (SELECT {first} AS first FROM delta GROUP BY {by} HAVING {lost})"""


class Moving:
    """A rollup's part in the statement that writes its source, and what is left to do after it."""

    def __init__(self, rollup: Rollup, served: Mapping[str, int], wanted: list[str]) -> None:
        self.rollup, self.wanted = rollup, wanted
        self.table = quoted(generation_name(rollup.name, served[rollup.name]))
        self.cte = quoted(f"moved_{rollup.name}")
        self.extremes = {n: m for n, m in rollup.measures.items() if not m.moves}
        self.first = next(iter(rollup.by))
        self.width = 4 + len(wanted)
        source = generation_table(rollup.source, served[rollup.source.name])
        self.recompute = self._recomputing(source) if self.extremes else ""

    def reads(self) -> set[str]:
        """The columns of the source that it is made from."""
        parts: list[Any] = [*self.rollup.by.values()]
        for measure in self.rollup.measures.values():
            parts += [part for part in (measure.of, measure.where) if part is not None]
        return {e.name for part in parts for e in visitors.iterate(part) if isinstance(e, Column)}

    def ctes(self, delta: Table) -> str:
        """The parts of the statement, after the CTE `delta`: signed rows of the source."""

        def over(expression: Any) -> Any:
            return substitute(expression, {self.rollup.source.table: delta})

        by = {name: render(over(e)) for name, e in self.rollup.by.items()}
        sums = {n: over(_difference(m)) for n, m in self.rollup.measures.items()}
        sums["_rows"] = func.sum(_SIGN)
        moved = [f"{render(s)} <> 0" for n, s in sums.items() if n not in self.extremes]
        moved += [render(over(_side(m, -1)).is_distinct_from(over(_side(m, 1)))) for m in self.extremes.values()]
        statement = _MOVE.format(
            cte=self.cte,
            table=self.table,
            columns=", ".join(map(quoted, [*by, *sums])),
            sums=", ".join([*by.values(), *(render(s) for s in sums.values())]),
            by=", ".join(by.values()),
            moved=" OR ".join(moved),
            key=", ".join(map(quoted, by)),
            update=", ".join(self._update(name) for name in sums),
            returning=", ".join(f"new.{quoted(c)}" for c in [*by, "_rows"]),
        )
        if not self.extremes:
            return statement
        lost = " OR ".join(render(over(_left(m))) for m in self.extremes.values())
        return statement + _LOST.format(cte=self.cte, first=by[self.first], by=", ".join(by.values()), lost=lost)

    def results(self) -> list[str]:
        """What the statement returns of this rollup, in the order that `settle` reads."""
        first = quoted(self.first)
        return [
            key_texts(self.cte, self.rollup.key, "", "_rows <> 0"),
            key_texts(self.cte, self.rollup.key, "", "_rows = 0"),
            f"(SELECT array_agg({first}) FROM {self.cte} WHERE _rows = 0)",
            f"(SELECT array_agg(first) FROM {self.cte}_lost)" if self.extremes else "NULL",
            *(distinct_values(self.cte, column) for column in self.wanted),
        ]

    def settle(self, cursor: psycopg.Cursor[Any], row: tuple[Any, ...]) -> Change:
        """Remove the groups that ended, look up the extremes that left; returns what changed."""
        upserted, deleted, ended, lost, *values = row
        if ended:
            cursor.execute(f"DELETE FROM {self.table} WHERE _rows = 0 AND {_among(quoted(self.first))}", _groups(ended))
        if lost:
            cursor.execute(self.recompute, _groups(lost))
        return Change(self.rollup, upserted, deleted, dict(zip(self.wanted, values, strict=True)))

    def _update(self, name: str) -> str:
        column = quoted(name)
        if name in self.extremes:
            pick = "least" if self.extremes[name].kind == "min" else "greatest"
            return f"{column} = {pick}(r.{column}, excluded.{column})"
        return f"{column} = r.{column} + excluded.{column}"

    def _recomputing(self, source: Table) -> str:
        def over(expression: Any) -> str:
            return render(substitute(expression, {self.rollup.source.table: source}))

        by = {name: over(e) for name, e in self.rollup.by.items()}
        columns = [f"{e} AS {quoted(n)}" for n, e in by.items()]
        columns += [f"{over(m.over_rows())} AS {quoted(n)}" for n, m in self.extremes.items()]
        return (
            f"UPDATE {self.table} r SET {', '.join(f'{quoted(n)} = s.{quoted(n)}' for n in self.extremes)} "
            f"FROM (SELECT {', '.join(columns)} FROM {quoted(source.name)} "
            f"WHERE {_among(by[self.first])} GROUP BY {', '.join(by.values())}) s "
            f"WHERE {_among(f'r.{quoted(self.first)}')} "
            f"AND {' AND '.join(f'r.{quoted(n)} IS NOT DISTINCT FROM s.{quoted(n)}' for n in by)}"
        )


def _difference(measure: Measure) -> Any:
    if not measure.moves:
        return _side(measure, 1)
    value: Any = _SIGN if measure.of is None else _SIGN * func.coalesce(measure.of, 0)
    if measure.where is not None:
        value = case((measure.where, value), else_=0)
    return func.sum(value)


def _side(measure: Measure, sign: int) -> Any:
    """The extreme among the rows that came (1) or went (-1)."""
    on_side = literal_column(str(sign)) == _SIGN
    where = on_side if measure.where is None else and_(on_side, measure.where)
    return getattr(func, measure.kind)(measure.of).filter(where)


def _left(measure: Measure) -> Any:
    went, came = _side(measure, -1), _side(measure, 1)
    further = went < came if measure.kind == "min" else went > came
    return and_(went.is_not(None), came.is_(None) | further)


def _among(column: str) -> str:
    return f"({column} = ANY(%(groups)s) OR (%(nulls)s AND {column} IS NULL))"


def _groups(values: list[Any]) -> dict[str, Any]:
    return {"groups": [v for v in values if v is not None], "nulls": None in values}

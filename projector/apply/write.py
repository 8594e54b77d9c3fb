"""The one statement that brings a view's rows to what its query says, and moves the rollups over them.

Only what differs is written, found by a join before the write: a conflict clause alone would still lock every row.
The rows as they were and as they are (Postgres 18's `RETURNING old, new`) are what rollups add and take away.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import MetaData, Table

from projector.apply.change import Change, distinct_values, key_texts
from projector.apply.refresh import restricted
from projector.apply.rollups import Moving
from projector.declare.sql import among_keys, quoted, render, substitute
from projector.declare.view import Rollup, View, unsound_key
from projector.store.names import generation_name

_WRITE = """
WITH fresh AS MATERIALIZED ({refresh}),
written AS (
  INSERT INTO {table} AS v ({columns})
  SELECT {fresh} FROM fresh f LEFT JOIN {table} o ON {same_key} AND o.{first} = ANY(%(keys)s::text[])
  WHERE o.{first} IS NULL OR {differs}
  ON CONFLICT ({key}) DO {update}
  RETURNING {old}, {new}
),
gone AS (
  DELETE FROM {table} o
  WHERE o.{first} = ANY(%(keys)s::text[]) AND NOT EXISTS (SELECT FROM fresh f WHERE {same_key})
  RETURNING {gone}
),
delta AS MATERIALIZED (
  SELECT 1 AS _sign, {delta_new} FROM written
  UNION ALL SELECT -1, {delta_old} FROM written WHERE old_{bare_first} IS NOT NULL
  UNION ALL SELECT -1, {delta_gone} FROM gone
){rollups}
SELECT {results}
"""


class Writing:
    """A view's statement, compiled for the served generations. `wanted` names the columns that routes begin from."""

    def __init__(
        self,
        view: View,
        rollups: list[Rollup],
        names: Mapping[Table, Table],
        served: Mapping[str, int],
        wanted: Mapping[str, frozenset[str]],
    ) -> None:
        self.view = view
        self.wanted = sorted(wanted.get(view.name, ()))
        self.rollups = [Moving(r, served, sorted(wanted.get(r.name, ()))) for r in rollups]
        refresh = render(substitute(restricted(view, among_keys), names))
        self.sql = _WRITE.format(**self._parts(refresh, quoted(generation_name(view.name, served[view.name]))))

    def run(self, cursor: psycopg.Cursor[Any], keys: list[str]) -> list[Change]:
        """Refresh the rows of some keys; returns the change of the view, then of each rollup over it."""
        try:
            row = cursor.execute(self.sql, {"keys": keys}).fetchone()
        except (psycopg.errors.CardinalityViolation, psycopg.IntegrityError):  # which say the row
            raise unsound_key(self.view) from None
        assert row is not None
        width = 2 + len(self.wanted)
        changes = [Change(self.view, row[0], row[1], dict(zip(self.wanted, row[2:width], strict=True)))]
        for moving in self.rollups:
            changes.append(moving.settle(cursor, row[width : width + moving.width]))
            width += moving.width
        return changes

    def _parts(self, refresh: str, table: str) -> dict[str, str]:
        view = self.view
        columns = [c.name for c in view.table.c]
        others = [c for c in columns if c not in view.key]
        read = {*view.key, *self.wanted}.union(*(moving.reads() for moving in self.rollups))
        told = [c for c in columns if c in read]
        update = ", ".join(f"{quoted(c)} = excluded.{quoted(c)}" for c in others)
        delta = view.table.to_metadata(MetaData(), name="delta")
        results = [key_texts("written", view.key, "new_"), key_texts("gone", view.key, "")]
        results += [distinct_values("delta", column) for column in self.wanted]
        return {
            "refresh": refresh,
            "table": table,
            "columns": _list(columns),
            "fresh": _list(columns, "f."),
            "same_key": " AND ".join(f"o.{quoted(k)} = f.{quoted(k)}" for k in view.key),
            "first": quoted(view.key[0]),
            "bare_first": view.key[0],
            "differs": f"({_list(others, 'o.')}) IS DISTINCT FROM ({_list(others, 'f.')})" if others else "false",
            "key": _list(view.key),
            "update": f"UPDATE SET {update}" if others else "NOTHING",
            "old": ", ".join(f"old.{quoted(c)} AS old_{c}" for c in told),
            "new": ", ".join(f"new.{quoted(c)} AS new_{c}" for c in told),
            "gone": _list(told, "o."),
            "delta_new": ", ".join(f"new_{c} AS {quoted(c)}" for c in told),
            "delta_old": ", ".join(f"old_{c}" for c in told),
            "delta_gone": _list(told),
            "rollups": "".join(moving.ctes(delta) for moving in self.rollups),
            "results": ",\n  ".join([*results, *(r for moving in self.rollups for r in moving.results())]),
        }  # fmt: skip


def _list(names: Any, prefix: str = "") -> str:
    return ", ".join(prefix + quoted(name) for name in names)

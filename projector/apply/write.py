"""The one statement that brings a view's rows to what its query says, and moves the rollups over them.

Only what differs is written. Where a change reaches but a part of a row, that part alone is asked for and compared, and
no row comes or goes. The rows as they were and as they are (Postgres 18's `RETURNING old, new`) are what rollups add
and take away.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import MetaData, Table

from projector.apply.change import Change, distinct_values, key_texts
from projector.apply.parts import Parts
from projector.apply.refresh import restricted
from projector.apply.rollups import Moving
from projector.declare.sql import among_keys, quoted, render, substitute, type_name
from projector.declare.view import Rollup, View, unsound_key
from projector.store.names import generation_name

# Up to so many keys the statement is planned once, for any keys, since planning takes longer than they do. The plan for
# many has to be made for them: for any, Postgres has ten in mind, and searches the whole list for each row.
FEW = 200
_ANY_KEYS, THESE_KEYS = (f"SET LOCAL plan_cache_mode = force_{which}_plan" for which in ("generic", "custom"))

# A key that is not unique is told, not settled by chance. MERGE refuses to write a row twice, but one of the two may be
# stored already.
_WRITE = """
WITH fresh AS MATERIALIZED ({refresh}),
written AS (
  MERGE INTO {table} AS v USING fresh f ON {same_key} AND v.{first} = ANY(%(keys)s::{kind}[])
  {merge}
  RETURNING {old}, {new}
),
gone AS ({gone}),
delta AS MATERIALIZED (
  SELECT 1 AS _sign, {delta_new} FROM written WHERE old_{bare_first} IS NULL OR {moves}
  UNION ALL SELECT -1, {delta_old} FROM written WHERE old_{bare_first} IS NOT NULL AND {moves}
  UNION ALL SELECT -1, {delta_gone} FROM gone
){rollups}
SELECT EXISTS (SELECT FROM fresh GROUP BY {key} HAVING count(*) > 1),
  {results}
"""
_GONE = """
  DELETE FROM {table} v
  WHERE v.{first} = ANY(%(keys)s::{kind}[]) AND NOT EXISTS (SELECT FROM fresh f WHERE {same_key})
  RETURNING {told}
"""
_NONE_GONE = "SELECT {told} FROM {table} v WHERE false"

# A column's values in the rows as they were and as they are.
_EVER = """(
  SELECT old_{bare} AS {column} FROM written UNION SELECT new_{bare} FROM written UNION SELECT {column} FROM gone
) ever"""

AllParts = frozenset[str] | None  # None is the whole row


class Writing:
    """A view's statements, compiled for the served generations. `wanted` names the columns that routes begin from."""

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
        self._names, self._table = names, quoted(generation_name(view.name, served[view.name]))
        self._parts, self._statements = Parts(view), dict[AllParts, str]()

    def known(self, parts: list[str] | None) -> AllParts:
        """Parts that were pending; the whole row where a release before this one had others."""
        return frozenset(parts) if parts is not None and self._parts.names.issuperset(parts) else None

    def run(self, cursor: psycopg.Cursor[Any], keys: list[str], parts: AllParts = None) -> list[Change]:
        """Refresh the rows of some keys, or parts of them; returns the change of the view, then of its rollups."""
        try:
            if len(keys) <= FEW:
                row = cursor.execute(self._statement(parts), {"keys": keys}, prepare=True).fetchone()
            else:
                cursor.execute(THESE_KEYS)
                row = cursor.execute(self._statement(parts), {"keys": keys}, prepare=False).fetchone()
                cursor.execute(_ANY_KEYS)
        except (psycopg.errors.CardinalityViolation, psycopg.IntegrityError):  # which say the row
            raise unsound_key(self.view) from None
        assert row is not None
        twice, *row = row
        if twice:
            raise unsound_key(self.view)
        width = 2 + len(self.wanted)
        changes = [Change(self.view, row[0], row[1], dict(zip(self.wanted, row[2:width], strict=True)))]
        for moving in self.rollups:
            changes.append(moving.settle(cursor, row[width : width + moving.width]))
            width += moving.width
        return changes

    def _statement(self, parts: AllParts) -> str:
        if parts not in self._statements:
            query = None if parts is None else self._parts.query(parts)
            refresh = render(substitute(restricted(self.view, among_keys, query), self._names))
            columns = [c.name for c in self.view.table.c] if parts is None else self._parts.columns(parts)
            self._statements[parts] = _WRITE.format(**self._fill(refresh, columns, whole=parts is None))
        return self._statements[parts]

    def _fill(self, refresh: str, columns: list[str], whole: bool) -> dict[str, str]:
        view = self.view
        others = [c for c in columns if c not in view.key]
        moving = set[str]().union(*(m.reads() for m in self.rollups))
        told = [c.name for c in view.table.c if c.name in {*view.key, *self.wanted, *moving}]
        delta = view.table.to_metadata(MetaData(), name="delta")
        results = [key_texts("written", view.key, "new_"), key_texts("gone", view.key, "")]
        results += [distinct_values(_EVER.format(bare=column, column=quoted(column)), column) for column in self.wanted]
        olds, news = (", ".join(f"{which}_{c}" for c in sorted(moving)) for which in ("old", "new"))
        merge = []
        if others:
            differs = f"({_list(others, 'v.')}) IS DISTINCT FROM ({_list(others, 'f.')})"
            update = ", ".join(f"{quoted(c)} = f.{quoted(c)}" for c in others)
            merge.append(f"WHEN MATCHED AND {differs} THEN UPDATE SET {update}")
        if whole:
            merge.append(f"WHEN NOT MATCHED THEN INSERT ({_list(columns)}) VALUES ({_list(columns, 'f.')})")
        common = {
            "table": self._table,
            "first": quoted(view.key[0]),
            "kind": type_name(view.table.c[view.key[0]]),
            "key": _list(view.key),
            "same_key": " AND ".join(f"v.{quoted(k)} = f.{quoted(k)}" for k in view.key),
        }
        return common | {
            "refresh": refresh,
            "bare_first": view.key[0],
            "merge": "\n  ".join(merge),
            "old": ", ".join(f"old.{quoted(c)} AS old_{c}" for c in told),
            "new": ", ".join(f"new.{quoted(c)} AS new_{c}" for c in told),
            "gone": (_GONE if whole else _NONE_GONE).format(told=_list(told, "v."), **common),
            "moves": f"({olds}) IS DISTINCT FROM ({news})" if moving else "false",
            "delta_new": ", ".join(f"new_{c} AS {quoted(c)}" for c in told),
            "delta_old": ", ".join(f"old_{c}" for c in told),
            "delta_gone": _list(told),
            "rollups": "".join(moving.ctes(delta) for moving in self.rollups),
            "results": ",\n  ".join([*results, *(r for moving in self.rollups for r in moving.results())]),
        }


def _list(names: Any, prefix: str = "") -> str:
    return ", ".join(prefix + quoted(name) for name in names)

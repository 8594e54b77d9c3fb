"""What is to be sent of a view: keys of the outbox, each with its row as the API shows it, read in one statement."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import select, true

from projector.declare.sql import render
from projector.declare.view import View
from projector.store.names import generation_table
from projector.store.shown import json_row

MOST_KEYS = 2_000
MOST_BYTES = 2 << 20  # of rows; their documents are some two and a half times as long

# A key and its row in one snapshot: a batch writes both, so that no row is older than the revision it is sent with.
_TAKE = """
WITH taken AS MATERIALIZED (
  SELECT key, revision FROM outbox
  WHERE relation = %(relation)s AND (%(after)s::text IS NULL OR key > %(after)s::text)
  ORDER BY key LIMIT %(most)s
), shown AS (
  SELECT t.key, t.revision, s.row,
    sum(coalesce(octet_length(s.row), 0)) OVER (ORDER BY t.key) - coalesce(octet_length(s.row), 0) AS before
  FROM taken AS t LEFT JOIN ({rows}) AS s ON s.key = t.key
)
SELECT key, revision, row FROM shown WHERE before < {bytes} ORDER BY key
"""
# A row that a batch is changing is left: it gets a later revision. So nobody waits for another here.
_DONE = """
WITH sent AS (SELECT * FROM unnest(%(keys)s::text[], %(revisions)s::bigint[]) AS s (key, revision)),
same AS (
  SELECT o.key FROM outbox AS o JOIN sent USING (key, revision) WHERE o.relation = %(relation)s
  FOR UPDATE OF o SKIP LOCKED
),
done AS (DELETE FROM outbox WHERE relation = %(relation)s AND key IN (SELECT key FROM same)),
refused AS (
  INSERT INTO search_dead_letters (relation, key, revision, reason)
  SELECT %(relation)s, r.key, sent.revision, r.reason
  FROM unnest(%(refused)s::text[], %(reasons)s::text[]) AS r (key, reason) JOIN sent USING (key)
  ON CONFLICT (relation, key) DO UPDATE SET revision = excluded.revision, reason = excluded.reason, at = now()
),
mended AS (
  DELETE FROM search_dead_letters
  WHERE relation = %(relation)s AND key = ANY(%(keys)s::text[]) AND key <> ALL(%(refused)s::text[])
)
UPDATE search_generations SET sent = sent + 1 WHERE relation = %(relation)s AND state <> 'gone'
RETURNING generation, search, sent
"""
_REVISIONS = "SELECT key, revision FROM outbox WHERE relation = %s AND key = ANY(%s)"


class Row(NamedTuple):
    """A key to be sent; `shown` is its row as JSON text, None where the view has none."""

    key: str
    revision: int
    shown: str | None


class Rows:
    """The outbox of one view, on one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], view: View) -> None:
        self._connection, self._view = connection, view
        self._take: dict[int, str] = {}

    async def take(self, generation: int, after: str | None, most: int = MOST_KEYS) -> list[Row]:
        """The next keys behind one, in order: as many as a bulk holds, one at least; none: there are no more."""
        if generation not in self._take:
            rows = rows_of(self._view, generation)
            self._take[generation] = _TAKE.format(rows=rows, bytes=MOST_BYTES)
        values = {"relation": self._view.name, "after": after, "most": most}
        found = await self._connection.execute(self._take[generation], values, prepare=False)
        return [Row(*each) for each in await found.fetchall()]

    async def others(self, generation: int, rows: Sequence[Row]) -> list[Row]:
        """The same keys in another generation: no older than the revisions they are sent with."""
        query = f"SELECT key, row FROM ({rows_of(self._view, generation)}) AS s WHERE key = ANY(%s)"
        found = await self._connection.execute(query, ([row.key for row in rows],), prepare=False)
        shown = dict(await found.fetchall())
        return [Row(row.key, row.revision, shown.get(row.key)) for row in rows]

    async def done(self, rows: Sequence[Row], refused: dict[str, str]) -> dict[tuple[int, int], int]:
        """Take off the outbox what has not changed since; returns how many bulks each copy has had."""
        values = {
            "relation": self._view.name,
            "keys": [row.key for row in rows],
            "revisions": [row.revision for row in rows],
            "refused": list(refused),
            "reasons": list(refused.values()),
        }
        told = await (await self._connection.execute(_DONE, values)).fetchall()
        return {(generation, search): sent for generation, search, sent in told}

    async def revisions(self, keys: Sequence[str]) -> dict[str, int]:
        """The revisions of those of the keys that are in the outbox now."""
        return dict(await (await self._connection.execute(_REVISIONS, (self._view.name, list(keys)))).fetchall())


def rows_of(view: View, generation: int) -> str:
    """A query of `key` and `row`, each row as the API shows it."""
    table = generation_table(view, generation).alias("v")
    shown, row = json_row([table.c[c.name] for c in view.columns], table)
    key = table.c[view.key[0]].label("key")
    return render(select(key, shown.label("row")).select_from(table.join(row, true())))

"""Search generations in Postgres: which copies of a view its index has, how they come, and when they count."""

from dataclasses import dataclass
from typing import Any

import psycopg

from projector.declare.sql import quoted
from projector.errors import NotMigrated, OutOfDate
from projector.store.changed import OTHERS
from projector.store.locks import LOCK
from projector.store.names import generation_name
from projector.store.shown import utc_text

FILLED_AT_ONCE = 10_000  # keys put into the outbox under the group's lock, which batches wait for meanwhile

# What is known of a view, in one snapshot, before any row is read.
_STAND = f"""
SELECT (SELECT declarations FROM projection_group),
       (SELECT generation FROM served WHERE relation = %(relation)s),
       (SELECT {utc_text("as_of")} FROM projection_group),
       (SELECT coalesce(jsonb_object_agg(topic || '/' || partition, next - 1), '{{}}') FROM positions WHERE next > 0
          HAVING NOT EXISTS (SELECT FROM pending JOIN served USING (relation, generation))),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(generation, search, s.digest, s.state, filled_to, sent)
          ORDER BY generation, search), '[]')
        FROM search_generations AS s JOIN generations AS g USING (relation, generation)
        WHERE relation = %(relation)s AND s.state <> 'gone' AND g.state <> 'kept'),
       EXISTS (SELECT FROM pending JOIN generations USING (relation, generation) WHERE state = 'building')
         OR EXISTS (SELECT FROM captured WHERE id > (SELECT min(captured_to) FROM rebuilds))
"""
_REGISTER = """
INSERT INTO search_generations (relation, generation, search, digest, state)
SELECT %(relation)s, %(generation)s, coalesce(max(search), 0) + 1, %(digest)s, 'filling'
FROM search_generations WHERE relation = %(relation)s AND generation = %(generation)s RETURNING search
"""
_ABANDON = """
WITH gone AS (
  UPDATE search_generations SET state = 'gone'
  WHERE relation = %(relation)s AND generation = %(generation)s AND search = ANY(%(searches)s)
)
UPDATE served SET search = NULL
WHERE relation = %(relation)s AND generation = %(generation)s AND search = ANY(%(searches)s)
"""
_FILL = """
WITH keys AS MATERIALIZED (
  SELECT {key} AS key FROM {table} WHERE %(after)s::text IS NULL OR {key} > %(after)s::text
  ORDER BY {key} LIMIT %(most)s
), put AS (
  INSERT INTO outbox (relation, key, revision)
  SELECT %(relation)s, key, (SELECT nextval('revisions')) FROM keys ORDER BY key
  ON CONFLICT (relation, key) DO UPDATE SET revision = excluded.revision
)
UPDATE search_generations SET filled_to = coalesce((SELECT max(key) FROM keys), filled_to),
  state = CASE WHEN (SELECT count(*) FROM keys) < %(most)s THEN 'sending' ELSE state END
WHERE relation = %(relation)s AND generation = %(generation)s AND search = %(search)s AND state = 'filling'
RETURNING state, filled_to
"""
_SERVE = """
WITH others AS (
  UPDATE search_generations SET state = CASE WHEN search = %(search)s THEN 'live' ELSE 'gone' END
  WHERE relation = %(relation)s AND generation = %(generation)s AND search <= %(search)s
)
UPDATE served SET search = %(search)s WHERE relation = %(relation)s AND generation = %(generation)s
"""


@dataclass
class Copy:
    """A copy of one generation of the view in an index of its own."""

    generation: int
    search: int
    digest: str
    state: str
    filled_to: str | None
    sent: int


@dataclass(frozen=True)
class Stand:
    """What a view is at: the served generation, what is applied, the copies of that one and of one being built.

    `positions` are those that all rows have; None while some wait to be refreshed.
    """

    generation: int
    as_of: str | None
    positions: dict[str, int] | None
    copies: list[Copy]
    coming: list[Copy]
    behind: bool  # what is being built has yet to take in some of what is applied

    @property
    def every(self) -> list[Copy]:
        """All copies that are kept up to date."""
        return self.copies + self.coming


class Copies:
    """The search generations of one view, on one connection. Changes of them are made under the group's lock."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], group: str, relation: str, key: str, declarations: str
    ) -> None:
        self._connection, self._group, self._relation, self._key = connection, group, relation, key
        self._declarations = declarations

    async def stand(self) -> Stand:
        """What the view is at. Raises OutOfDate where the database is of other declarations."""
        try:
            row = await (await self._connection.execute(_STAND, {"relation": self._relation})).fetchone()
        except psycopg.errors.UndefinedTable:
            raise NotMigrated(self._group) from None
        assert row is not None
        declarations, generation, as_of, positions, copies, behind = row
        if declarations != self._declarations or generation is None:
            raise OutOfDate(OTHERS)
        every = [Copy(*each) for each in copies]
        served = [copy for copy in every if copy.generation == generation]
        coming = [copy for copy in every if copy not in served]
        return Stand(generation, as_of, positions, served, coming, behind)

    async def register(self, generation: int, digest: str) -> Copy:
        """A new copy: from now on batches write the outbox of this view."""
        values = {"relation": self._relation, "generation": generation, "digest": digest}
        (search,) = await self._locked(_REGISTER, values)
        return Copy(generation, search, digest, "filling", None, 0)

    async def abandon(self, generation: int, *searches: int) -> None:
        """Give copies up; where one was searched, Postgres answers until there is another."""
        values = {"relation": self._relation, "generation": generation, "searches": list(searches)}
        await self._locked(_ABANDON, values)

    async def fill(self, copy: Copy) -> None:
        """Put all keys into the outbox, in portions; goes on where it was stopped."""
        table = quoted(generation_name(self._relation, copy.generation))
        statement = _FILL.format(key=quoted(self._key), table=table)
        what = {"relation": self._relation, "generation": copy.generation, "search": copy.search}
        while copy.state == "filling":
            values = what | {"after": copy.filled_to}
            row = await self._locked(statement, values | {"most": FILLED_AT_ONCE})
            copy.state, copy.filled_to = row or ("gone", None)

    async def serve(self, copy: Copy) -> None:
        """Let a whole copy count, of a generation being built once that is served; those before it are given up."""
        values = {"relation": self._relation, "generation": copy.generation, "search": copy.search}
        await self._locked(_SERVE, values)
        copy.state = "live"

    async def _locked(self, statement: str, values: dict[str, Any]) -> Any:
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            await cursor.execute(LOCK, {"group": self._group})
            await cursor.execute(statement, values, prepare=False)  # planned for the values: whether `after` is null
            return await cursor.fetchone() if cursor.description else None

"""What the feed of one view holds, and the rows of its keys as they are now.

The feed has one row a batch: a revision, and the keys that changed. Reading on behind the last revision misses none: a
batch draws its revision under the group's lock, and Postgres lets go of that lock only once the commit is to be seen.
So whoever sees revision 8 sees 7, if there is one, and what is not to be seen yet will have a higher one.

Rows are read after the feed, so a row is as new as the change that it is told for, or newer: states, not a history. The
last change of a key is always told with a row read behind it.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, Text, and_, bindparam, cast, column, func, select, true
from sqlalchemy.dialects.postgresql import array

from read_api.changes.events import Mark
from read_api.freshness import Freshness, Wanted
from read_api.kinds import BOOLEAN, DECIMAL, INSTANT, INTEGER, WHOLE, Kind
from read_api.reading import Asked, Reader
from read_api.resource import Resource
from read_api.statements import AT, DIALECT, FRESHNESS, Statement, row_as_json

KEYS = 5_000  # of a page, but for the last batch in it, which may have more
BATCHES = 500
# Which database this is: a restored or promoted one goes on with revisions that told something else before. And when
# the generation came to be served: its number may be that of one before it, which is gone.
_DATABASE = """
SELECT left(md5(concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
  (SELECT timeline_id FROM pg_control_checkpoint()),
  (SELECT oid FROM pg_database WHERE datname = current_database()), 'changes'::regclass::oid,
  extract(epoch FROM g.built_at))), 12)
"""
_PAGE = f"""
SELECT {FRESHNESS},
  ({_DATABASE}), g.generation, extract(epoch FROM now())::bigint,
  (SELECT coalesce(max(revision), 0) FROM changes WHERE relation = $1),
  (SELECT coalesce(json_agg(json_build_array(revision, at, keys) ORDER BY revision), '[]') FROM (
    SELECT revision, at, keys, sum(cardinality(keys)) OVER (ORDER BY revision) - cardinality(keys) AS before FROM (
      SELECT revision, floor(extract(epoch FROM at))::bigint AS at, upserted || deleted AS keys
      FROM changes WHERE relation = $1 AND revision > $2 ORDER BY revision LIMIT {BATCHES}
    ) AS next_ones
  ) AS summed WHERE before < {KEYS})
FROM {AT % 3}"""
NO_MORE = 2**63 - 1
AT_ONCE = Wanted({}, None)


class Page(NamedTuple):
    """Keys that changed behind a place, each once, and where that ends: at `mark`. `head`: where the feed ends."""

    keys: Sequence[str]
    mark: Mark
    head: Mark
    freshness: Freshness

    @property
    def last(self) -> bool:
        """Whether the feed holds no more behind it."""
        return self.mark.revision >= self.head.revision


class Source:
    """The feed of one view. `feed` names the relation that it is kept for: of a virtual view, the one it reads.

    `gate` lets so many ask at once as there are connections: when thousands come back together, none is refused.
    """

    def __init__(self, resource: Resource, feed: str, reader: Reader, gate: asyncio.Semaphore) -> None:
        self.resource, self.feed, self._reader, self._gate = resource, feed, reader, gate

    async def page(self, after: int, wanted: Wanted = AT_ONCE) -> Page:
        """What changed behind a revision. Raises a 503 Problem."""

        def ask(_generation: int) -> Asked:
            return _PAGE, [self.feed, after, self.resource.definition]

        # those who wait for a position, seconds perhaps, keep nobody else out
        async with self._gate if not wanted.positions else nullcontext():
            found, freshness = await self._reader.answer(self.resource, wanted, ask)
        database, generation, now, top, batches = found
        # before the first change of all, or with all dropped as too old: where the reader is, nothing came behind it
        head = Mark(database, generation, max(top, after if top == 0 and after != NO_MORE else 0), now)
        if not batches or batches[-1][0] == head.revision:
            mark = head
        else:
            mark = Mark(database, generation, batches[-1][0], batches[-1][1])
        keys = dict.fromkeys(key for _, _, its in batches for key in its)
        return Page(list(keys), mark, head, freshness)

    async def rows(self, keys: Sequence[str], resource: Resource) -> dict[str, str]:
        """The rows of these keys as JSON, as `resource` shows them; a key without a row is left out."""
        found: dict[str, str] = {}
        for nulls, texts in self._by_nulls(keys).items():
            columns = list(zip(*(its for its in texts.values()), strict=True))

            def ask(generation: int, nulls: tuple[bool, ...] = nulls, columns: list[Any] = columns) -> Asked:
                statement = _rows(resource, generation, nulls)
                values = {f"k{n}": list(its) for n, its in enumerate(columns)} | {"definition": resource.definition}
                return statement.sql, statement.values(values)

            async with self._gate:
                (rows,), _ = await self._reader.answer(resource, AT_ONCE, ask)
            asked = list(texts)
            found |= {asked[int(n) - 1]: row for n, row in rows}
        return found

    def key_json(self, key: str) -> str:
        """The key as an object, from its text in the feed."""
        values = self._values(key)
        pairs = zip(self.resource.key, values, strict=True)
        return json.dumps({f.name: _shown(f.kind, v) for f, v in pairs}, ensure_ascii=False, separators=(",", ":"))

    def _values(self, key: str) -> tuple[str | None, ...]:
        if len(self.resource.key) == 1:
            return (key,)
        values = json.loads(key, parse_int=str, parse_float=str)  # a float would not have all digits
        return tuple(v if v is None or isinstance(v, str) else json.dumps(v) for v in values)

    def _by_nulls(self, keys: Sequence[str]) -> dict[tuple[bool, ...], dict[str, tuple[str | None, ...]]]:
        """Keys and their values by which of those are null: null is found by no `=`."""
        found: dict[tuple[bool, ...], dict[str, tuple[str | None, ...]]] = {}
        for key in keys:
            values = self._values(key)
            found.setdefault(tuple(v is None for v in values), {})[key] = values
        return found


def _shown(kind: Kind, text: str | None) -> Any:
    """A value of a key as rows show it (`projector.store.shown`), from its text in the feed."""
    if text is None:
        return None
    if kind in (INTEGER, WHOLE):
        return int(text)
    if kind is DECIMAL:
        return text.rstrip("0").removesuffix(".") if "." in text else text
    if kind is INSTANT:
        whole, point, part = (
            datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None).isoformat().partition(".")
        )
        return f"{whole}{point}{part.rstrip('0')}Z"
    return text == "true" if kind is BOOLEAN else text


@lru_cache(maxsize=256)
def _rows(resource: Resource, generation: int, nulls: tuple[bool, ...]) -> Statement:
    """Answers one row: the four of FRESHNESS, and an array of [which of the keys, row as JSON]."""
    table = resource.source(generation)
    asked = [bindparam(f"k{n}", type_=ARRAY(Text)) for n in range(len(nulls))]
    names = [column(f"k{n}", Text) for n in range(len(nulls))]
    keys = func.unnest(*asked).table_valued(*names, with_ordinality="n").render_derived(name="keys")
    same = [
        table.c[f.name].is_(None) if null else table.c[f.name] == cast(keys.c[f"k{n}"], table.c[f.name].type)
        for n, (f, null) in enumerate(zip(resource.key, nulls, strict=True))
    ]
    as_json, row = row_as_json(resource.fields, table)
    pair = array([cast(keys.c.n, Text), as_json])
    rows = select(pair).select_from(keys.join(table, and_(*same)).join(row, true())).compile(dialect=DIALECT)
    found = (*(rows.positiontup or ()), "definition")
    return Statement(f"SELECT {FRESHNESS},\nARRAY({rows}) FROM {AT % len(found)}", found)

"""The plan of a refresh: from changed rows to the views they touch, in the order in which views read each other."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import psycopg

from projector.apply.aggregates import Aggregate
from projector.apply.captured import Captured
from projector.apply.change import Change
from projector.apply.entities import child_rows
from projector.apply.routes import Route, routes_of
from projector.apply.write import AllParts, Writing
from projector.declare.entity import Entity
from projector.declare.projections import Projections
from projector.declare.view import View
from projector.store import changes as feed
from projector.store import drift, outbox
from projector.store.names import generation_table
from projector.store.refused import BAD_DATA, storing

# Keys refreshed in one transaction; more wait in `pending`, so that the group's lock is not held for long.
FAN_OUT = 20_000
# Keys of a fan-out, and pending keys, refreshed in one transaction: live batches wait meanwhile.
PORTION = 2_500

# In blocks of one portion each, which cost a hundredth of a row for each key; keys that wait for that much already wait
# once. Each block takes its keys from all over the table: where few rows of a page change, each finds room in it for
# its new version, and the indexes stay as they are.
_PEND = """
INSERT INTO pending (relation, generation, parts, keys)
SELECT %(relation)s, %(generation)s, %(parts)s, array_agg(key) FROM (
  SELECT key, row_number() OVER (ORDER BY key) %% (1 + count(*) OVER () / %(portion)s) AS block FROM (
    SELECT unnest(%(keys)s::text[]) COLLATE "C" AS key EXCEPT
    SELECT unnest(keys) FROM pending WHERE relation = %(relation)s AND generation = %(generation)s
      AND (parts IS NULL OR parts @> %(parts)s::text[])
  ) AS news
) AS numbered GROUP BY block
"""
_TAKE = """
DELETE FROM pending WHERE id = (SELECT min(id) FROM pending WHERE relation = %s AND generation = %s)
RETURNING keys, parts
"""

Touched = Callable[[Route], Iterable[str]]


class Keys:
    """Keys of one view to be refreshed: the whole row of some; of the others those parts that any of them needs."""

    def __init__(self) -> None:
        self._whole, self._partly = dict[str, None](), dict[str, None]()
        self._parts: frozenset[str] = frozenset()

    def add(self, keys: Iterable[str], parts: AllParts) -> None:
        """Take in what one route has found."""
        if parts is None:
            self._whole |= dict.fromkeys(keys)
        elif found := dict.fromkeys(keys):
            self._partly |= found
            self._parts |= parts

    def split(self, most: int) -> Iterator[tuple[list[str], list[str], AllParts]]:
        """Those to be refreshed now, as many as may be, and those for later; each kind with its parts."""
        partly = [key for key in self._partly if key not in self._whole]
        for keys, parts in ((list(self._whole), None), (partly, self._parts)):
            yield keys[:most], keys[most:], parts
            most = max(0, most - len(keys))


class Plan:
    """What a batch does to the views, compiled for one generation of each: those that are served.

    Or, for some relations (`built`), those that are being built, by the definitions of who builds them. They read the
    others; nobody sees yet what changes there, so the change feed is not told.
    """

    pended = False  # whether the last refresh left keys to `drain`

    def __init__(
        self, projections: Projections, generations: Mapping[str, int], built: Collection[str] | None = None
    ) -> None:
        self.served = served = dict(generations)
        self._is_building = built is not None
        self._views = [v for v in projections.views if built is None or v.name in built]
        self._fed = frozenset(projections.feeds.values()) if built is None else frozenset[str]()
        self.searched: frozenset[str] = frozenset()  # views that have a copy in the search index
        names = {r.table: generation_table(r, served[r.name]) for r in projections.relations}
        self._routes = {view.name: routes_of(view, names) for view in self._views}
        self._names = {id(r.table): r.name for r in projections.relations}
        self._owners = {id(t): (e, None) for e in projections.entities for t in [e.table]} | {
            id(c.table): (e, c) for e in projections.entities for c in e.children
        }
        wanted: dict[str, frozenset[str]] = {}
        for route in (r for routes in self._routes.values() for r in routes if id(r.table) in self._names):
            name = self._names[id(route.table)]
            wanted[name] = wanted.get(name, frozenset()) | {route.column}
        self._writing = {
            v.name: Writing(v, [r for r in projections.rollups if r.source is v], names, served, wanted)
            for v in self._views
        }

    def refresh(self, cursor: psycopg.Cursor[Any], aggregates: Iterable[Aggregate]) -> list[Change]:
        """Bring every view that the touched aggregates show in to what its query says now."""
        touched, self.pended = [a for a in aggregates if a.touched], False
        return self._run(cursor, lambda route: self._values(route, touched), {})

    def take_in(self, cursor: psycopg.Cursor[Any], captured: Captured) -> list[Change]:
        """Bring the rows that captured changes of entities reach to what their query says now."""
        return self._run(cursor, captured.values, {})

    def drain(self, cursor: psycopg.Cursor[Any], names: Collection[str] | None = None) -> list[Change] | None:
        """Refresh one block of pending keys, of the first view (of those named) that has any; None: none has.

        Where Postgres refuses a row, the block is halved for the next ones, until that row's key is found. It is told
        as drift: the event that brought it is applied, so it can be no dead letter. Of what is being built that is an
        error: DeclarationError.
        """
        for view in (v for v in self._views if names is None or v.name in names):
            block = cursor.execute(_TAKE, (view.name, self.served[view.name])).fetchone()
            if block:
                parts = self._writing[view.name].known(block[1])
                try:
                    with cursor.connection.transaction():  # a savepoint
                        keys = Keys()
                        keys.add(block[0], parts)
                        return self._run(cursor, lambda route: (), {view.name: keys})
                except BAD_DATA:
                    self._set_apart(cursor, view, block[0], parts)
                    return []
        return None

    def _set_apart(self, cursor: psycopg.Cursor[Any], view: View, keys: list[str], parts: AllParts) -> None:
        """Leave the row of one key as it is, which is drift then; of more keys, pend the halves."""
        if len(keys) == 1:
            cursor.execute(drift.SEE, drift.seen(view.name, drift.VIEW, [(keys, "different")]))
            return
        middle = len(keys) // 2
        for half in (keys[:middle], keys[middle:]):
            self._pend(cursor, view, half, parts)

    def _run(self, cursor: psycopg.Cursor[Any], touched: Touched, given: Mapping[str, Keys]) -> list[Change]:
        changes: dict[str, Change] = {}
        for view in self._views:
            keys = given.get(view.name) or Keys()
            # the first are the surest to be looked at next: rows of what changed itself, before those it reaches
            for route in sorted(self._routes[view.name], key=lambda r: r.query is not None):
                upstream = changes.get(self._names.get(id(route.table), ""))
                found = _keys(cursor, route, list(upstream.values[route.column] if upstream else touched(route)))
                near = len(found) if route.query is None else PORTION
                keys.add(found[:near], route.parts)
                self._pend(cursor, view, found[near:], route.parts)
            for now, later, parts in keys.split(FAN_OUT):
                self._pend(cursor, view, later, parts)
                for change in self._write(cursor, view, now, parts) if now else ():
                    known = changes.get(change.relation.name)
                    changes[change.relation.name] = change if known is None else known + change
        self.tell(cursor, changes.values())
        return list(changes.values())

    def _write(self, cursor: psycopg.Cursor[Any], view: View, keys: list[str], parts: AllParts) -> list[Change]:
        with storing(view) if self._is_building else nullcontext():
            return self._writing[view.name].run(cursor, keys, parts)

    def tell(self, cursor: psycopg.Cursor[Any], changes: Collection[Change]) -> None:
        """Tell the change feed, and the search index, what the transaction has written, which has the group's lock."""
        written = {c.relation.name: c for c in changes if c.upserted or c.deleted}
        feed.append(cursor, {n: (c.upserted, c.deleted) for n, c in written.items() if n in self._fed})
        outbox.put(cursor, {n: c.upserted + c.deleted for n, c in written.items() if n in self.searched})

    def _pend(self, cursor: psycopg.Cursor[Any], view: View, keys: list[str], parts: AllParts) -> None:
        if keys:
            self.pended = True
            what = {"relation": view.name, "generation": self.served[view.name], "portion": PORTION}
            cursor.execute(_PEND, what | {"keys": keys, "parts": None if parts is None else sorted(parts)})

    def _values(self, route: Route, touched: list[Aggregate]) -> set[str]:
        """The values of the route's column in the changed rows of an entity or a child table, old and new."""
        if id(route.table) not in self._owners:
            return set()
        entity, child = self._owners[id(route.table)]
        found: set[Any] = set()
        for aggregate in touched:
            if aggregate.entity is not entity:
                continue
            if child is None:
                if _differs(aggregate, entity, route.uses):
                    found |= {getattr(s, route.column) for s in (aggregate.before, aggregate.state) if s is not None}
            elif rows := set(child_rows(aggregate.before, child)) ^ set(child_rows(aggregate.state, child)):
                found |= {aggregate.key} if route.column == entity.key else {getattr(r, route.column) for r in rows}
        return {str(value) for value in found if value is not None}


def _differs(aggregate: Aggregate, entity: Entity[Any], uses: frozenset[str]) -> bool:
    before, state = aggregate.before, aggregate.state
    if before is None or state is None:
        return before is not state
    # of a copy an erasure in the group may have blanked this row already (`copies.py`), and not the view's rows, which
    # were being written and not yet to be seen
    if aggregate.erased and entity.erasure is not None and not uses.isdisjoint(entity.erasure.fields):
        return True
    if "updated_at" in uses and aggregate.updated_at != aggregate.updated_before:
        return True
    return any(getattr(before, f) != getattr(state, f) for f in entity.fields if f in uses)


def _keys(cursor: psycopg.Cursor[Any], route: Route, values: list[Any]) -> list[str]:
    """The keys, as texts and once each: a query by hand may repeat them, and one that groups may find null."""
    found = values
    if route.query is not None and values:
        found = [key for (key,) in cursor.execute(route.query, {"keys": values})]
    return list(dict.fromkeys(str(key) for key in found if key is not None))

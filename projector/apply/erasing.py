"""Erasure: what is kept of a person blanked everywhere, in the transaction of the event or command that erases.

Entities and served views are blanked by the fold, as by any other. Here is the rest: what replays need, what nobody
refreshes, and what remembers that it was done.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from projector.apply.aggregates import Aggregate
from projector.apply.batch import Record
from projector.apply.copies import Copies
from projector.apply.letters import freeze, raw, thaw, unraw
from projector.apply.traces import Place, Traces
from projector.declare.entity import Entity
from projector.declare.personal import personal_columns
from projector.declare.projections import Projections
from projector.declare.sql import quoted
from projector.store.names import generation_name
from schemas.envelope import RawRecord

PAGE = 1_000  # records looked at, and erasures gone on with, at a time
FEW = 20  # ids that Postgres looks for in each record; of more, all records are looked at here

_REMEMBER = "INSERT INTO erasures (entity, key) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING"
_REMEMBERED = """
SELECT entity, key FROM erasures
JOIN unnest(%s::text[], %s::text[]) AS asked (entity, key) USING (entity, key)
"""
_UNFINISHED = "UPDATE erasures SET whole = %s WHERE entity = %s AND key = ANY(%s) AND whole <> %s"
_NEXT = "SELECT entity, array_agg(key) FROM (SELECT * FROM erasures WHERE NOT whole LIMIT %s) AS e GROUP BY entity"
_LEFT = "SELECT count(*) FROM erasures WHERE NOT whole"
# Of a record that is somebody's, the id is in the value; one that could not be told may hold it anywhere. Headers are
# base64 in JSON.
_HOLDING = """
SELECT {id}, entity, aggregate, topic, partition, "offset", key, value, headers, record_time FROM {table} AS r
WHERE {id} > %(after)s AND (key IS NOT NULL OR value IS NOT NULL OR headers <> '[]') AND (%(many)s
  OR (entity, aggregate) IN (SELECT * FROM unnest(%(entities)s::text[], %(keys)s::text[]))
  OR EXISTS (SELECT FROM unnest(%(keys)s::text[]) AS sought, convert_to(sought, 'UTF8') AS bytes
    WHERE position(bytes IN value) > 0 OR aggregate IS NULL AND (position(bytes IN r.key) > 0 OR EXISTS (
      SELECT FROM json_array_elements(headers::json) AS h WHERE position(bytes IN decode(h ->> 1, 'base64')) > 0))))
ORDER BY {id} LIMIT %(most)s
"""
_REWRITE = "UPDATE {table} SET key = %s, value = %s, headers = %s WHERE {id} = %s"
_BASES = """
SELECT entity, aggregate, base FROM journals
WHERE base IS NOT NULL AND (entity, aggregate) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""
_BASE = "UPDATE journals SET base = %s WHERE entity = %s AND aggregate = %s"
_GIVE_UP = """
WITH gone AS (
  UPDATE journals SET base = NULL WHERE (entity, aggregate) IN (SELECT * FROM unnest(%(e)s::text[], %(a)s::text[]))
)
DELETE FROM journal_records WHERE (entity, aggregate) IN (SELECT * FROM unnest(%(e)s::text[], %(a)s::text[]))
"""
_REFUSED = """
UPDATE search_dead_letters AS d SET reason = 'blanked: what it was about is erased'
FROM {table} AS v WHERE d.relation = %(relation)s AND v.{key} = d.key AND v.{owner} = ANY(%(keys)s)
  AND d.reason NOT LIKE 'blanked: %%'
"""
# What a generation being built has yet to take in must go on telling that something has changed.
_CAPTURED = """
UPDATE captured SET before = before || %(before)s::jsonb, after = after || %(after)s::jsonb
WHERE source = %(table)s AND coalesce(after, before) ->> %(key)s = ANY(%(keys)s)
"""

# Copies made from the log that are not whole yet: each is a group of its own, whose tables a search path finds.
_HALF_MADE = """
SELECT quote_ident(schema)
FROM (SELECT current_schema() || '$' || id AS schema FROM copies WHERE state = 'building') AS half_made
WHERE to_regclass(quote_ident(schema) || '.journal_records') IS NOT NULL
"""
_PATH = "SELECT current_setting('search_path'), current_setting('lock_timeout')"
_GO = "SELECT set_config('search_path', %s, true), set_config('lock_timeout', %s, true)"
_PATIENCE = "50ms"

Hide = Callable[[Record, Place | None], Record]


@dataclass
class Touched:
    """What an erasure has blanked: rows by entity, view and copy, dead letters and so on. `whole`: nothing is left."""

    entities: Counter[str] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    journals: int = 0
    search: Counter[str] = field(default_factory=Counter)
    whole: bool = True

    def add(self, other: "Touched") -> None:
        """Take in what another transaction has blanked."""
        for mine, theirs in ((self.entities, other.entities), (self.views, other.views), (self.copies, other.copies)):
            mine.update(theirs)
        self.search.update(other.search)
        self.dead_letters += other.dead_letters
        self.journals += other.journals
        self.whole = other.whole


class Erasing:
    """What an applier does about aggregates that are erased."""

    def __init__(self, projections: Projections) -> None:
        self._entities = projections.personal.values()
        self._searched = {view.name: view for view in projections.searched}
        self._personal = personal_columns(projections)
        self._traces, self._copies = Traces(projections), Copies(projections, self._personal)

    def erase(self, entity: Entity[Any], aggregate: Aggregate, create: bool = True) -> bool:
        """Fold the erasure into one aggregate, outside of any event; whether that has changed it."""
        assert entity.erasure is not None
        if aggregate.state is None and not create:
            return False
        state = entity.erasure.erase(entity, aggregate.key, aggregate.state)
        aggregate.touched, aggregate.state = state != aggregate.state, state
        return aggregate.touched

    def remembered(self, cursor: psycopg.Cursor[Any], places: Collection[Place]) -> set[Place]:
        """Those of the aggregates that are erased."""
        return set(cursor.execute(_REMEMBERED, _columns(places)).fetchall()) if places else set()

    def hiding(self, cursor: psycopg.Cursor[Any], kept: Iterable[tuple[Record, Place | None]]) -> Hide:
        """What makes records of aggregates erased before fit to be kept. All are given, to be asked about at once."""
        held = [self._traces.held(record, told) for record, told in kept]
        erased = self.remembered(cursor, set().union(*held))

        def hide(record: Record, told: Place | None) -> Record:
            theirs = erased & self._traces.held(record, told) if erased else None
            return self._traces.blank(record, erased) if theirs else record

        return hide

    def blank(
        self, cursor: psycopg.Cursor[Any], served: Mapping[str, int], entity: Entity[Any], keys: Sequence[str]
    ) -> Touched:
        """Remember these aggregates of an entity as erased, and blank all but entities and served views.

        `served`: generations, by view.
        """
        touched, places = Touched(), {(entity.name, key) for key in keys}
        cursor.execute(_REMEMBER, (entity.name, list(keys)))
        self._blank_records(cursor, places, touched)
        self._blank_half_made(cursor, places, touched)
        blank_captured(cursor, entity, keys)
        self._blank_refused(cursor, served, entity, keys)
        touched.copies, touched.whole = self._blank_copies(cursor, entity.name, list(keys))
        return touched

    def go_on(self, cursor: psycopg.Cursor[Any]) -> tuple[Counter[str], int]:
        """Blank one more portion of copies with very many rows; returns what was touched, and how many are left."""
        touched = Counter[str]()
        for entity, keys in cursor.execute(_NEXT, (PAGE,)).fetchall():
            touched += self._blank_copies(cursor, entity, keys)[0]
        (left,) = cursor.execute(_LEFT).fetchone() or (0,)
        return touched, int(left)

    def _blank_copies(self, cursor: psycopg.Cursor[Any], entity: str, keys: list[str]) -> tuple[Counter[str], bool]:
        touched, whole = self._copies.blank(cursor, entity, keys)
        cursor.execute(_UNFINISHED, (whole, entity, keys, whole))
        return touched, whole

    def _blank_records(self, cursor: psycopg.Cursor[Any], places: set[Place], touched: Touched) -> None:
        """What replays need, of the group that the search path is of."""
        touched.dead_letters += self._rewrite(cursor, "dead_letters", "id", places)[0]
        rewritten, lost = self._rewrite(cursor, "journal_records", "n", places)
        touched.journals += rewritten + self._blank_bases(cursor, places)
        give_up(cursor, lost)

    def _blank_half_made(self, cursor: psycopg.Cursor[Any], places: set[Place], touched: Touched) -> None:
        """The same of copies that somebody makes, who blanks what is locked here, or has left half made."""
        for (theirs,) in cursor.execute(_HALF_MADE).fetchall():
            blanked, ours = Touched(), cursor.execute(_PATH).fetchone()
            with suppress(psycopg.errors.LockNotAvailable):
                with cursor.connection.transaction():
                    cursor.execute(_GO, (theirs, _PATIENCE))
                    self._blank_records(cursor, places, blanked)
                    cursor.execute(_GO, ours)
                touched.add(blanked)

    def _rewrite(self, cursor: psycopg.Cursor[Any], table: str, id_: str, erased: set[Place]) -> tuple[int, set[Place]]:
        """Blank the kept records that hold something of those erased; returns how many were not blank already.

        And whose of them hold nothing any more.
        """
        query, update = _HOLDING.format(table=table, id=id_), _REWRITE.format(table=table, id=id_)
        values = dict(zip(("entities", "keys"), _columns(erased), strict=True)) | {"many": len(erased) > FEW}
        rewritten, lost, after = 0, set[Place](), 0
        while rows := cursor.execute(query, values | {"after": after, "most": PAGE}, prepare=False).fetchall():
            after, news = rows[-1][0], []
            for number, entity, aggregate, *row in rows:
                record, told = RawRecord(*unraw(tuple(row))), None if aggregate is None else (entity, aggregate)
                if self._traces.held(record, told) & erased and (made := self._traces.blank(record, erased)) != record:
                    news.append((*raw(made)[3:6], number))
                    lost |= {(entity, aggregate)} if made.value is None else set()
            if news:
                cursor.executemany(update, news)
            rewritten += len(news)
        return rewritten, lost

    def _blank_bases(self, cursor: psycopg.Cursor[Any], erased: set[Place]) -> int:
        entities, blanked = {e.name: e for e in self._entities}, 0
        for name, key, base in cursor.execute(_BASES, _columns(erased)).fetchall():
            try:
                aggregate = thaw(entities[name], key, base)
            except msgspec.ValidationError:  # of a state that had other fields
                give_up(cursor, [(name, key)])
            else:
                if not self.erase(entities[name], aggregate, create=False):
                    continue
                cursor.execute(_BASE, (freeze(aggregate), name, key))
            blanked += 1
        return blanked

    def _blank_refused(
        self, cursor: psycopg.Cursor[Any], served: Mapping[str, int], entity: Entity[Any], keys: Sequence[str]
    ) -> None:
        """What Elasticsearch has said of a row may quote it."""
        for name, view in self._searched.items():
            for personal in self._personal.get(name, ()):
                if personal.entity == entity.name and personal.owner is not None and name in served:
                    table = quoted(generation_name(name, served[name]))
                    statement = _REFUSED.format(table=table, key=quoted(view.key[0]), owner=quoted(personal.owner))
                    cursor.execute(statement, {"relation": name, "keys": list(keys)})


def blank_captured(cursor: psycopg.Cursor[Any], entity: Entity[Any], keys: Sequence[str]) -> None:
    """Blank the personal fields in what was captured of these aggregates."""
    assert entity.erasure is not None
    blank = {"before": dict.fromkeys(entity.erasure.fields, "blank"), "after": dict.fromkeys(entity.erasure.fields)}
    values = {which: Jsonb(fields) for which, fields in blank.items()}
    cursor.execute(_CAPTURED, values | {"table": entity.table.name, "key": entity.key, "keys": list(keys)})


def give_up(cursor: psycopg.Cursor[Any], places: Collection[Place]) -> None:
    """End what is kept of these aggregates for a replay, of which a record can be folded no more."""
    if places:
        entities, keys = _columns(places)
        cursor.execute(_GIVE_UP, {"e": entities, "a": keys})


def _columns(places: Collection[Place]) -> tuple[list[str], list[str]]:
    ordered = sorted(places)
    return [entity for entity, _ in ordered], [key for _, key in ordered]

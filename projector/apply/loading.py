"""Entities alone, from a log that is read again: for a copy, whose views are made once its entities are whole."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from operator import attrgetter, itemgetter
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec
import psycopg
from psycopg.types.json import set_json_dumps
from sqlalchemy import BigInteger, Boolean, Date, DateTime, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from projector.apply.aggregates import Aggregate
from projector.apply.applier import Applier, Opened
from projector.apply.batch import Outcome, TopicPartition
from projector.apply.change import Change
from projector.apply.entities import child_rows
from projector.apply.fold import Aggregates
from projector.apply.incoming import Incoming
from projector.apply.letters import record_time
from projector.apply.plan import Plan
from projector.declare.entity import META, Entity, State
from projector.declare.projections import Projections
from projector.declare.sql import quoted
from projector.declare.types import MoneyByCurrency

# Whoever loads these partitions too waits, and finds its chunks refused.
_MINE = """
SELECT FROM positions JOIN unnest(%(topics)s::text[], %(partitions)s::int[]) AS mine (topic, partition)
USING (topic, partition) ORDER BY topic, partition FOR UPDATE OF positions
"""
_OPEN = """
SELECT EXISTS (SELECT FROM journals), EXISTS (SELECT FROM erasures), set_config('synchronous_commit', 'off', true)
"""
# The entities get their indexes once they are whole. Whether a text fits one Postgres alone can tell: it compresses it.
_INDEX = 'CREATE TEMP TABLE "_long_texts" (value text PRIMARY KEY) ON COMMIT DROP'
_FIT = 'INSERT INTO "_long_texts" SELECT unnest(%s::text[])'
_LONG = 600  # letters of a text that fits, whatever they are: an entry of an index has 2,704 bytes at most
_PAST = "SELECT entity, aggregate FROM past WHERE entity = ANY(%s) AND aggregate = ANY(%s)"
_PASSED = "INSERT INTO past (entity, aggregate) VALUES (%s, %s) ON CONFLICT DO NOTHING"
# Of these a column takes in binary form what it takes of a worker, or psycopg refuses it. Of a whole number for a
# smaller column psycopg cuts off what has no room.
_EXACT = {
    (Text, str),
    (BigInteger, int),
    (Boolean, bool),
    (Numeric, Decimal),
    (Numeric, int),
    (DateTime, datetime),
    (Date, date),
    (MoneyByCurrency, dict[str, Decimal]),
}
# To psycopg true is 1 where a number goes, and whatever is not empty is true where a truth does; not so in JSON.
_TAKEN: dict[type[Any], set[Any]] = {
    kind: {NoneType, *(its for of, its in _EXACT if of is kind)} for kind in (BigInteger, Numeric, Boolean)
}
_UNFIT = (psycopg.DataError, TypeError, AttributeError, ValueError, ArithmeticError)

Place = tuple[str, int, int]  # topic, partition, offset
Key = tuple[str, str]  # entity, aggregate


class NoViews(Plan):
    """What a batch does where there are no views yet."""

    def __init__(self) -> None:
        self.served = {}

    def refresh(self, cursor: psycopg.Cursor[Any], aggregates: Iterable[Aggregate]) -> list[Change]:
        """Nothing."""
        return []

    def drain(self, cursor: psycopg.Cursor[Any], names: Collection[str] | None = None) -> list[Change] | None:
        """None has anything."""
        return None


class Loading(Applier):
    """Applies the batches of some partitions to entities, dead letters and journals.

    Several may work beside each other without the group's lock, each at partitions of its own: an aggregate's events
    are in one. `until`: of each aggregate only the events up to the first whose `time` is later (CONTRACT, section 6).
    `given_up` are the places and times of records that were purged: they stay dead letters.
    """

    def __init__(
        self,
        url: str,
        group: str,
        projections: Projections,
        unknown_events: str,
        partitions: Collection[TopicPartition],
        until: datetime | None = None,
        given_up: Mapping[Place, datetime] | None = None,
    ) -> None:
        super().__init__(url, group, projections, unknown_events)
        self._limit, self._until, self._given_up = None, until, given_up or {}
        self._exact = {entity.name for entity in projections.entities if exact(entity)}
        self._indexed = {entity.name: _indexed(entity) for entity in projections.entities}
        self._mine = {"topics": [tp.topic for tp in partitions], "partitions": [tp.partition for tp in partitions]}

    def _save(self, cursor: psycopg.Cursor[Any], aggregates: Aggregates, outcome: Outcome) -> None:
        kept = [a for a in aggregates.values() if a.touched and a.state is not None]
        self._fit(cursor, kept)
        for name, store in self._stores.items():
            touched = [aggregate for aggregate in kept if aggregate.entity.name == name]
            new = [aggregate for aggregate in touched if aggregate.before is None]
            if new and not (name in self._exact and _copied(cursor, store.entity, new)):
                store.save(cursor, new)
            outcome.rows[name] = len(new) + store.save(cursor, (a for a in touched if a.before is not None))

    def _fit(self, cursor: psycopg.Cursor[Any], kept: Iterable[Aggregate]) -> None:
        """Raise ProgramLimitExceeded for a text too long, as the indexes that the entities have do of a live batch."""
        texts = (text for a in kept for text in self._indexed[a.entity.name](a.state))
        if long := {text for text in texts if isinstance(text, str) and len(text) > _LONG}:
            cursor.execute(_INDEX)
            cursor.execute(_FIT, (list(long),))

    @contextmanager
    def transaction(self) -> Iterator[tuple[psycopg.Cursor[Any], Plan, Opened]]:
        """BEGIN; its own positions locked. What is lost in a crash of Postgres is lost with them."""
        with self._begun() as cursor:
            set_json_dumps(msgspec.json.encode, cursor)
            cursor.execute(_MINE, self._mine)
            journals, erasures, _ = cursor.execute(_OPEN).fetchone() or (False, False, "")
            yield cursor, NoViews(), Opened(journals, erasures, None)

    def _admit(self, cursor: psycopg.Cursor[Any], incoming: list[Incoming]) -> list[Incoming]:
        for each in incoming if self._given_up else ():
            record = each.record
            if self._given_up.get((record.topic, record.partition, record.offset)) == record_time(record):
                each.reject("it was purged")
        return incoming if self._until is None else self._until_then(cursor, incoming, self._until)

    def _until_then(self, cursor: psycopg.Cursor[Any], incoming: list[Incoming], until: datetime) -> list[Incoming]:
        keys = {(each.entity.name, each.key) for each in incoming if each.entity is not None and each.key is not None}
        names, aggregates = [entity for entity, _ in keys], [key for _, key in keys]
        past = {(entity, key) for entity, key in cursor.execute(_PAST, (names, aggregates)).fetchall()}
        admitted, passed = [], set[Key]()
        for each in incoming:
            key = (each.entity.name, each.key or "") if each.entity is not None else None
            if key in past:
                continue
            if each.event is not None and each.event.time > until and key is not None:
                past.add(key)
                passed.add(key)
            elif each.event is not None or record_time(each.record) <= until:
                admitted.append(each)
        if passed:
            cursor.executemany(_PASSED, sorted(passed))
        return admitted


def _indexed(entity: Entity[Any]) -> Callable[[State | None], Iterator[Any]]:
    """What tells the texts of a state, and of the rows of its collections, that are indexed."""
    fields = _texts(entity.table, entity.state)
    children = [(child, columns) for child in entity.children if (columns := _texts(child.table, child.state))]

    def texts(state: State | None) -> Iterator[Any]:
        yield from (getattr(state, field) for field in fields)
        for child, columns in children:
            yield from (getattr(row, column) for row in child_rows(state, child) for column in columns)

    return texts


def _texts(table: Table, state: type[State]) -> list[str]:
    indexed = [column for index in table.indexes for column in index.columns]
    return [c.name for c in indexed if isinstance(c.type, Text) and c.name in state.__struct_fields__]


def exact(entity: Entity[Any]) -> bool:
    """Whether its columns are all of types that take in binary form what they take of a worker."""
    states = {entity.table: entity.state} | {child.table: child.state for child in entity.children}
    given = [
        (type(table.c[field].type), _without_null(hint))
        for table, state in states.items()
        for field, hint in get_type_hints(state).items()
        if field in table.c
    ]
    return all(kind is JSONB or (kind, hint) in _EXACT for kind, hint in given)  # JSON is made as a worker makes it


def _without_null(hint: Any) -> Any:
    its = get_args(hint)
    return next(each for each in its if each is not NoneType) if NoneType in its else hint


def _copied(cursor: psycopg.Cursor[Any], entity: Entity[Any], new: list[Aggregate]) -> bool:
    """Write aggregates that are not there yet, by COPY: half of what an upsert takes.

    False: none was, for a value is not of its column's type, or Postgres refuses it. How a worker writes them decides
    what becomes of that.
    """
    try:
        with cursor.connection.transaction():
            _copy(cursor, entity, new)
    except _UNFIT:
        return False
    return True


def _copy(cursor: psycopg.Cursor[Any], entity: Entity[Any], new: list[Aggregate]) -> None:
    its = attrgetter(*(f"state.{field}" for field in entity.fields), "version", "recent", "updated_at")
    columns = [*entity.fields, *(name for name in META if name != "_gaps"), "_gaps"]
    _copy_rows(cursor, entity.table, columns, [(*its(a), a.gaps or None) for a in new])
    for child in entity.children:
        rows = [(a.key, *msgspec.structs.astuple(row)) for a in new for row in child_rows(a.state, child)]
        _copy_rows(cursor, child.table, [entity.key, *child.state.__struct_fields__], rows)


def _copy_rows(cursor: psycopg.Cursor[Any], table: Table, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """In Postgres's binary form, by the types of the columns: half of what text takes."""
    for at, column in enumerate(columns):
        taken = _TAKEN.get(type(table.c[column].type))
        if taken is not None and not taken.issuperset(map(type, map(itemgetter(at), rows))):
            raise TypeError(column)
    into = f"{quoted(table.name)} ({', '.join(map(quoted, columns))})"
    cursor.execute(f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table.name)} LIMIT 0")
    types = [column.type_code for column in cursor.description or ()]
    with cursor.copy(f"COPY {into} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)

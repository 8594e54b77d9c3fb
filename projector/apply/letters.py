"""Dead letters and journals: what bad input leaves behind, so that nothing of it is lost and it can be put right.

The first dead letter or gap of an aggregate begins its journal: the aggregate as it was, and each record applied to
it since. A replay folds base, mended event and journal anew.
"""

import base64
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
from sqlalchemy import Table

from projector.apply.aggregates import Aggregate, Journal
from projector.apply.batch import Record
from projector.declare.entity import Entity

_LETTER = """
INSERT INTO dead_letters
  (topic, partition, "offset", key, value, headers, record_time, reason, detail, type, entity, aggregate, sequence)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (topic, partition, "offset", record_time) DO NOTHING
"""
_BEGIN = "INSERT INTO journals (entity, aggregate, base) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_JOURNAL = """
INSERT INTO journal_records (entity, aggregate, topic, partition, "offset", key, value, headers, record_time)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_JOURNALS = "SELECT aggregate, base IS NULL FROM journals WHERE entity = %s AND aggregate = ANY(%s)"
# A topic that is read from its middle leaves a gap in every aggregate: what is kept for a replay must have an end.
JOURNAL_RECORDS = 10_000
_COUNT = """
WITH full_now AS (
  UPDATE journals j SET records = j.records + n.records,
                        base = CASE WHEN j.records + n.records <= %(most)s THEN base END
  FROM (SELECT entity, aggregate, count(*) AS records
        FROM unnest(%(entities)s::text[], %(aggregates)s::text[]) AS r (entity, aggregate) GROUP BY 1, 2) n
  WHERE j.entity = n.entity AND j.aggregate = n.aggregate RETURNING j.entity, j.aggregate, j.base IS NULL AS is_full
)
DELETE FROM journal_records r USING full_now f WHERE r.entity = f.entity AND r.aggregate = f.aggregate AND f.is_full
"""


@dataclass
class Letter:
    """A record that was not applied, and why. `aggregate` is there where it could be told."""

    record: Record
    reason: str
    detail: str
    type: str | None = None
    sequence: int | None = None
    aggregate: Aggregate | None = None

    @property
    def place(self) -> tuple[str, str] | None:
        """The aggregate by entity and key."""
        return (self.aggregate.entity.name, self.aggregate.key) if self.aggregate else None


@dataclass
class Letters:
    """The dead letters and the journal of one batch."""

    letters: list[Letter] = field(default_factory=list)
    _bases: list[tuple[str, str, str]] = field(default_factory=list)
    _records: list[tuple[str, str, Record]] = field(default_factory=list)

    def add(self, letter: Letter) -> None:
        """Take in a dead letter; its aggregate is journalled from here on."""
        self.letters.append(letter)
        if letter.aggregate is not None:
            self.begin(letter.aggregate)

    def begin(self, aggregate: Aggregate) -> None:
        """Begin the aggregate's journal, unless it has one."""
        if aggregate.journal is Journal.NONE:
            aggregate.journal = Journal.OPEN
            self._bases.append((aggregate.entity.name, aggregate.key, freeze(aggregate)))

    def applied(self, aggregate: Aggregate, record: Record) -> None:
        """Note what was applied to a journalled aggregate."""
        if aggregate.journal is Journal.OPEN:
            self._records.append((aggregate.entity.name, aggregate.key, record))

    def kept(self) -> Iterator[tuple[Record, tuple[str, str] | None]]:
        """The records that `save` writes, each with its aggregate where it could be told."""
        yield from ((record, (entity, key)) for entity, key, record in self._records)
        yield from ((letter.record, letter.place) for letter in self.letters)

    def save(self, cursor: psycopg.Cursor[Any], hide: Callable[..., Record] = lambda record, _: record) -> None:
        """Write it all down; of each record what `hide` leaves."""
        if self._bases:
            cursor.executemany(_BEGIN, self._bases)
        if self._records:
            cursor.executemany(_JOURNAL, [(e, key, *raw(hide(record, (e, key)))) for e, key, record in self._records])
            names = {"entities": [r[0] for r in self._records], "aggregates": [r[1] for r in self._records]}
            cursor.execute(_COUNT, names | {"most": JOURNAL_RECORDS})
        if self.letters:
            cursor.executemany(_LETTER, [_row(letter, hide(letter.record, letter.place)) for letter in self.letters])


def journals(cursor: psycopg.Cursor[Any], entity: Entity[Any], keys: Collection[str]) -> dict[str, Journal]:
    """The journals of those aggregates that have one."""
    rows = cursor.execute(_JOURNALS, (entity.name, list(keys)))
    return {key: Journal.CLOSED if closed else Journal.OPEN for key, closed in rows}


def freeze(aggregate: Aggregate) -> str:
    """An aggregate as JSON, so that it can be folded on from here."""
    return msgspec.json.encode(
        {
            "state": aggregate.state,
            "version": aggregate.version,
            "gaps": aggregate.gaps,
            "recent": aggregate.recent,
            "updated_at": aggregate.updated_at,
        }
    ).decode()


def thaw(entity: Entity[Any], key: str, base: dict[str, Any]) -> Aggregate:
    """The aggregate that was frozen. Raises msgspec.ValidationError for a state that is none of today's."""
    then = base["state"]
    state = None if then is None else msgspec.convert(_as_rows(entity, then), entity.state, strict=False)
    updated_at = None if base["updated_at"] is None else datetime.fromisoformat(base["updated_at"])
    gaps = [(low, high) for low, high in base["gaps"]]
    return Aggregate(entity, key, state, base["version"], gaps, base64.b64decode(base["recent"]), updated_at)


def _as_rows(entity: Entity[Any], state: dict[str, Any]) -> dict[str, Any]:
    """A state with null in fields that came since and may be null, as they are in the rows of the tables."""
    rows = {child.name: [_nulls(child.table) | row for row in state.get(child.name, ())] for child in entity.children}
    return _nulls(entity.table) | state | rows


def _nulls(table: Table) -> dict[str, None]:
    return {str(column.name): None for column in table.c if column.nullable}


def raw(record: Record) -> tuple[Any, ...]:
    """A record's columns: topic, partition, offset, key, value, headers, record_time."""
    headers = json.dumps([[name, base64.b64encode(value or b"").decode()] for name, value in record.headers])
    return (record.topic, record.partition, record.offset, record.key, record.value, headers, record_time(record))


def record_time(record: Record) -> datetime:
    """When a record was written, as it is stored: within what a timestamp can be."""
    return datetime.fromtimestamp(min(max(record.timestamp, 0), 253402300799000) / 1000, UTC)


def unraw(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The fields of a RawRecord from a record's columns."""
    topic, partition, offset, key, value, headers, time = row
    pairs = tuple((name, base64.b64decode(text)) for name, text in json.loads(headers))
    kept = [None if b is None else bytes(b) for b in (key, value)]
    return (topic, partition, offset, *kept, pairs, round(time.timestamp() * 1000))


def _row(letter: Letter, record: Record) -> tuple[Any, ...]:
    place = letter.place or (None, None)
    return (*raw(record), letter.reason, letter.detail, letter.type, *place, letter.sequence)

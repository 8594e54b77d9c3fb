"""What a record turns out to be: an event of an aggregate, something to ignore, or a dead letter."""

import re
from dataclasses import dataclass
from typing import Any

from projector.apply.batch import Chunk, Record
from projector.declare.entity import Entity
from projector.declare.projections import Projections
from schemas.registry import BadRecord

# What an aggregate's id may be where no contract has vouched for it: text that fits an index, printable.
_KEY = re.compile(r"[!-~]{1,256}")


@dataclass(slots=True)
class Incoming:
    """One record, decoded. Without `event` it is bad (`reason` says how) or, without a reason too, to be ignored."""

    record: Record
    event: Any = None
    entity: Entity[Any] | None = None
    key: str | None = None
    reason: str | None = None
    detail: str = ""
    type: str | None = None
    sequence: int | None = None

    def reject(self, detail: str) -> None:
        """Make it a dead letter: what passed its contract does not pass the database."""
        self.event, self.reason, self.detail = None, "unstorable", detail


class Decoder:
    """Decodes records by the registry of the projections."""

    def __init__(self, projections: Projections, unknown_events: str) -> None:
        self._projections, self._ignore_unknown = projections, unknown_events == "ignore"

    def decode(self, record: Record) -> Incoming:
        """Never raises: what cannot be decoded is told as such."""
        try:
            event = self._projections.registry.decode(record)
        except BadRecord as bad:
            return self._bad(record, bad)
        entity = self._projections.by_contract.get(type(event.data))
        if entity is None:
            return Incoming(record, reason="unknown_type", detail="no entity folds this type", type=event.type)
        return Incoming(
            record, event, entity, getattr(event.data, entity.key), type=event.type, sequence=event.sequence
        )

    def _bad(self, record: Record, bad: BadRecord) -> Incoming:
        envelope = bad.envelope
        if self._ignore_unknown and bad.ignorable:
            return Incoming(record)
        incoming = Incoming(record, reason=bad.reason, detail=bad.detail)
        if envelope is not None:
            incoming.type, incoming.sequence = envelope.type, envelope.sequence
        entity = self._projections.by_topic.get(record.topic)
        key = bad.data.get(entity.key) if entity is not None and isinstance(bad.data, dict) else None
        if isinstance(key, str) and _KEY.fullmatch(key) and bad.reason != "topic":
            incoming.entity, incoming.key = entity, key
        return incoming


Decoded = tuple[Chunk, list[Incoming]]
Work = list[Decoded]


def middle(records: list[Incoming]) -> Incoming:
    """The last record of the first half."""
    return records[(len(records) - 1) // 2]


def cut(work: Work, last: Incoming) -> tuple[Work, Work]:
    """Two batches, the first up to one record, the second what is behind it. Chunks without records go first."""
    first: Work = []
    for at, (chunk, its) in enumerate(work):
        n = next((i for i, each in enumerate(its) if each is last), None)
        if n is None:
            first.append((chunk, its))
            continue
        if n + 1 == len(its):
            return [*first, (chunk, its)], work[at + 1 :]
        edge = its[n].record.offset + 1
        head = Chunk(chunk.partition, chunk.start, edge, chunk.records[: n + 1])
        tail = Chunk(chunk.partition, edge, chunk.next, chunk.records[n + 1 :])
        return [*first, (head, its[: n + 1])], [(tail, its[n + 1 :]), *work[at + 1 :]]
    raise ValueError("the record is not of this batch")

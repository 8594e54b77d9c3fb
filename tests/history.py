"""A log in memory, as `prejoin archive` or Kafka would give it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from projector.apply.batch import Chunk, TopicPartition
from projector.history.log import Look
from schemas.envelope import RawRecord
from tests.model import Record


@dataclass
class Past:
    """A `History` of the records given, which may be added to; chunks of `size` records, partitions in turn."""

    records: list[Record] = field(default_factory=list)
    size: int = 50
    begins: dict[TopicPartition, int] = field(default_factory=dict)

    def look(self) -> Look:
        ends: dict[TopicPartition, int] = {}
        for record in self.records:
            tp = TopicPartition(record.topic, record.partition)
            ends[tp] = max(ends.get(tp, 0), record.offset + 1)
        starts = {tp: self.begins.get(tp, 0) for tp in ends}
        return Look(starts, ends, {tp.topic: tp.topic for tp in ends})

    def read(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> Iterator[Chunk]:
        its: dict[TopicPartition, list[RawRecord]] = {tp: [] for tp in positions}
        for record in self.records:
            tp = TopicPartition(record.topic, record.partition)
            if tp in positions and positions[tp] <= record.offset < ends[tp]:
                its[tp].append(RawRecord(*record))
        at = dict(positions)
        while any(its.values()):
            for tp in [tp for tp in its if its[tp]]:
                some, its[tp] = its[tp][: self.size], its[tp][self.size :]
                end = some[-1].offset + 1 if its[tp] else ends[tp]
                yield Chunk(tp, at[tp], end, some)
                at[tp] = end

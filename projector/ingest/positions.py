"""Where to read on from: Postgres's positions, held against what the broker still has. Loss is told, never skipped."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from projector.apply.batch import TopicPartition
from projector.errors import PrejoinError
from projector.ingest.broker import Topic
from projector.ingest.ledger import Stored
from projector.store.topic_ids import other_ids

REMEDY = "`prejoin worker --accept-loss`"


class TopicReplaced(PrejoinError):
    """A topic was deleted and made again: the stored positions belong to another one."""


class EventsGone(PrejoinError):
    """The broker no longer has what comes next."""


class Loss(NamedTuple):
    """Offsets that were not applied and never will be, the last included."""

    partition: TopicPartition
    first: int
    last: int

    @property
    def offsets(self) -> int:
        """How many."""
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{name_of(self.partition)}: offsets {self.first} to {self.last} ({self.offsets:,})"


def replaced(stored: Mapping[TopicPartition, Stored], topics: Mapping[str, Topic]) -> list[str]:
    """The topics whose id is not the one that their positions were stored with."""
    names = {name: topic.id for name, topic in topics.items()}
    return sorted({tp.topic for tp, at in stored.items() if other_ids({tp.topic: at.topic_id}, names)})


def unapplied(stored: Mapping[TopicPartition, Stored], topics: Collection[str]) -> list[Loss]:
    """What a worker saw in these topics, now gone, and did not apply."""
    return [
        Loss(tp, at.next, at.seen - 1)
        for tp, at in sorted(stored.items())
        if tp.topic in topics and at.seen is not None and at.seen > at.next
    ]


def gone(positions: Mapping[TopicPartition, int], starts: Mapping[TopicPartition, int]) -> list[Loss]:
    """What lies between a position and the first offset that the broker still has."""
    return [
        Loss(tp, position, starts[tp] - 1) for tp, position in sorted(positions.items()) if position < starts.get(tp, 0)
    ]


def cut(positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> list[TopicPartition]:
    """The partitions that end before their position."""
    return [tp for tp, position in sorted(positions.items()) if position > ends.get(tp, position)]


def check_topics(stored: Mapping[TopicPartition, Stored], topics: Mapping[str, Topic]) -> None:
    """Compare ids; raises TopicReplaced, naming each topic that is another one, and what was left of the one before."""
    if names := replaced(stored, topics):
        left = unapplied(stored, names)
        raise TopicReplaced(
            f"{', '.join(names)}: deleted and made again since (the broker tells another topic id); of the one before, "
            f"{f'{_all(left)} were seen and not applied' if left else 'all that was seen is applied'}; "
            f"to read the new one from its beginning, on top of what was folded: {REMEDY}"
        )


def check_starts(positions: Mapping[TopicPartition, int], starts: Mapping[TopicPartition, int]) -> None:
    """Compare; raises EventsGone, naming what is lost, where a partition begins behind its position."""
    if losses := gone(positions, starts):
        raise EventsGone(
            f"{_all(losses)} are gone from Kafka before they were applied (retention, or deleted records); "
            f"to go on without them: {REMEDY}"
        )


def check_ends(positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
    """Compare; raises EventsGone where a partition ends before its position."""
    if found := cut(positions, ends):
        told = (
            f"{name_of(tp)}: applied up to offset {positions[tp] - 1}, but Kafka ends at {ends[tp]}" for tp in found
        )
        raise EventsGone(
            f"{', '.join(told)}: its log was cut, or the topic made again; "
            f"to read it from its beginning, on top of what was folded: {REMEDY}"
        )


def _all(losses: Iterable[Loss]) -> str:
    return ", ".join(map(str, losses))


def name_of(partition: TopicPartition) -> str:
    """`topic/partition`."""
    return f"{partition.topic}/{partition.partition}"

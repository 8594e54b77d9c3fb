"""What goes into the applier and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from projector.errors import PrejoinError


class Record(Protocol):
    """A raw Kafka record; `schemas.envelope.RawRecord` is one."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102


class TopicPartition(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True)
class Chunk:
    """Consecutive records of one partition.

    `start` is the position that Postgres must hold for the chunk to be applied: the `next` of the chunk before, or
    what was read from Postgres (None: nothing applied yet). `next` is the position after it, as the consumer tells
    it: never computed from offsets, for compaction and transaction markers leave holes. A chunk without records
    moves the position over such a hole.
    """

    partition: TopicPartition
    start: int | None
    next: int
    records: Sequence[Record]


@dataclass
class Outcome:
    """What one batch did. `refused` holds the stored position of each partition whose chunk did not start there."""

    applied: int = 0
    duplicates: int = 0
    ignored: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)  # reason → how many
    refused: dict[TopicPartition, int | None] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)  # relation → rows written
    seconds: dict[str, float] = field(default_factory=dict)  # phase → seconds
    pending: bool = False  # keys of its views were left to `drain`

    def add(self, other: "Outcome") -> None:
        """Take in what the other half of a bisected batch did."""
        self.applied += other.applied
        self.duplicates += other.duplicates
        self.ignored += other.ignored
        self.refused.update(other.refused)
        self.pending |= other.pending
        for mine, theirs in ((self.dead_letters, other.dead_letters), (self.rows, other.rows)):
            for name, n in theirs.items():
                mine[name] = mine.get(name, 0) + n
        for name, spent in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


class FoldError(PrejoinError):
    """A fold raised: a bug, not bad input. The worker stops with the record named, and nothing of it is committed."""

"""What a bounded log of the topics gives, wherever it lies."""

from collections.abc import Generator, Mapping
from typing import NamedTuple, Protocol

from projector.apply.batch import Chunk, Record, TopicPartition

Chunks = Generator[Chunk, None, None]


class Look(NamedTuple):
    """A log as it is found. The ids are asked for last: offsets are of the topics with these ids, or of ones before.

    `starts` has the first offset that each partition still has; `ends` the one that it ends before, for one who reads
    what is committed; `ids` the id of each topic: another one tells that a topic was deleted and made again. `gap` says
    which offsets between are nowhere, if any.
    """

    starts: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]
    ids: dict[str, str]
    gap: str = ""


class History(Protocol):
    """The topics' records up to now. Each call asks anew; nothing is held open between calls.

    It is read without a consumer group, so several processes may each read their own share of the partitions.
    """

    def look(self) -> Look:
        """What there is."""

    def read(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> Chunks:
        """Read each partition named in `positions` from there up to its end in `ends`, exactly; committed records only.

        Chunks of one partition join: each starts where the one before ended, the last ends at the partition's end.
        What a chunk passes over (compaction, transaction markers) is in its `next`. Partitions take turns. Memory is
        bounded by bytes, whatever there is to read. Close the iterator to stop early.

        Raises EventsGone where records between are not there any more, TopicReplaced, and Unreachable.
        """


def record_bytes(record: Record) -> int:
    """The bytes of a record's key, value and headers."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers

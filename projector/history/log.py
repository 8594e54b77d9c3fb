"""What a bounded log of the topics gives, wherever it lies."""

from collections.abc import Generator, Mapping
from typing import Protocol

from projector.apply.batch import Chunk, Record, TopicPartition

Chunks = Generator[Chunk, None, None]


class History(Protocol):
    """The topics' records up to now. Each call asks anew; nothing is held open between calls.

    It is read without a consumer group, so several processes may each read their own share of the partitions.
    """

    def topic_ids(self) -> dict[str, str]:
        """The id of each topic there is: another one tells that a topic was deleted and made again."""

    def starts(self) -> dict[TopicPartition, int]:
        """The first offset that each partition still has."""

    def ends(self) -> dict[TopicPartition, int]:
        """The offset that each partition ends before, for one who reads what is committed."""

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

"""Positions: how far each partition has been applied, kept in the same transaction as what was applied."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from projector.apply.batch import Chunk, Outcome, TopicPartition
from projector.apply.incoming import Work

_READ = "SELECT topic, partition, next FROM positions"
_SET = """
INSERT INTO positions (topic, partition, next) VALUES (%s, %s, %s)
ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next
"""


def read(cursor: psycopg.Cursor[Any]) -> dict[TopicPartition, int]:
    """The next offset to apply of each partition."""
    return {TopicPartition(topic, partition): next_ for topic, partition, next_ in cursor.execute(_READ)}


def accept(stored: Mapping[TopicPartition, int], work: Work, outcome: Outcome) -> Work:
    """The chunks that start where Postgres stands. The others' partitions are noted in `outcome.refused`.

    Another worker was faster, or a commit whose outcome was unknown did succeed: the records are applied already.
    """
    now = dict(stored)
    accepted = []
    for chunk, incoming in work:
        if chunk.partition not in outcome.refused and now.get(chunk.partition) == chunk.start:
            now[chunk.partition] = chunk.next
            accepted.append((chunk, incoming))
        else:
            outcome.refused[chunk.partition] = now.get(chunk.partition)
    return accepted


def advance(cursor: psycopg.Cursor[Any], chunks: Sequence[Chunk]) -> None:
    """Set the positions behind the chunks, which `accept` has compared under the group's lock."""
    after = {chunk.partition: chunk.next for chunk in chunks}
    if after:
        cursor.executemany(_SET, [(*partition, next_) for partition, next_ in after.items()])

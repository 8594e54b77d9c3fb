"""What the tests of the past share: records sent that are known exactly, and reading that looks at how chunks join."""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from projector.apply.batch import Chunk, TopicPartition
from projector.history.log import History
from schemas.envelope import RawRecord
from tests.integration.topics import OwnTopic

Headers = list[tuple[str, bytes | None]]


def own_topic(brokers: str) -> OwnTopic:
    return OwnTopic(brokers, f"past{os.getpid()}_{time.monotonic_ns() % 10**9}")


def sent(topic: OwnTopic, count: int, partition: int = 0, first: int = 0, size: int = 0) -> list[RawRecord]:
    """Publish so many records, each in a batch of its own, with null and binary parts in many combinations."""
    return asyncio.run(_sent(topic, count, partition, first, size))


async def _sent(topic: OwnTopic, count: int, partition: int, first: int, size: int) -> list[RawRecord]:
    async with topic.producer() as producer:
        return [await send(producer, topic, n, partition, size) for n in range(first, first + count)]


async def send(producer: Any, topic: OwnTopic, n: int, partition: int = 0, size: int = 0) -> RawRecord:
    """Publish the n-th record."""
    key = None if n % 3 == 0 else b"key \xff%d" % n
    value = None if n % 5 == 1 and key else b"value \x00%d" % n + os.urandom(size)
    headers: Headers = [("content-type", b"t"), ("content-type", b"\xff\x00"), ("null", None)][: n % 4]
    told = await producer.send_and_wait(
        topic.topic, value, key=key, partition=partition, headers=headers, timestamp_ms=1_700_000_000_000 + n * 997
    )
    plain = tuple((name, value or b"") for name, value in headers)
    return RawRecord(topic.topic, partition, told.offset, key, value, plain, told.timestamp)


def read(
    history: History, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> list[RawRecord]:
    """All records by partition and offset, once every chunk is found to join the one before."""
    return _joined(history.read(positions, ends), positions, ends)


def all_of(history: History) -> list[RawRecord]:
    """The whole of it."""
    there = history.look()
    return read(history, there.starts, there.ends)


def _joined(
    chunks: Iterable[Chunk], positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> list[RawRecord]:
    at = dict(positions)
    records = list[RawRecord]()
    for chunk in chunks:
        assert chunk.start == at[chunk.partition]
        assert chunk.start < chunk.next <= ends[chunk.partition]
        offsets = [record.offset for record in chunk.records]
        assert offsets == sorted(set(offsets))
        assert all(chunk.start <= offset < chunk.next for offset in offsets)
        at[chunk.partition] = chunk.next
        records += map(plain, chunk.records)
    assert at == {tp: max(ends[tp], position) for tp, position in positions.items()}
    return sorted(records, key=lambda record: record[:3])


def plain(record: Any) -> RawRecord:
    """Whatever kind of record as one that compares field by field."""
    return RawRecord(*(getattr(record, name) for name in RawRecord._fields))

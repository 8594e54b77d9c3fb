"""A topic of the test's own, and what Kafka and its operators may do with it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

# One that is compacted as soon as another segment has begun
COMPACTED = {
    "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "1000", "delete.retention.ms": "0",
}  # fmt: skip


async def until(holds: Callable[[], Awaitable[Any] | Any], seconds: float = 30.0) -> Any:
    """Wait for a condition, and return what made it true."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        found = await found if isinstance(found, Awaitable) else found
        if found:
            return found
        assert time.monotonic() < deadline, f"did not come true in {seconds} s"
        await asyncio.sleep(0.05)


async def send_any_headers(producer: Any, topic: str, sent: Sequence[tuple[bytes, bytes]], codec: int = 0) -> None:
    """Publish values, each with a header of these bytes for a name, in one batch: other languages' clients take any."""
    batch = producer.create_batch()
    # aiokafka's own in C encodes names itself
    batch._builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, -1, 1 << 16)
    for value, name in sent:
        headers = [(_Encoded(name), b"1")]
        assert batch.append(timestamp=1_700_000_000_000, key=None, value=value, headers=headers) is not None
    await (await producer.send_batch(batch, topic, partition=0))


class _Encoded(str):
    """A text that says itself what it is in bytes."""

    def __new__(cls, encoded: bytes) -> "_Encoded":
        made = super().__new__(cls, encoded.decode(errors="replace"))
        made.encoded = encoded
        return made

    def encode(self, *_: Any) -> bytes:
        return self.encoded


@dataclass
class OwnTopic:
    """Where the broker is, and the topic's name; it is not made yet."""

    brokers: str
    name: str

    @property
    def topic(self) -> str:
        return self.name

    async def make_topic(self, partitions: int = 2, name: str = "", **configuration: str) -> None:
        async with self._admin() as admin:
            await admin.create_topics([NewTopic(name or self.topic, partitions, 1, topic_configs=configuration)])

    async def delete_topic(self) -> None:
        async with self._admin() as admin:
            await admin.delete_topics([self.topic])
            await until(lambda: self._is_gone(admin))

    async def _is_gone(self, admin: AIOKafkaAdminClient) -> bool:
        return self.topic not in await admin.list_topics()

    async def delete_records(self, before: dict[int, int]) -> None:
        async with self._admin() as admin:
            wanted = {TopicPartition(self.topic, p): RecordsToDelete(offset) for p, offset in before.items()}
            await admin.delete_records(wanted)

    def producer(self, **options: Any) -> Any:
        return AIOKafkaProducer(bootstrap_servers=self.brokers, linger_ms=5, **options)

    def _admin(self) -> Any:
        return _Admin(self.brokers)


class _Admin:
    def __init__(self, brokers: str) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=brokers)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

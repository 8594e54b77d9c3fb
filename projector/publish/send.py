"""From messages to Kafka: idempotent, in whole batches, in order by key, in bounded memory."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from projector.publish.message import Message
from projector.publish.topics import REQUEST_SECONDS, connect, ensure_topics, naming

BATCH_BYTES = 256 * 1024
DELIVERY_SECONDS = 30
_CHUNK, _CHUNK_SECONDS = 20_000, 0.2
_Place = tuple[str, int]  # topic, partition

# Kafka's own clients place keys by the same hash, so that a key's events stay together whoever publishes them.
_hash = lru_cache(maxsize=100_000)(murmur2)


@dataclass
class Published:
    """How many messages Kafka has acknowledged, by topic, the topics created for them, and how long it took."""

    topics: Counter[str] = field(default_factory=Counter)
    created: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """All messages that Kafka has acknowledged."""
        return self.topics.total()


async def publish(
    brokers: Sequence[str],
    messages: Iterable[Message | None] | AsyncIterable[Message],
    *,
    partitions: int = 4,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Published:
    """Publish messages, creating topics with so many partitions where they do not exist; raises PublishError.

    An iterable that is not asynchronous is read in a thread; a None in it says that the next message may take a while,
    so that those before it are sent. `on_progress` gets how many more were acknowledged.
    """
    started = time.monotonic()
    async with Publisher(brokers, partitions=partitions, on_progress=on_progress) as publisher:
        async for chunk in _chunks(messages):
            await publisher.send(chunk)
    publisher.published.seconds = time.monotonic() - started
    return publisher.published


class Publisher:
    """Publishes as messages come: `async with Publisher(brokers) as publisher: await publisher.send(messages)`.

    One batch a partition is on its way at a time, so that a batch sent again is not overtaken, and behind one that
    failed nothing follows. Leaving the context waits until all is acknowledged. Every method raises PublishError.
    """

    def __init__(
        self, brokers: Sequence[str], *, partitions: int = 4, on_progress: Callable[[int], None] = lambda _: None
    ) -> None:
        self.published = Published()
        self._brokers = list(brokers)
        self._new_partitions = partitions
        self._on_progress = on_progress
        self._partitions: dict[str, int] = {}
        self._filling: dict[_Place, Any] = {}
        self._sent: dict[_Place, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            enable_idempotence=True,
            compression_type="lz4",
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=REQUEST_SECONDS * 1000,
        )
        try:
            await connect(self._producer, self._brokers)
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            with contextlib.suppress(TimeoutError):  # it waits for batches that no broker may ever take
                await asyncio.wait_for(self._producer.stop(), REQUEST_SECONDS if kind is None else 1)

    async def send(self, messages: Iterable[Message]) -> None:
        """Put messages on their way; returns before they are acknowledged, later where a partition is still busy."""
        for message in messages:
            partitions = self._partitions.get(message.topic) or await self._find(message.topic)
            place = (message.topic, (_hash(message.key) & 0x7FFFFFFF) % partitions)
            batch = self._filling.get(place)
            if batch is None or not _append(batch, message):
                await self._hand_over(place)
                self._filling[place] = batch = self._producer.create_batch()
                _append(batch, message)
        for place in list(self._filling):
            await self._hand_over(place)

    async def flush(self) -> None:
        """Return when Kafka has acknowledged all that was sent."""
        for place in list(self._sent):
            await self._acknowledged(place)

    async def _find(self, topic: str) -> int:
        self.published.created += await ensure_topics(self._brokers, [topic], self._new_partitions)
        with naming(topic, self._brokers):
            self._partitions[topic] = len(await self._producer.partitions_for(topic))
        return self._partitions[topic]

    async def _hand_over(self, place: _Place) -> None:
        await self._acknowledged(place)
        if batch := self._filling.pop(place, None):
            topic, partition = place
            records = batch.record_count()
            with naming(topic, self._brokers):
                self._sent[place] = await self._producer.send_batch(batch, topic, partition=partition)
            self._sent[place].add_done_callback(lambda future: self._count(topic, records, future))

    async def _acknowledged(self, place: _Place) -> None:
        if sent := self._sent.pop(place, None):
            with naming(place[0], self._brokers):
                # an idempotent producer of aiokafka sends again for ever; sending is safe, but the user is to know
                # not wait_for: Python 3.11's forgets that it was cancelled when `sent` is done at the same moment
                async with asyncio.timeout(DELIVERY_SECONDS):
                    await sent

    def _count(self, topic: str, records: int, sent: asyncio.Future[Any]) -> None:
        if not sent.cancelled() and sent.exception() is None:
            self.published.topics[topic] += records
            self._on_progress(records)


def _append(batch: Any, message: Message) -> bool:
    """Tell whether there was room; the first message of a batch always has it."""
    return batch.append(timestamp=None, key=message.key, value=message.value, headers=[*message.headers]) is not None


async def _chunks(messages: Iterable[Message | None] | AsyncIterable[Message]) -> AsyncIterator[list[Message]]:
    if isinstance(messages, AsyncIterable):
        async for message in messages:
            yield [message]
    else:
        iterator = iter(messages)
        while (chunk := await asyncio.to_thread(_take, iterator)) is not None:
            yield chunk


def _take(messages: Iterator[Message | None]) -> list[Message] | None:
    """Collect what comes up to a None, or in a short while; None at the end."""
    chunk: list[Message] = []
    until = time.monotonic() + _CHUNK_SECONDS
    for message in messages:
        if message is None:
            return chunk
        chunk.append(message)
        if len(chunk) == _CHUNK or time.monotonic() > until:
            return chunk
    return chunk or None

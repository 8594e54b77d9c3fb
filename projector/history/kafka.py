"""The topics as Kafka holds them, read without a group: partitions assigned, offsets sought."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka import TopicPartition as AiokafkaPartition
from aiokafka.errors import OffsetOutOfRangeError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from projector.apply.batch import Chunk, TopicPartition
from projector.history.ahead import read_ahead
from projector.history.log import Chunks, Look
from projector.ingest.broker import PASSING, SECONDS_BETWEEN_TRIES, Broker, KafkaUnreachable, partitions_of, quiet
from projector.ingest.plain import plain
from projector.ingest.positions import EventsGone, TopicReplaced, cut, gone, name_of
from projector.ingest.records import take_any_header
from projector.store.topic_ids import other_ids

SECONDS_TO_ASK = 15.0  # again and again, while a leader moves or a broker starts
SECONDS_TO_LOOK = 5.0  # without a record, until topics and offsets are looked at
SECONDS_AWAY = 60.0  # without a record, until it is given up

MAX_POLL_RECORDS = 5_000
MAX_PARTITION_BYTES = 1 << 20
# As Kafka packs them, in one answer. What is unpacked waits in no more than MAX_AHEAD, passed by one chunk.
MAX_FETCH_BYTES = 16 << 20
MAX_AHEAD = 32 << 20
POLL_SECONDS = 0.2  # how soon a fetch of nothing but transaction markers is noticed

Answer = TypeVar("Answer")
Left = dict[TopicPartition, tuple[int, int]]  # where to read from, and where it ends


class KafkaHistory:
    """The named topics in Kafka, a `History`. `exact`: header values that are null stay null."""

    def __init__(self, brokers: list[str], topics: Collection[str], exact: bool = False) -> None:
        self._brokers, self._topics, self._exact = brokers, topics, exact

    def look(self) -> Look:
        """What Kafka has of the topics that exist. Raises KafkaUnreachable."""
        return asyncio.run(self._ask(self._look_at))

    def read(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> Chunks:
        """See `History`. A thread of its own fetches ahead; Kafka may be away for a minute."""
        left = {tp: (position, ends[tp]) for tp, position in positions.items() if position < ends[tp]}
        if left:
            yield from read_ahead(self._fetched(left), MAX_AHEAD)

    async def _look_at(self, broker: Broker) -> Look:
        topics = await broker.topics(self._topics)
        starts, ends = await broker.starts(topics, partitions_of(topics)), await broker.ends(topics)
        return Look(starts, ends, {name: topic.id for name, topic in (await broker.topics(self._topics)).items()})

    async def _ask(self, question: Callable[..., Awaitable[Answer]], *about: Any) -> Answer:
        # `question` is a coroutine function: tenacity does not wait for what another one returns
        again = AsyncRetrying(
            retry=retry_if_exception_type(PASSING), wait=wait_fixed(SECONDS_BETWEEN_TRIES),
            stop=stop_after_delay(SECONDS_TO_ASK), reraise=True,
        )  # fmt: skip
        broker = Broker(self._brokers)
        await broker.connect()
        try:
            return await again(question, broker, *about)
        except PASSING as error:
            raise self._away(error) from None
        finally:
            await broker.close()

    async def _fetched(self, left: Left) -> AsyncGenerator[Chunk, None]:
        """The chunks; `left` says where each partition is and is to end, until it is there."""
        names = {tp.topic for tp in left}
        ids = await self._ask(_check, names, left)
        with quiet("aiokafka"):
            async with self._consumer({tp: position for tp, (position, _) in left.items()}) as consumer:
                moved = looked = time.monotonic()
                while left:
                    chunks = await self._poll(consumer, left)
                    for chunk in chunks:
                        yield chunk
                    now = time.monotonic()
                    if chunks:
                        moved = looked = now  # the wait for room included: nothing was asked for meanwhile
                    elif now - looked > SECONDS_TO_LOOK:
                        await self._look(left, ids, now - moved)
                        looked = time.monotonic()
        # the records are those of the topics asked about at first only if these are there still
        await self._ask(_check, names, left, ids)

    @asynccontextmanager
    async def _consumer(self, positions: Mapping[TopicPartition, int]) -> AsyncIterator[Any]:
        take_any_header()
        consumer = AIOKafkaConsumer(
            client_id="prejoin-history",
            bootstrap_servers=self._brokers,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_records=MAX_POLL_RECORDS,
            max_partition_fetch_bytes=MAX_PARTITION_BYTES,
            fetch_max_bytes=MAX_FETCH_BYTES,
            metadata_max_age_ms=5_000,
        )
        try:
            try:
                await consumer.start()
            except PASSING as error:
                raise self._away(error) from None
            # no `await` between: without a position a partition would be looked up in a group that is not there
            consumer.assign([AiokafkaPartition(*tp) for tp in positions])
            for tp, position in positions.items():
                consumer.seek(AiokafkaPartition(*tp), position)
            yield consumer
        finally:
            try:
                await consumer.stop()
            except asyncio.CancelledError:  # of requests under way: aiokafka lets it through
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise

    async def _poll(self, consumer: Any, left: Left) -> list[Chunk]:
        """One chunk for each partition that moved, up to its end; those that are there are taken out of `left`."""
        try:
            found = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000))
        except OffsetOutOfRangeError:
            await self._ask(_check, {tp.topic for tp in left}, left)
            return []
        except PASSING as error:
            raise self._away(error) from None
        chunks = []
        for tp, (start, end) in list(left.items()):
            # past compaction's holes and transaction markers; only `getmany` moves it
            position = await consumer.position(AiokafkaPartition(*tp))
            if position == start:
                continue
            records = found.get(tp, [])
            if position < end:
                left[tp] = position, end
            else:
                consumer.pause(AiokafkaPartition(*tp))
                records = records[: bisect_left(records, end, key=attrgetter("offset"))]
                del left[tp]
            chunks.append(Chunk(tp, start, min(position, end), self._as_asked(records)))
        return chunks

    def _as_asked(self, records: list[ConsumerRecord[Any, Any]]) -> list[ConsumerRecord[Any, Any]]:
        return records if self._exact else [plain(record) if record.headers else record for record in records]

    async def _look(self, left: Left, ids: Mapping[str, str], seconds: float) -> None:
        """Nothing comes: the topics are not what they were, or Kafka is away, or it is for no known reason."""
        try:
            await self._ask(_check, ids, left, ids)
        except KafkaUnreachable:
            if seconds < SECONDS_AWAY:
                return
            raise
        if seconds > SECONDS_AWAY:
            tp, (position, end) = next(iter(left.items()))
            raise KafkaUnreachable(
                f"{name_of(tp)}: for {seconds:.0f} s Kafka has given nothing from offset {position} on, though it "
                f"tells an end of {end}; see its logs, and give the command again"
            )

    def _away(self, error: BaseException) -> KafkaUnreachable:
        return KafkaUnreachable(
            f"Kafka at {', '.join(self._brokers)} (PREJOIN_KAFKA_BROKERS) gave up: "
            f"{str(error) or type(error).__name__}; give the command again when it is back"
        )


async def _check(
    broker: Broker, names: Iterable[str], left: Left, ids: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The topics' ids. Raises TopicReplaced where they are not `ids`, EventsGone where what is left is not there."""
    topics = await broker.topics(names)
    now = {name: topic.id for name, topic in topics.items()}
    if others := other_ids(ids or {}, now):
        raise TopicReplaced(f"{', '.join(others)}: deleted and made again while it was read; begin anew")
    missing = [tp for tp in left if tp.topic not in topics or tp.partition not in topics[tp.topic].leaders]
    if missing:
        raise EventsGone(f"{', '.join(map(name_of, missing))}: Kafka has no such partition any more")
    if losses := gone({tp: position for tp, (position, _) in left.items()}, await broker.starts(topics, left)):
        raise EventsGone(
            f"{', '.join(map(str, losses))} are gone from Kafka before they were read (retention, or deleted records)"
        )
    ends = await broker.ends(topics)
    if short := cut({tp: end for tp, (_, end) in left.items()}, ends):
        told = (f"{name_of(tp)} to offset {left[tp][1]}, but Kafka ends at {ends[tp]}" for tp in short)
        raise EventsGone(f"there was {', '.join(told)}: its log was cut, or the topic made again")
    return now

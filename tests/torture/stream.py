"""The shop's records on their way into Kafka, whatever happens to it, and Kafka's own account of them at the end."""

import asyncio
import gc
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.integration.running import until
from tests.model import Record
from tests.model.histories import Shop, together
from tests.torture.failed import TortureFailed
from tests.torture.plan import Plan

PROCESSES = 2
Ends = dict[TopicPartition, int]
REQUEST_MS = 15_000


def records_of(plan: Plan) -> list[Record]:
    """The plan's stream: repeats, gaps, poison, topics ahead of each other."""
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), gc.disable) as pool:
        return together(list(pool.map(Shop.records, plan.shops)), random.Random(f"together {plan.seed}"))


async def make_topics(brokers: str, names: Sequence[str], partitions: int) -> None:
    """Empty topics; those of a run before are deleted first."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()

    async def gone() -> bool:
        return not set(names) & set(await admin.list_topics())

    try:
        old = set(names) & set(await admin.list_topics())
        if old:
            await admin.delete_topics(sorted(old))
            await until(gone)
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


class Publisher:
    """Publishes each record until Kafka has it: after a failure once more, so that some come twice."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._producer: AIOKafkaProducer | None = None
        # at that time of the clock, Kafka held at least this
        self.acknowledged: list[tuple[float, Ends]] = []
        self._ends: Ends = {}
        self.retries = 0

    async def publish(self, records: Sequence[Record]) -> None:
        """Return once Kafka has acknowledged them all."""
        while True:
            try:
                await self._try(records)
                return
            except (KafkaError, OSError):
                self.retries += 1
                await self.close()
                await asyncio.sleep(0.5)

    async def _try(self, records: Sequence[Record]) -> None:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self._brokers, linger_ms=5, request_timeout_ms=REQUEST_MS
            )
            await self._producer.start()
        sent = [await self._producer.send(r.topic, r.value, r.key, r.partition, headers=[*r.headers]) for r in records]
        results = await asyncio.gather(*sent, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
            partition = TopicPartition(result.topic, result.partition)
            self._ends[partition] = max(self._ends.get(partition, 0), result.offset + 1)
        self.acknowledged.append((time.time(), dict(self._ends)))

    async def close(self) -> None:
        """Close the connection; what was not acknowledged is given up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await producer.stop()
            except (KafkaError, OSError):
                self.retries += 1


async def read_log(brokers: str, names: Iterable[str], partitions: int) -> tuple[list[Record], Ends]:
    """All that the topics hold, each partition in order: what the model is to be told; and where they end."""
    settings = {"isolation_level": "read_committed", "auto_offset_reset": "earliest"}
    async with AIOKafkaConsumer(bootstrap_servers=brokers, **settings) as consumer:
        assigned = [TopicPartition(name, partition) for name in names for partition in range(partitions)]
        consumer.assign(assigned)
        ends = await consumer.end_offsets(assigned)
        found = []
        while any([await consumer.position(tp) < ends[tp] for tp in assigned]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [
                    Record(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp) for r in records
                ]
    return found, {partition: end for partition, end in ends.items() if end}


def check_published(planned: Sequence[Record], log: Sequence[Record]) -> None:
    """Nothing that was to be published is missing in Kafka: else a run would prove less than it says."""
    missing = Counter(_identity(r) for r in planned) - Counter(_identity(r) for r in log)
    if missing:
        lost = Counter(topic for topic, *_ in missing.elements())
        raise TortureFailed(f"of {len(planned)} records Kafka holds {len(log)}; the harness lost some of {lost}")


def _identity(record: Record) -> tuple[object, ...]:
    return record.topic, record.partition, record.key, record.value, tuple(record.headers)

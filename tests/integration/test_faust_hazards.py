"""What faust is known to do, and that it does nothing of it to a worker; docs/faust.md names a test for each."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.integration.gate import gate
from tests.integration.running import Place, places, until


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


async def committed(place: Place) -> int | None:
    """What Kafka believes that the group has read of its only partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=place.brokers, group_id=place.name, enable_auto_commit=False)
    await consumer.start()
    try:
        found: int | None = await consumer.committed(TopicPartition(place.topic, 0))
        return found
    finally:
        await consumer.stop()


async def test_an_exception_in_the_agents_body_ends_the_process_and_skips_nothing(place):
    await place.make_topic(1)
    worker = place.start_faulty("broken_delivery")
    await place.notes(range(5))
    await place.has_told(5)
    worker.process.send_signal(signal.SIGUSR1)
    await until(lambda: worker.said("fault"))
    await place.notes(range(5, 10))
    assert (await asyncio.to_thread(worker.ended, 30))[0] == 2
    assert worker.said("stopping")[0]["reason"] == "TypeError"
    assert place.positions() == {(place.topic, 0): 5}
    assert (await committed(place) or 0) <= 5
    place.start()
    await place.has_told(10)


async def test_a_standby_without_partitions_takes_over_from_a_killed_owner(place):
    await place.make_topic(1)
    workers = [place.start(), place.start()]
    await place.joined(*workers)
    await place.notes(range(5))
    await place.has_told(5)
    records = f'prejoin_records_total{{topic="{place.topic}"}}'
    owner = await until(lambda: next((worker for worker in workers if worker.metrics().get(records)), None))
    owner.process.kill()
    await place.notes(range(5, 10))
    await place.has_told(10, seconds=60)
    (standby,) = (worker for worker in workers if worker is not owner)
    assert standby.process.poll() is None


async def test_positions_that_cannot_be_read_in_a_rebalance_end_the_worker_in_time(place):
    await place.make_topic(2)
    async with gate(place.database_url) as way:
        cut_off = place.start(PREJOIN_DATABASE_URL=way.url)
        await place.joined(cut_off)
        await way.close()
        other = place.start()  # makes a rebalance
        code, last = await asyncio.to_thread(cut_off.ended, 90)
    assert code == 2
    assert last.startswith("prejoin: positions could not be read for 15 s")
    await place.notes(range(10))
    await place.has_told(10, seconds=60)
    assert other.process.poll() is None

"""The main job: the shop's events, every accident included, through real Kafka and a worker that dies midway."""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.integration.running import until
from tests.model import Model, Record
from tests.model.histories import random_stream
from tests.world import World, world

PARTITIONS = 2


@pytest.fixture
def shop(database_url: str):
    with world(database_url) as made:
        yield made


@pytest.fixture
async def topics(kafka_brokers: str, shop: World) -> AsyncIterator[None]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_brokers)
    await admin.start()
    names = shop.projections.topics

    async def gone() -> bool:
        return not set(names) & set(await admin.list_topics())

    if not await gone():
        await admin.delete_topics([n for n in names if n in await admin.list_topics()])
        await until(gone)
    await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    yield
    await admin.close()


async def publish(brokers: str, records: list[Record]) -> None:
    """Each record as it is, in its partition; a fresh topic gives it the offset that the model knows it by."""
    async with AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=5) as producer:
        for record in records:
            sent = await producer.send(
                record.topic, record.value, record.key, record.partition, headers=[*record.headers]
            )
            if record is records[-1]:
                await sent
        await producer.flush()


def start(shop: World, brokers: str, log: Path) -> "subprocess.Popen[bytes]":
    settings = {
        "PREJOIN_DATABASE_URL": shop.url,
        "PREJOIN_KAFKA_BROKERS": brokers,
        "PREJOIN_GROUP": shop.group,
        "PREJOIN_METRICS_PORT": "0",
        "PREJOIN_DEAD_LETTER_LIMIT": "1",
    }
    with log.open("ab") as output:
        command = [sys.executable, "-m", "projector.cli", "worker"]
        return subprocess.Popen(command, env=os.environ | settings, stdout=output, stderr=output)


def applied(shop: World) -> int:
    return int(shop.fetch("SELECT coalesce(sum(next), 0) FROM positions")[0][0])


@pytest.mark.timeout(240)
async def test_a_worker_killed_midway_and_one_stopped_leave_the_views_as_the_model_says(
    shop: World, topics: None, kafka_brokers: str, tmp_path: Path
) -> None:
    records = random_stream(11, customers=40, products=30, orders=500, partitions=PARTITIONS)
    counted: dict[tuple[str, int], int] = defaultdict(int)
    for record in records:
        assert record.offset == counted[record.topic, record.partition]
        counted[record.topic, record.partition] += 1
    third = len(records) // 3
    log = tmp_path / "worker.log"

    await publish(kafka_brokers, records[:third])
    first = start(shop, kafka_brokers, log)
    try:
        await until(lambda: applied(shop) > 0, 60)
        sending = asyncio.create_task(publish(kafka_brokers, records[third : 2 * third]))
        first.kill()
        first.wait()
        await sending
        second = start(shop, kafka_brokers, log)
        await until(lambda: applied(shop) == 2 * third, 60)
        second.terminate()
        assert second.wait(12) == 0
        await publish(kafka_brokers, records[2 * third :])
        first = start(shop, kafka_brokers, log)
        await until(lambda: applied(shop) == len(records), 60)
        first.terminate()
        assert first.wait(12) == 0
    finally:
        for process in (first, second):
            process.kill()
            process.wait()

    model = Model().apply_all(records)
    assert shop.dead_letters() == sorted(tuple(letter) for letter in model.dead_letters)
    expected = model.views()
    for name, rows in shop.views().items():
        assert rows == expected[name], name
    assert shop.drift() == []
    for row in expected["customer_summary"].values():  # nor does a log tell whose events these were
        assert not row["name"] or len(row["name"]) < 6 or row["name"] not in log.read_text()

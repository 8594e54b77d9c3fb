"""The main job: the shop's events, every accident included, through real Kafka and a worker that dies midway."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.running import until
from tests.integration.shop_in_kafka import PARTITIONS, applied, fresh_topics, publish, start
from tests.model import Model
from tests.model.histories import random_stream
from tests.world import World, world


@pytest.fixture
def shop(database_url: str):
    with world(database_url) as made:
        yield made


@pytest.fixture
async def topics(kafka_brokers: str, shop: World) -> AsyncIterator[None]:
    async with fresh_topics(kafka_brokers, shop.projections.topics):
        yield


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

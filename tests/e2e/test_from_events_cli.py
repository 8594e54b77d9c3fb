"""`prejoin rebuild --from-events` and `--as-of` as processes: beside a worker, a producer and readers, and killed."""

import asyncio
import json
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from read_api.app import create_app
from tests.api import running, settings_of
from tests.integration.running import until
from tests.integration.shop_in_kafka import PARTITIONS, applied, fresh_topics, prejoin, publish, start
from tests.model import Model, Record
from tests.model.histories import random_stream
from tests.world import World, world


@pytest.fixture
def shop(database_url: str, read_database_url: str) -> Iterator[World]:
    with world(database_url, read_url=read_database_url) as made:
        yield made


@pytest.fixture
async def topics(kafka_brokers: str, shop: World) -> AsyncIterator[Any]:
    async with fresh_topics(kafka_brokers, shop.projections.topics) as admin:
        yield admin


async def read_on(client: httpx.AsyncClient, answers: list[int]) -> None:
    """Page through lists over and over: each answer whole, none an error."""
    seen = 0
    while True:
        for path in ("/v1/orders", "/v1/customers", "/v1/fulfilment", "/v1/sales-by-day"):
            answer = await client.get(path, params={"limit": "200"})
            assert answer.status_code == 200, answer.text
            rows = len(answer.json()["data"])
            assert rows > 0, path
            if path == "/v1/orders":
                assert rows >= seen, "an order is gone"
                seen = rows
        answers.append(seen)
        await asyncio.sleep(0.01)


@pytest.mark.timeout(240)
async def test_killed_ten_times_beside_a_worker_a_producer_and_readers(
    shop: World, topics: Any, kafka_brokers: str, read_database_url: str, tmp_path: Path
) -> None:
    records = random_stream(7, customers=40, products=30, orders=190, partitions=PARTITIONS)
    half, rng, log = len(records) // 2, random.Random(7), tmp_path / "rebuild.log"
    await publish(kafka_brokers, records[:half])
    worker = start(shop, kafka_brokers, tmp_path / "worker.log")
    try:
        await until(lambda: applied(shop) == half, 60)
        answers = list[int]()
        async with running(create_app(settings_of(shop, read_database_url))) as client:
            reading = asyncio.create_task(read_on(client, answers))
            sending = asyncio.create_task(slowly(kafka_brokers, records[half:]))
            for _ in range(10):
                rebuild = start(shop, kafka_brokers, log, "rebuild", "--all", "--from-events", "--jobs", "2")
                await asyncio.sleep(rng.uniform(0.5, 3))
                rebuild.kill()
                rebuild.wait()
            done = await asyncio.to_thread(prejoin, shop, kafka_brokers, "rebuild", "--all", "--from-events", "--json")
            assert done.returncode == 0, done.stderr
            assert (
                min(v["generation"] for v in json.loads(done.stdout)["views"]) >= 2
            )  # one killed late may have switched
            await sending
            await until(lambda: applied(shop) == len(records), 60)
            assert not reading.done(), reading.exception()
            reading.cancel()
            assert len(answers) > 20
        worker.terminate()
        assert worker.wait(12) == 0
    finally:
        worker.kill()
        worker.wait()
    model = Model().apply_all(records)
    while shop.applier.drain():
        pass
    expected = model.views()
    for name, rows in shop.views().items():
        assert rows == expected[name], name
    assert shop.drift() == []
    assert shop.dead_letters() == sorted(tuple(letter) for letter in model.dead_letters)


async def slowly(brokers: str, records: list[Record]) -> None:
    for at in range(0, len(records), 20):
        await publish(brokers, records[at : at + 20])
        await asyncio.sleep(0.2)


async def test_of_truncated_topics_the_archive_has_the_rest(
    shop: World, topics: Any, kafka_brokers: str, tmp_path: Path
) -> None:
    records = random_stream(3, customers=15, products=15, orders=80, partitions=PARTITIONS)
    half = len(records) // 2
    await publish(kafka_brokers, records[:half])

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return prejoin(shop, kafka_brokers, *arguments)

    archived = await asyncio.to_thread(run, "archive", "--to", str(tmp_path / "archive"), "--once")
    assert archived.returncode == 0, archived.stderr
    await truncated(topics, records[: half // 2])
    await publish(kafka_brokers, records[half:])
    plan = await asyncio.to_thread(run, "rebuild", "--all", "--from-events", "--dry-run", "--json")
    assert {(t["topic"], t["partition"]) for t in json.loads(plan.stdout)["truncated"]} == {
        (r.topic, r.partition) for r in records[: half // 2]
    }
    refused = await asyncio.to_thread(run, "rebuild", "--all", "--from-events")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "does not reach back to the first event: catalog/0 at offset" in refused.stderr
    whole = ["--archive", str(tmp_path / "archive")]
    done = await asyncio.to_thread(run, "rebuild", "--all", "--from-events", *whole)
    assert done.returncode == 0, done.stderr
    assert "order_overview is served from generation 2" in done.stdout
    expected = Model().apply_all(records).views()
    for name, rows in shop.views().items():
        assert rows == expected[name], name

    at = (await asyncio.to_thread(run, "rebuild", "--all", "--as-of", "2026-01-01T12:00:00+01:00", *whole)).stdout
    assert at.startswith("snapshot 20260101T110000Z: ?snapshot=20260101T110000Z in the API")
    (told,) = json.loads(run("snapshots", "list", "--json").stdout)["snapshots"]
    assert (told["name"], told["as_of"]) == ("20260101T110000Z", "2026-01-01T11:00:00Z")
    assert run("snapshots", "drop", "20260101T110000Z").stdout == "dropped 20260101T110000Z\n"
    for wrong, said in (
        (["--as-of", "yesterday"], "write a time with its zone"),
        (["--as-of", "2026-01-01T12:00:00"], "write a time with its zone"),
        (["--as-of", "2999-01-01T00:00:00Z"], "lies in the future"),
        (["--as-of", "2026-01-01T00:00:00Z", "--name", "a b"], "'a b' cannot name a snapshot"),
        (["--from-events", "--as-of", "2026-01-01T00:00:00Z"], "give one of"),
        (["--name", "x"], "--name goes with --as-of"),
    ):
        answer = run("rebuild", "--all", *wrong)
        assert (answer.returncode, answer.stderr.count("\n")) == (2, 1), answer.stderr
        assert said in answer.stderr


async def truncated(admin: Any, records: list[Record]) -> None:
    """Have Kafka drop these records and all before them."""
    ends: dict[TopicPartition, RecordsToDelete] = {}
    for record in records:
        ends[TopicPartition(record.topic, record.partition)] = RecordsToDelete(before_offset=record.offset + 1)
    await admin.delete_records(ends)

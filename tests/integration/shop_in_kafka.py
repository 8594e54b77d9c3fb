"""The shop's topics in the tests' Kafka, records in them as the model knows them, and commands beside."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.integration.running import until
from tests.model import Record
from tests.process import environment_with
from tests.world import World

PARTITIONS = 2


@asynccontextmanager
async def fresh_topics(kafka_brokers: str, names: list[str]) -> AsyncIterator[AIOKafkaAdminClient]:
    """The topics, empty, with PARTITIONS partitions each."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_brokers)
    await admin.start()

    async def gone() -> bool:
        return not set(names) & set(await admin.list_topics())

    try:
        if not await gone():
            await admin.delete_topics([n for n in names if n in await admin.list_topics()])
            await until(gone)
        await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        yield admin
    finally:
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


def environment(shop: World, brokers: str) -> dict[str, str]:
    return environment_with(
        DATABASE_URL=shop.url, KAFKA_BROKERS=brokers, ELASTICSEARCH_URL="", GROUP=shop.group,
        METRICS_PORT="0", DEAD_LETTER_LIMIT="1",
    )  # fmt: skip


def start(shop: World, brokers: str, log: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A `prejoin` process, a worker unless it is told otherwise; what it writes is added to a file."""
    with log.open("ab") as output:
        command = [sys.executable, "-m", "projector.cli", *(arguments or ["worker"])]
        return subprocess.Popen(command, env=environment(shop, brokers), stdout=output, stderr=output)


def prejoin(shop: World, brokers: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command, to its end."""
    command = [sys.executable, "-m", "projector.cli", *arguments]
    return subprocess.run(
        command, env=environment(shop, brokers), capture_output=True, text=True, timeout=120, check=False
    )


def applied(shop: World) -> int:
    """How many records are applied."""
    return int(shop.fetch("SELECT coalesce(sum(next), 0) FROM positions")[0][0])

"""The worker while a server is away or only half there: it waits, or leaves in time and in one line."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from tests.integration.running import Place, places, until


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


async def test_a_database_that_only_reads_for_a_while_ends_no_worker(place):
    await place.make_topic(1)
    worker = place.start()
    await place.joined(worker)
    only_reads(place, "on")
    try:
        await place.notes(range(20))
        await until(lambda: worker.said("retry") and worker.said("heartbeat_failed"))
        assert place.told() == {}
    finally:
        only_reads(place, "off")
    await place.has_told(20)
    await until(lambda: place.query("SELECT state FROM workers") == [("live",)])
    assert worker.process.poll() is None


def only_reads(place: Place, state: str) -> None:
    """As a full disk or a standby: it is a setting of new sessions, so the old ones are ended."""
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only TO off")
        connection.execute(f"ALTER ROLE CURRENT_USER SET default_transaction_read_only TO {state}")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = current_user AND application_name IN ('prejoin worker', 'prejoin heartbeat')"
        )


async def test_a_worker_that_waits_for_kafka_stops_when_told_to(place):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        worker = place.start(PREJOIN_KAFKA_BROKERS=f"127.0.0.1:{silent.getsockname()[1]}")
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            worker.process.terminate()
            assert await asyncio.to_thread(worker.process.wait, 5) == 0
    assert worker.log.read_text() == ""


async def test_kafka_gone_while_the_group_is_joined_is_told_in_one_line(place):
    await place.make_topic(1)
    async with first_connection_only(place.brokers) as broker:
        code, last = await asyncio.to_thread(place.start(PREJOIN_KAFKA_BROKERS=broker).ended, 40)
    assert code == 2
    assert last.startswith(f"prejoin: cannot reach Kafka at {broker} (PREJOIN_KAFKA_BROKERS): it went away")


@asynccontextmanager
async def first_connection_only(broker: str) -> AsyncIterator[str]:
    """An address that leads to the broker once; then nobody listens there."""
    host, port = broker.split(":")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.close()
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while some := await source.read(1 << 16):
        target.write(some)
        await target.drain()
    target.close()

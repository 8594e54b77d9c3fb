"""Postgres and Kafka stopped, killed and started again while `prejoin` rebuilds, archives and verifies."""

import asyncio
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from projector.embedded import Stack
from projector.history.archive import Archive
from projector.store.locks import LOCK
from tests.conftest import servers_of_their_own
from tests.integration.past import all_of
from tests.integration.running import until
from tests.integration.shop_in_kafka import PARTITIONS, fresh_topics, prejoin, publish, start
from tests.model import Model, Record
from tests.model.histories import random_stream
from tests.world import World, world

Command = Callable[..., "subprocess.Popen[bytes]"]

_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'prejoin %%'"
_END_THEM = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'prejoin verify'"
FROM_EVENTS = ("rebuild", "--all", "--from-events", "--jobs", "2")
FROM_ENTITIES = ("rebuild", "order_overview")


@pytest.fixture(scope="module")
def servers() -> Iterator[Stack]:
    """A Postgres and a Kafka that these tests may stop."""
    with servers_of_their_own("postgres", "kafka") as made:
        yield made


@pytest.fixture
def brokers(servers: Stack) -> str:
    return servers.endpoints.kafka_brokers


@pytest.fixture
def shop(servers: Stack) -> Iterator[World]:
    with world(servers.endpoints.database_url, read_url=servers.endpoints.read_database_url) as made:
        yield made


@pytest.fixture
async def records(shop: World, brokers: str) -> list[Record]:
    """In the topics, and applied."""
    made = random_stream(9, customers=20, products=20, orders=120, partitions=PARTITIONS)
    async with fresh_topics(brokers, shop.projections.topics):
        await publish(brokers, made)
    shop.given(made)
    shop.applier.close()
    return made


@contextmanager
def held(shop: World, statement: Any, *values: Any) -> Iterator[None]:
    """Hold a lock that the command will wait for, until its end or that of the server."""
    with closing(shop.connect()) as connection:
        connection.execute("BEGIN")
        connection.execute(statement, *values)
        yield


@pytest.fixture
def command(shop: World, brokers: str, tmp_path: Path) -> Iterator["Command"]:
    running = list[subprocess.Popen[bytes]]()

    def begin(log: Path, *arguments: str) -> "subprocess.Popen[bytes]":
        running.append(start(shop, brokers, log, *arguments))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


async def waits(shop: World) -> None:
    await until(lambda: shop.fetch(_WAITS)[0][0] > 0, 60)


def written(log: Path) -> list[str]:
    return log.read_text().splitlines()


async def ended_well(process: "subprocess.Popen[bytes]", log: Path) -> list[str]:
    """Wait for its end; returns what it has written."""
    code = await asyncio.to_thread(process.wait, 120)
    lines = written(log)
    assert code == 0, lines
    assert not [line for line in lines if "Traceback" in line]
    return lines


def rebuilt(shop: World, records: list[Record], generation: int) -> None:
    assert shop.generations()["order_overview"] == generation
    assert shop.views() == Model().apply_all(records).views()
    assert shop.drift() == []
    assert shop.fetch("SELECT FROM generations WHERE state IN ('building', 'copy')") == []


def restart(servers: Stack, name: str, end: Callable[[str], None]) -> None:
    end(name)
    servers.start_service(name)


@pytest.mark.timeout(180)
async def test_a_rebuild_goes_on_by_itself_when_postgres_is_back(
    servers: Stack, shop: World, brokers: str, records: list[Record], command: Command, tmp_path: Path
) -> None:
    for generation, wanted in ((2, FROM_ENTITIES), (3, FROM_EVENTS)):
        before, log = shop.generations(), tmp_path / f"{generation}.log"
        table = "shipments" if wanted is FROM_ENTITIES else "dead_letters"
        with held(shop, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"):
            process = command(log, *wanted)
            await waits(shop)
            await asyncio.to_thread(servers.kill_service, "postgres")
            await until(lambda log=log: "; trying again" in log.read_text(), 60)
        await asyncio.to_thread(servers.start_service, "postgres")
        lines = await ended_well(process, log)
        assert [line.rpartition("; ")[2] for line in lines if "trying again" in line] == [
            "trying again, for 120 s at most"
        ]
        assert shop.generations() != before
        rebuilt(shop, records, generation)


@pytest.mark.timeout(180)
async def test_a_rebuild_from_events_goes_on_by_itself_when_kafka_is_back(
    servers: Stack, shop: World, brokers: str, records: list[Record], command: Command, tmp_path: Path
) -> None:
    log, before, views = tmp_path / "log", shop.generations(), shop.views()
    with held(shop, LOCK, {"group": shop.group}):  # it is registered under this lock, and then reads
        process = command(log, *FROM_EVENTS)
        await waits(shop)
        await asyncio.to_thread(servers.kill_service, "kafka")
    await until(lambda: "trying again" in log.read_text(), 60)
    assert (shop.generations(), shop.views()) == (before, views)
    await asyncio.to_thread(servers.start_service, "kafka")
    lines = await ended_well(process, log)
    assert f"cannot reach Kafka at {brokers} (PREJOIN_KAFKA_BROKERS): no answer in 10 s; trying again" in lines[0]
    rebuilt(shop, records, 2)


@pytest.mark.timeout(240)
async def test_servers_away_at_any_moment_and_the_command_given_until_it_is_done(
    servers: Stack, shop: World, brokers: str, records: list[Record], command: Command, tmp_path: Path
) -> None:
    rng, log, met = random.Random(9), tmp_path / "log", 0
    for generation, wanted, away in (
        (2, FROM_EVENTS, ("postgres", "kafka", "postgres")),
        (3, FROM_ENTITIES, ("postgres", "postgres")),
    ):
        process = command(log, *wanted)
        for name in away:
            await asyncio.sleep(rng.uniform(0.2, 2.5))
            end = rng.choice([servers.kill_service, servers.stop_service])
            await asyncio.to_thread(restart, servers, name, end)
        while code := await asyncio.to_thread(process.wait, 120):  # at its first look a server may have been away
            last = written(log)[-1]
            assert (code, last[:9]) == (2, "prejoin: ")
            assert shop.views() == Model().apply_all(records).views()
            met += 1
            process = command(log, *wanted)
        await ended_well(process, log)
        rebuilt(shop, records, generation)
    assert met or "trying again" in log.read_text()


@pytest.mark.timeout(180)
async def test_an_archiver_goes_on_when_kafka_is_back(
    servers: Stack, shop: World, brokers: str, records: list[Record], command: Command, tmp_path: Path
) -> None:
    folder, log = tmp_path / "archive", tmp_path / "log"
    process = command(log, "archive", "--to", str(folder))
    await until(lambda: list(folder.glob("*/*/~unfinished")), 60)
    await asyncio.to_thread(servers.kill_service, "kafka")
    await until(lambda: "; trying again" in log.read_text(), 90)
    await asyncio.to_thread(servers.start_service, "kafka")
    process.terminate()
    lines = await ended_well(process, log)
    assert len([line for line in lines if "trying again" in line]) == 1
    once = await asyncio.to_thread(prejoin, shop, brokers, "archive", "--to", str(folder), "--once")
    assert once.returncode == 0, once.stderr
    archived = all_of(Archive(folder, shop.projections.topics))
    assert [r[:5] for r in archived] == sorted(r[:5] for r in records)


async def test_verify_whose_connection_is_lost_ends_with_one_line(
    servers: Stack, shop: World, brokers: str, records: list[Record]
) -> None:
    told = list["subprocess.CompletedProcess[str]"]()
    with held(shop, f"LOCK TABLE {shop.group}_views.{shop.table('order_overview')} IN ACCESS EXCLUSIVE MODE"):
        running = threading.Thread(
            target=lambda: told.append(prejoin(shop, brokers, "verify", "order_overview", "--json"))
        )
        running.start()
        await until(lambda: shop.fetch(_WAITS)[0][0] > 0 or told, 60)
        shop.execute(_END_THEM)
        await asyncio.to_thread(running.join, 60)
    assert (told[0].returncode, told[0].stdout) == (2, "")
    assert told[0].stderr.splitlines()[-1] == (
        "prejoin: Postgres (PREJOIN_DATABASE_URL) gave up: terminating connection due to administrator command; "
        "give the command again when it is back"
    )
    assert "Traceback" not in told[0].stderr

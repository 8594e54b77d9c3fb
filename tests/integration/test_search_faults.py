"""Elasticsearch stopped and crashed, the indexer killed: nothing is lost, and index and view are equal in the end."""

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from projector.embedded import Stack
from read_api.app import create_app
from tests.api import running, served_world, settings_of
from tests.integration.running import Running, until
from tests.integration.test_search_indexer import History, registered
from tests.model.histories import cloud_event
from tests.process import environment_with
from tests.search import Searched, searched
from tests.world import World

ORDERS = 5_000


@pytest.fixture
def shop(database_url: str, read_database_url: str) -> Iterator[World]:
    with served_world(database_url, read_database_url) as made:
        yield made


@pytest.fixture
async def index(shop: World, elasticsearch_url: str) -> AsyncIterator[Searched]:
    async with searched(shop, elasticsearch_url) as made:
        yield made


@pytest.fixture
async def client(index: Searched, read_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_of(index.world, read_database_url, elasticsearch_url=index.url)
    async with running(create_app(settings)) as made:
        yield made


def told(answer: dict[str, Any]) -> tuple[str, bool, int]:
    return answer["backend"], answer["degraded"], answer["total"]["value"]


async def from_elasticsearch(client: httpx.AsyncClient) -> tuple[str, bool, int] | None:
    """What the API finds, once Elasticsearch answers it again."""
    found = told((await client.get("/v1/orders/search", params={"q": '"name 3"', "customer_id": "c1"})).json())
    return found if found[0] == "elasticsearch" else None


class Indexers:
    """`prejoin indexer` processes."""

    def __init__(self, index: Searched, folder: Path) -> None:
        self.index, self.folder, self.running = index, folder, list[Running]()

    def start(self) -> Running:
        group = self.index.world
        environment = environment_with(
            DATABASE_URL=group.url, ELASTICSEARCH_URL=self.index.url, GROUP=group.group, METRICS_PORT="0"
        )
        log = self.folder / f"indexer{len(self.running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "projector.cli", "indexer"], env=environment, stdout=output, stderr=output
            )
        self.running.append(Running(process, log))
        return self.running[-1]

    def stop_all(self) -> None:
        for each in self.running:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def indexers(index: Searched, tmp_path: Path) -> Iterator[Indexers]:
    made = Indexers(index, tmp_path)
    yield made
    made.stop_all()


def orders(first: int, last: int, **more: Any) -> list[Any]:
    lines = [{"line": n, "product_id": f"p{n}", "quantity": 1, "unit_price": "9.99"} for n in (1, 2)]
    data = {"currency": "EUR", "placed_at": "2026-01-01T00:00:00Z", "lines": lines} | more
    return [
        cloud_event("orders.OrderPlaced.v2", order_id=f"o{n}", customer_id=f"c{n % 20}", **data)
        for n in range(first, last)
    ]


async def test_elasticsearch_may_be_away_while_thousands_of_rows_change(
    shop: World, index: Searched, indexers: Indexers, elasticsearch: Stack, client: httpx.AsyncClient
) -> None:
    """20,000 rows of orders change meanwhile, and the API answers from Postgres."""
    history = History(shop)
    history.tell(*(registered(f"c{n}", f"Customer {n}") for n in range(20)), *orders(0, 1_000))
    indexer = indexers.start()
    await index.settle()
    elasticsearch.stop_service("elasticsearch")
    try:
        started = time.monotonic()
        history.tell(*orders(1_000, ORDERS))
        took = time.monotonic() - started
        for round_ in range(4):
            names = [
                cloud_event("customers.CustomerNameChanged", customer_id=f"c{n}", name=f"Name {round_}")
                for n in range(20)
            ]
            history.tell(*names)
            while shop.applier.drain():
                pass
        assert shop.fetch("SELECT count(*) FROM outbox WHERE relation = 'order_overview'") == [(ORDERS,)]
        await until(lambda: indexer.said("retry"))
        started = time.monotonic()
        answer = await client.get("/v1/orders/search", params={"customer_id": "c1", "facets": "status"})
        assert time.monotonic() - started < 3  # a second, and a busy machine
        assert (answer.status_code, told(answer.json())) == (200, ("postgres", True, ORDERS // 20))
    finally:
        elasticsearch.start_service("elasticsearch")
    await index.settle()
    await index.equals_postgres()
    assert len(await index.rows("order_overview")) == ORDERS
    again = await until(lambda: from_elasticsearch(client))
    assert again == ("elasticsearch", False, ORDERS // 20)
    assert indexer.process.poll() is None
    assert indexer.metrics()['prejoin_search_documents_total{outcome="indexed",view="order_overview"}'] >= ORDERS
    assert took < 60


async def test_killed_and_crashed_in_the_middle_of_bulks(
    shop: World, index: Searched, indexers: Indexers, elasticsearch: Stack
) -> None:
    history = History(shop)
    history.tell(*orders(0, 100))
    leader = indexers.start()
    await index.settle()
    other = indexers.start()
    await until(lambda: len(other.said("standing_by")) == 2)
    history.tell(*orders(100, ORDERS))
    assert shop.fetch("SELECT count(*) FROM outbox")[0][0] > 0  # bulks are under way
    leader.process.send_signal(signal.SIGKILL)
    elasticsearch.kill_service("elasticsearch")
    elasticsearch.start_service("elasticsearch")
    history.tell(*orders(50, 150, currency="USD"))
    await index.settle()
    await index.equals_postgres()
    assert len(other.said("leading")) == 2


async def test_it_stops_cleanly_and_says_what_it_does(shop: World, index: Searched, indexers: Indexers) -> None:
    History(shop).tell(*orders(0, 10))
    indexer = indexers.start()
    await index.settle()
    assert indexer.metrics()['prejoin_search_leads{view="order_overview"}'] == 1
    indexer.process.send_signal(signal.SIGTERM)
    assert indexer.process.wait(10) == 0
    assert indexer.lines()[-1]["action"] == "stopped"
    interrupted = indexers.start()
    await until(lambda: interrupted.said("leading"))
    interrupted.process.send_signal(signal.SIGINT)
    assert interrupted.process.wait(10) == 130

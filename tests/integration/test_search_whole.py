"""Search as a whole: events are applied, an indexer is at work, and the API finds what they say."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from projector.declare.view import View
from projector.operate.copying import Copying
from projector.search.keeping import keeping
from projector.search.rebuild import follow
from read_api.app import create_app
from tests.api import running, settings_of
from tests.history import Past
from tests.integration.searching import patient
from tests.integration.test_search_indexer import History, placed, registered
from tests.model.histories import cloud_event, random_stream
from tests.search import Searched, searched
from tests.world import World

__all__ = ["patient"]  # the fixture

PATH = "/v1/orders/search"


@pytest.fixture
async def index(shop: World, elasticsearch_url: str) -> AsyncIterator[Searched]:
    shop.clear()
    shop.execute("UPDATE served SET search = NULL")
    async with searched(shop, elasticsearch_url) as made:
        yield made


@pytest.fixture
async def client(index: Searched, read_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_of(index.world, read_database_url, elasticsearch_url=index.url)
    async with running(create_app(settings)) as made:
        yield made


@pytest.fixture
async def postgres(index: Searched, read_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The same, without Elasticsearch."""
    async with running(create_app(settings_of(index.world, read_database_url))) as made:
        yield made


async def find(client: httpx.AsyncClient, q: str, at: str = "", **parameters: str) -> dict[str, Any]:
    """What Elasticsearch answers, once it holds a position."""
    headers = {"Prejoin-Min-Position": at, "Prefer": "wait=20"} if at else {}
    answer = await client.get(PATH, params={"q": q, **parameters}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (found["backend"], found["degraded"]) == ("elasticsearch", False)
    return found


def held(history: History, topic: str) -> str:
    """The position of the last event that was told of a topic."""
    told = sum(event["type"].startswith(topic) for event in history.events)
    return f"{topic}/0@{told - 1}"


async def test_who_waits_for_a_position_finds_what_was_written(index: Searched, client: httpx.AsyncClient) -> None:
    history = History(index.world)
    history.tell(registered("c1", "Chloé Martin"), placed(1))
    async with index.indexing():
        await index.settle()
        for number in range(2, 6):
            history.tell(placed(number))
            found = await find(client, f"o{number}", held(history, "orders"))
            assert [hit["row"]["order_id"] for hit in found["data"]] == [f"o{number}"]


async def test_an_index_holds_a_position_once_all_rows_that_it_reaches_are_there(
    index: Searched, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.apply.plan.PORTION", 2)
    history = History(index.world)
    async with index.indexing():
        history.tell(registered("c1", "Ann"))
        history.tell(*(placed(n) for n in range(5)))
        await index.settle()
        assert (await find(client, "ann", held(history, "orders")))["total"]["value"] == 5
        history.tell(cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Bea"))
        await index.settle()
        # a pass of its own, which begins behind the rename
        history.tell(placed(5))
        await index.settle()
        at = held(history, "customers")
        answer = await client.get(PATH, params={"q": "bea"}, headers={"Prejoin-Min-Position": at, "Prefer": "wait=2"})
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:prejoin:position-not-reached")
        while index.world.applier.drain():
            pass
        assert (await find(client, "bea", at))["total"]["value"] == 6


async def test_a_rename_and_an_erasure_are_what_the_api_finds(index: Searched, client: httpx.AsyncClient) -> None:
    history = History(index.world)
    history.tell(registered("c1", "Chloé Martin"), registered("c2", "Bob"), *(placed(n) for n in range(30)))
    async with index.indexing():
        await index.settle()
        assert (await find(client, "chloe"))["total"]["value"] == 30
        history.tell(cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Zoë Martin"))
        at = held(history, "customers")
        assert (await find(client, "zoe", at, facets="customer_country"))["facets"] == {
            "customer_country": [{"value": "FR", "count": 30}]
        }
        assert (await find(client, "chloe"))["total"]["value"] == 0
        history.tell(cloud_event("customers.CustomerErased", customer_id="c1"))
        at = held(history, "customers")
        assert (await find(client, "zoe", at))["total"]["value"] == 0
        assert (await find(client, "martin"))["total"]["value"] == 0
        erased = await find(client, "", customer_id="c1", limit="200")
        assert erased["total"]["value"] == 30
        assert {hit["row"]["customer_name"] for hit in erased["data"]} == {None}
        waiting = {"Prejoin-Min-Position": at, "Prefer": "wait=20"}  # customers have an index of their own
        customers = await client.get("/v1/customers/search", params={"q": "zoe"}, headers=waiting)
        assert (customers.json()["backend"], customers.json()["data"]) == ("elasticsearch", [])


async def test_before_there_is_an_index_postgres_answers(index: Searched, client: httpx.AsyncClient) -> None:
    History(index.world).tell(registered("c1", "Ann"), placed(1))
    answer = (await client.get(PATH, params={"q": "ann"})).json()
    assert (answer["backend"], answer["degraded"], answer["total"]["value"]) == ("postgres", True, 1)
    async with index.indexing():
        await index.settle()
        assert (await find(client, "ann"))["total"]["value"] == 1
    text = (await client.get("/metrics")).text
    assert 'prejoin_api_searches_total{backend="postgres",degraded="true",view="order_overview"} 1.0' in text
    assert 'prejoin_api_searches_total{backend="elasticsearch",degraded="false",view="order_overview"} 1.0' in text


def asked(rows: list[dict[str, Any]], pick: random.Random) -> dict[str, str]:
    """A search for something that is there, as somebody may write it."""
    row = pick.choice(rows)
    texts = [row["order_id"], row["customer_name"], row["customer_email"], row["carrier"], row["cancel_reason"]]
    texts += [line["product_name"] for line in row["lines"]]
    words = [word for text in texts if text for word in text.split()]
    chosen = [pick.choice(words) for _ in range(pick.choice([0, 1, 1, 2, 3]))]
    if chosen and pick.random() < 0.3:
        chosen[-1] = chosen[-1][: pick.randint(1, len(chosen[-1]))]
    if chosen and pick.random() < 0.4:
        at, letters = pick.randrange(len(chosen)), list(chosen[0])
        letters[pick.randrange(len(letters))] = pick.choice("aex")
        chosen[at] = "".join(letters)
    if pick.random() < 0.2:
        chosen = [f'"{" ".join(chosen)}"']
    if pick.random() < 0.2:
        chosen.append(f"-{pick.choice(words)}")
    found = {"q": " ".join(chosen), "facets": "status,customer_country,lines.category", "limit": "50"}
    if pick.random() < 0.3:
        found["status"] = ",".join({row["status"], "paid"})
    if pick.random() < 0.3:
        found["total[gte]"] = row["total"]
    if pick.random() < 0.3:
        found["sort"] = pick.choice(["-total", "customer_name", "-placed_at,carrier", "delivered_at"])
    return found


async def test_both_backends_answer_the_same(
    index: Searched, client: httpx.AsyncClient, postgres: httpx.AsyncClient
) -> None:
    index.world.given(random_stream(5, customers=30, products=30, orders=150))
    rows = list(index.world.view("order_overview").values())
    pick, hits = random.Random(5), 0
    async with index.indexing():
        await index.settle()
        for _ in range(150):
            parameters = asked(rows, pick)
            one, two = [await each.get(PATH, params=parameters) for each in (client, postgres)]
            assert one.status_code == two.status_code, (parameters, one.text, two.text)
            if one.status_code == 400:  # a phrase without a letter
                assert one.json() == two.json()
                continue
            first, second = one.json(), two.json()
            assert (first.pop("backend"), second.pop("backend")) == ("elasticsearch", "postgres")
            for answer in (first, second):
                answer.pop("next_cursor")  # of a point in time in one
            assert first == second, parameters
            hits += len(first["data"])
    assert hits > 300


async def test_a_copy_from_events_has_its_index_before_both_are_switched_to(
    index: Searched, client: httpx.AsyncClient
) -> None:
    records = random_stream(8, customers=20, products=20, orders=120)
    half = len(records) // 2
    past, world = Past(records[:half]), index.world
    world.given(past.records)
    before = world.generations()

    async def follow_meanwhile(view: View, generation: int) -> bool:
        async with keeping(world.url, [index.url], world.group, world.projections, view) as kept:
            return await follow(kept, generation)

    def search(view: View, generation: int) -> None:
        step = records[len(past.records) : len(past.records) + 80]
        past.records += step
        world.given(step)
        assert asyncio.run(follow_meanwhile(view, generation))
        assert world.generations() == before

    async with index.indexing():
        await index.settle()
        await asyncio.to_thread(Copying(world.url, world.group, world.projections, past).run, search=search)
        assert len(past.records) > half
        searched = world.fetch("SELECT generation, search FROM served WHERE search IS NOT NULL")
        assert len(searched) == len(world.projections.searched)
        world.given(records[len(past.records) :])
        await index.settle()
        await index.equals_postgres()
    assert world.drift() == []

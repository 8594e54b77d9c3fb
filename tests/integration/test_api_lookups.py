"""Single rows that are asked for at the same time: few statements, and to each its own answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

from projector.store.definitions import relation_digests
from read_api import lookups as looking
from read_api.database import Database
from read_api.freshness import Waiters, Wanted
from read_api.lookups import MOST, Lookups
from read_api.problems import Problem
from read_api.reading import Page, Reader
from read_api.resource import Resource
from read_api.statements import Condition
from tests.api import fill, key_of
from tests.world import World

ORDERS = [
    {"order_id": f"o{n:03}", "status": "paid", "total": Decimal(n), "customer_id": "c1", "customer_name": f"Ann {n}"}
    for n in range(2 * MOST)
]
KEYS = [str(order["order_id"]) for order in ORDERS]
NOTHING = ["o", "O001", "o001 ", "ö", "'", '"', "o001,o002", "~", "%", "null"]


class Counting(Reader):
    """A reader that knows what it was asked for, and may hold its statements back."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Waiters(database))
        self.asked: list[Sequence[Any]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def page(self, resource: Resource, wanted: Wanted, shape: Any, conditions: Any, *more: Any) -> Page:
        self.asked.append(conditions[0].values)
        await self.go.wait()
        return await super().page(resource, wanted, shape, conditions, *more)


@asynccontextmanager
async def reading(shop: World, url: str) -> AsyncIterator[tuple[Counting, Lookups, Resource]]:
    database = Database(url, shop.group)
    orders = Resource(shop.projections.relation("order_overview"), relation_digests(shop.projections)["order_overview"])
    async with database.running():
        reader = Counting(database)
        yield reader, Lookups(reader), orders


def asked_for(lookups: Lookups, orders: Resource, key: str) -> asyncio.Task[Page]:
    return asyncio.create_task(lookups.page(orders, Wanted({}, None), [Condition("order_id", "eq", (key,))], ()))


async def turns(count: int) -> None:
    """Let everybody who can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/fulfilment"])
async def test_each_gets_the_answer_it_gets_alone(shop: World, client: httpx.AsyncClient, path: str) -> None:
    fill(shop, "order_overview", ORDERS)
    keys = [*KEYS, *NOTHING, *KEYS[:30]]
    urls = [f"{path}/{httpx.URL('/').copy_with(path=f'/{key}').raw_path.decode()[1:]}" for key in keys]
    alone = {url: await client.get(url) for url in dict.fromkeys(urls)}
    together = await asyncio.gather(*(client.get(url) for url in urls))
    assert [a.status_code for a in together] == [200] * len(KEYS) + [404] * len(NOTHING) + [200] * 30
    for key, url, answer in zip(keys, urls, together, strict=True):
        assert answer.json() == alone[url].json()
        assert answer.headers.get("etag") == alone[url].headers.get("etag")
        if answer.status_code == 200:
            assert answer.json()["order_id"] == key
    known = [{"If-None-Match": answer.headers["etag"]} for answer in together[: len(KEYS)]]
    again = await asyncio.gather(*(client.get(url, headers=its) for url, its in zip(urls, known, strict=False)))
    assert {answer.status_code for answer in again} == {304}


async def test_numbers_and_masks_are_told_apart(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", ORDERS)
    who = [key_of(shop, "all"), key_of(shop, "masked", pii=False), key_of(shop, "others", "products")]
    asked = [(key, its) for key in KEYS[:20] for its in who]
    answers = await asyncio.gather(*(client.get(f"/v1/orders/{key}", headers=its) for key, its in asked))
    for n, (open_, masked, refused) in enumerate(zip(answers[::3], answers[1::3], answers[2::3], strict=True)):
        assert open_.json()["customer_name"] == f"Ann {n}"
        assert masked.json()["customer_name"] is None
        assert refused.status_code == 403


async def test_what_comes_while_others_are_read_is_read_together(shop: World, read_database_url: str) -> None:
    fill(shop, "order_overview", ORDERS)
    async with reading(shop, read_database_url) as (reader, lookups, orders):
        reader.go.clear()
        first = [asked_for(lookups, orders, "o000")]
        await turns(3)
        second = [asked_for(lookups, orders, key) for key in ("o001", "o002", "o002")]
        await turns(3)
        rest = [asked_for(lookups, orders, key) for key in [*KEYS, *KEYS]]
        await turns(3)
        assert [sorted(set(keys)) for keys in reader.asked] == [["o000"], ["o001", "o002"]], "two are under way"
        reader.go.set()
        pages = await asyncio.gather(*first, *second, *rest)
        assert [len(keys) for keys in reader.asked] == [1, 2, MOST, MOST]
        assert [page.found for page in pages] == [1] * len(pages)
        (page,) = await asyncio.gather(asked_for(lookups, orders, "o003"))
        assert reader.asked[-1] == ("o003",), "who asks alone is asked for alone"
        assert page.rows is not None
        assert '"order_id": "o003"' in page.rows[0][0].replace('":"', '": "')


async def test_who_leaves_takes_nobody_along(shop: World, read_database_url: str) -> None:
    fill(shop, "order_overview", ORDERS)
    async with reading(shop, read_database_url) as (reader, lookups, orders):
        reader.go.clear()
        tasks = [asked_for(lookups, orders, key) for key in ("o001", "o001", "o002", "o003")]
        await turns(3)
        for left in (tasks[0], tasks[3]):
            left.cancel()
        await turns(3)
        reader.go.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False, False, True]
        assert all(page.found == 1 for page in await asyncio.gather(*(asked_for(lookups, orders, k) for k in KEYS)))


async def test_a_failure_is_told_to_each_and_passes(shop: World, read_database_url: str) -> None:
    fill(shop, "order_overview", ORDERS)
    async with reading(shop, read_database_url) as (reader, lookups, orders):
        shop.execute(f"ALTER TABLE {shop.table('order_overview')} RENAME TO away")
        failed = await asyncio.gather(*(asked_for(lookups, orders, key) for key in KEYS), return_exceptions=True)
        assert {type(each) for each in failed} == {Problem}
        shop.execute("ALTER TABLE away RENAME TO order_overview__g1")
        pages = await asyncio.gather(*(asked_for(lookups, orders, key) for key in KEYS))
        assert all(page.found == 1 for page in pages)
        assert len(reader.asked) < len(KEYS)


async def test_no_more_wait_than_may(shop: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "WAITING", 5)
    fill(shop, "order_overview", ORDERS)
    async with reading(shop, read_database_url) as (reader, lookups, orders):
        reader.go.clear()
        under_way = []
        for key in ("o000", "o001"):
            under_way.append(asked_for(lookups, orders, key))
            await turns(3)
        waiting = [asked_for(lookups, orders, key) for key in [*KEYS[2:7], *KEYS[2:7]]]
        await turns(3)
        with pytest.raises(Problem, match="too many requests") as refused:
            await asked_for(lookups, orders, "o099")
        assert refused.value.status == 503
        reader.go.set()
        assert all(page.found == 1 for page in await asyncio.gather(*under_way, *waiting))

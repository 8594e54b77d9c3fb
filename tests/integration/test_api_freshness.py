"""How fresh answers say they are, and waiting for a position."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest

from read_api.database import Database
from read_api.freshness import Waiters
from tests.api import applied, fill, until_somebody_looks
from tests.integration.test_search_indexer import History, placed, registered
from tests.model.histories import cloud_event
from tests.world import World


async def test_before_anything_is_applied_nothing_is_claimed(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/orders")
    assert answer.status_code == 200
    assert not {"prejoin-as-of", "prejoin-lag", "prejoin-position"} & set(answer.headers)


async def test_each_answer_of_a_view_says_how_fresh_it_is(shop: World, client: httpx.AsyncClient) -> None:
    for topic, partition, following in [
        ("payments", 1, 89),
        ("orders", 10, 5),
        ("orders", 2, 1_235),
        ("catalog", 0, 0),
    ]:
        applied(shop, topic, partition, following)
    shop.execute("UPDATE projection_group SET as_of = now() - interval '2.5 s'")
    fill(shop, "order_overview", [{"order_id": "o1"}])
    for path in ("/v1/orders", "/v1/orders/o1", "/v1/orders/none", "/v1/customers", "/v1/fulfilment"):
        headers = (await client.get(path)).headers
        assert headers["prejoin-position"] == "orders/2@1234,orders/10@4,payments/1@88"
        assert datetime.fromisoformat(headers["prejoin-as-of"]).tzinfo is not None
        assert headers["prejoin-as-of"].endswith("Z")
        assert 2.5 <= float(headers["prejoin-lag"]) < 60
        assert len(headers["prejoin-lag"].partition(".")[2]) <= 3


async def test_a_position_that_is_applied_is_answered_at_once(shop: World, client: httpx.AsyncClient) -> None:
    applied(shop, "orders", 0, 10)
    answer = await client.get("/v1/orders", headers={"Prejoin-Min-Position": "orders/0@9"})
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
    answer = await client.get("/v1/orders", headers={"Prejoin-Min-Position": "orders/0@9", "Prefer": "wait=5"})
    assert answer.headers["preference-applied"] == "wait=5"


@pytest.mark.parametrize("position", ["orders/0@10", "orders/1@0", "nothing/0@0", "orders/0@9,payments/0@1"])
async def test_a_position_that_is_not_applied_is_unavailable(
    shop: World, client: httpx.AsyncClient, position: str
) -> None:
    applied(shop, "orders", 0, 10)
    for path in ("/v1/orders", "/v1/orders/o1"):
        answer = await client.get(path, headers={"Prejoin-Min-Position": position})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["prejoin-position"] == "orders/0@9"
        assert answer.json()["type"] == "urn:prejoin:position-not-reached"


@pytest.mark.parametrize("position", ["", "orders", "orders/0@x", "orders/0@1;payments/0@1", "orders/0@1,"])
async def test_a_malformed_position_is_refused(client: httpx.AsyncClient, position: str) -> None:
    answer = await client.get("/v1/orders", headers={"Prejoin-Min-Position": position})
    assert answer.status_code == 400
    assert [error["parameter"] for error in answer.json()["errors"]] == ["Prejoin-Min-Position"]


async def test_a_request_waits_until_its_position_is_applied(
    shop: World, client: httpx.AsyncClient, read_database_url: str
) -> None:
    applied(shop, "orders", 0, 10)
    headers = {"Prejoin-Min-Position": "orders/0@10", "Prefer": "respond-async, wait=20"}
    request = asyncio.create_task(client.get("/v1/orders", headers=headers))
    await until_somebody_looks(read_database_url)
    assert not request.done()
    applied(shop, "orders", 0, 11)
    answer = await request
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=20")
    assert answer.headers["prejoin-position"] == "orders/0@10"


async def test_a_position_counts_once_all_rows_that_it_reaches_have_it(
    shop: World, client: httpx.AsyncClient, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.apply.plan.PORTION", 2)
    history = History(shop)
    history.tell(registered("c1", "Ann"))
    history.tell(*(placed(n) for n in range(5)))
    history.tell(cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Bea"))
    position = {"Prejoin-Min-Position": "customers/0@1"}
    asked = {"url": "/v1/orders", "params": {"customer_id": "c1"}}
    answer = await client.get(**asked, headers=position)
    assert (answer.status_code, answer.headers["prejoin-position"]) == (503, "customers/0@1,orders/0@4")
    assert answer.json()["detail"].startswith("the positions asked for are not applied to all rows yet")
    request = asyncio.create_task(client.get(**asked, headers=position | {"Prefer": "wait=20"}))
    await until_somebody_looks(read_database_url)
    while shop.applier.drain():
        assert not request.done()
    for answer in (await request, await client.get(**asked, headers=position)):
        assert [row["customer_name"] for row in answer.json()["data"]] == ["Bea"] * 5


async def test_waiting_ends_when_its_time_is_over(shop: World, client: httpx.AsyncClient) -> None:
    headers = {"Prejoin-Min-Position": "orders/0@10", "Prefer": "wait=1"}
    began = asyncio.get_running_loop().time()
    answer = await client.get("/v1/orders", headers=headers)
    assert (answer.status_code, answer.headers["preference-applied"]) == (503, "wait=1")
    assert 1 <= asyncio.get_running_loop().time() - began < 10


async def test_many_who_wait_look_once_together(shop: World, read_database_url: str) -> None:
    class Counted(Database):
        looks = 0

        async def all(self, sql: str, values: Any = ()) -> list[Any]:
            self.looks += 1
            return await super().all(sql, values)

    shop.clear()
    database = Counted(read_database_url, shop.group)
    async with database.running():
        waiters = Waiters(database)
        waiting = [asyncio.create_task(waiters.wait({("orders", 0): n % 50}, 20)) for n in range(500)]
        for following in (20, 51):
            applied(shop, "orders", 0, following)
            done = following * 10 if following == 20 else 500
            async with asyncio.timeout(20):
                while sum(task.done() for task in waiting) < done:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        assert all([await task for task in waiting])
        assert 0 < database.looks < 100
        await waiters.close()

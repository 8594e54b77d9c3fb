"""`?snapshot=NAME`: lists, rows, searches and exports as of then, beside what is served now."""

from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest

from projector.operate.copying import Copying
from projector.operate.snapshots import drop_snapshots
from read_api.app import create_app
from tests.api import running, served_world, settings_of
from tests.history import Past
from tests.integration.test_snapshots import expected, times
from tests.model import Record
from tests.model.histories import random_stream
from tests.world import World

THEN = {"snapshot": "then"}


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return random_stream(6, customers=10, products=10, orders=60)


@pytest.fixture(scope="module")
def until(records: list[Record]) -> datetime:
    return times(records)[len(records) // 2]


@pytest.fixture(scope="module")
def shop(database_url: str, read_database_url: str, records: list[Record], until: datetime):
    with served_world(database_url, read_database_url) as made:
        made.given(records)
        Copying(made.url, made.group, made.projections, Past(records), until=until, name="then").run()
        yield made


@pytest.fixture
async def client(shop: World, read_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings_of(shop, read_database_url))) as made:
        yield made


async def test_each_view_is_read_as_of_then_page_by_page(
    client: httpx.AsyncClient, shop: World, records: list[Record], until: datetime
) -> None:
    model = expected(records, until)
    for relation in shop.projections.served:
        found, cursor = [], {}
        while True:
            answer = await client.get(f"/v1/{relation.path}", params={**THEN, **cursor, "limit": "7"})
            assert answer.status_code == 200, answer.text
            found += answer.json()["data"]
            if not answer.json()["has_more"]:
                break
            cursor = {"cursor": answer.json()["next_cursor"]}
        assert {tuple(row[k] for k in relation.key): row for row in found} == model[relation.name]
        now = await client.get(f"/v1/{relation.path}", params={"limit": "200"})
        assert len(now.json()["data"]) > len(found) or relation.path in ("customers", "products")
    assert datetime.fromisoformat(answer.headers["Prejoin-As-Of"]) == until
    assert float(answer.headers["Prejoin-Lag"]) > 0
    assert "orders/0@" in answer.headers["Prejoin-Position"]


async def test_a_row_a_search_and_an_export_are_as_of_then(
    client: httpx.AsyncClient, records: list[Record], until: datetime
) -> None:
    rows = expected(records, until)["order_overview"]
    (key,), row = next(iter(rows.items()))
    one = await client.get(f"/v1/orders/{key}", params=THEN)
    assert one.json() == row
    again = await client.get(f"/v1/orders/{key}", params=THEN, headers={"If-None-Match": one.headers["ETag"]})
    assert again.status_code == 304
    hits = (await client.get("/v1/orders/search", params={**THEN, "limit": "200"})).json()
    assert {hit["row"]["order_id"] for hit in hits["data"]} == {order for (order,) in rows}
    assert (hits["backend"], hits["degraded"]) == ("postgres", False)
    lines = (await client.get("/v1/orders/export", params={**THEN, "format": "ndjson"})).text.splitlines()
    assert len(lines) == len(rows)
    nested = await client.get(f"/v1/customers/{row['customer_id']}/orders", params=THEN)
    theirs = [order for (order,), r in rows.items() if r["customer_id"] == row["customer_id"]]
    assert sorted(r["order_id"] for r in nested.json()["data"]) == sorted(theirs)


@pytest.mark.parametrize(
    ("path", "parameters", "status", "said"),
    [
        ("/v1/orders", {"snapshot": "nobodys"}, 404, "there is no snapshot nobodys"),
        ("/v1/orders/search", {"snapshot": "nobodys"}, 404, "there is no snapshot nobodys"),
        ("/v1/orders/export", {"snapshot": "nobodys", "format": "csv"}, 404, "there is no snapshot nobodys"),
        ("/v1/orders/o1", {"snapshot": "a b"}, 400, "should be the name of a snapshot"),
        ("/v1/orders/o1", {"status": "paid"}, 400, "there is snapshot alone"),
        ("/v1/orders/changes", THEN, 400, "snapshot"),
    ],
)
async def test_what_is_no_snapshot_is_told(
    client: httpx.AsyncClient, path: str, parameters: dict[str, str], status: int, said: str
) -> None:
    answer = await client.get(path, params=parameters)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


async def test_a_cursor_is_of_its_snapshot_and_one_that_was_dropped_is_gone(
    client: httpx.AsyncClient, shop: World, records: list[Record], until: datetime
) -> None:
    Copying(shop.url, shop.group, shop.projections, Past(records), until=until, name="again").run()
    page = (await client.get("/v1/orders", params={"snapshot": "again", "limit": "3"})).json()
    cursor = {"cursor": page["next_cursor"], "limit": "3"}
    assert (await client.get("/v1/orders", params={"snapshot": "again", **cursor})).status_code == 200
    for other in ({}, THEN):
        assert (await client.get("/v1/orders", params={**other, **cursor})).status_code == 400
    drop_snapshots(shop.url, shop.group, shop.projections, ["again"])
    assert (await client.get("/v1/orders", params={"snapshot": "again", **cursor})).status_code == 404
    assert (await client.get("/v1/orders", params=THEN)).status_code == 200

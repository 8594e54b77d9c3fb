"""ETags, If-None-Match and compressed answers."""

import gzip
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import cramjam
import httpx
import pytest

from read_api.compression import SMALLEST, coding_for
from read_api.database import Database
from tests.api import applied, fill
from tests.plans import nodes_of
from tests.world import World

ORDERS = [{"order_id": f"o{n:03}", "status": "paid", "total": Decimal(n), "customer_id": "c1"} for n in range(40)]


async def got(client: httpx.AsyncClient, path: str, tag: str = "", **headers: str) -> httpx.Response:
    return await client.get(path, headers=({"If-None-Match": tag} if tag else {}) | headers)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/orders", "/v1/orders/o001", "/v1/orders?sort=-total&limit=3", "/v1/orders?fields=status&count=exact",
        "/v1/orders?count=estimated", "/v1/customers/c1/orders?status=paid", "/v1/fulfilment/o001",
    ],
)  # fmt: skip
async def test_what_the_client_has_is_not_sent_again(shop: World, client: httpx.AsyncClient, path: str) -> None:
    fill(shop, "order_overview", ORDERS)
    shop.execute(f"ANALYZE {shop.table('order_overview')}")
    shop.execute("UPDATE projection_group SET as_of = '2026-01-01T00:00:00Z'")
    first = await got(client, path)
    tag = first.headers["etag"]
    assert tag.startswith('W/"1-')
    assert first.headers["cache-control"] == "no-cache"
    applied(shop, "orders", 0, 8)  # what is applied tells nothing of these rows
    for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', f'W/"a,b" ,{tag},', "*"):
        again = await got(client, path, known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["prejoin-as-of"] == "2026-01-01T00:00:00Z"
        assert again.headers["prejoin-position"] == "orders/0@7"
        assert again.headers["cache-control"] == "no-cache"
        assert again.headers["vary"] == "Accept-Encoding"
        assert "content-type" not in again.headers
    for other in ('"x"', 'W/"1-0"', tag.strip('W"/'), "nonsense", '"*"', ""):
        assert (await got(client, path, other)).json() == first.json()
    head = await client.head(path, headers={"If-None-Match": tag})
    assert (head.status_code, head.headers["etag"]) == (304, tag)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/orders", "/v1/orders?sort=-total&limit=3", "/v1/orders?fields=status&count=exact",
        "/v1/orders?count=estimated", "/v1/customers/c1/orders?status=paid", "/v1/orders/o001", "/v1/fulfilment/o001",
        "/v1/sales-by-day/2026-01-01/~/EUR",
    ],
)  # fmt: skip
async def test_what_the_client_has_is_not_made_into_json(
    shop: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """As Postgres says of the parts of its plan: what makes texts of rows is never run."""
    fill(shop, "order_overview", ORDERS)
    fill(shop, "sales_by_day", [{"day": "2026-01-01", "currency": "EUR", "orders": 1}])
    asked, ask = list[tuple[str, Sequence[Any]]](), Database.all

    async def noted(database: Database, sql: str, values: Sequence[Any] = ()) -> Any:
        asked.append((sql, values))
        return await ask(database, sql, values)

    async def made(known: str) -> tuple[int, float]:
        status = (await got(client, path, known)).status_code
        makes = [node for node in nodes_of(shop, *asked[-1]) if "row_to_json" in str(node["Output"])]
        return status, sum(n["Actual Loops"] * n["Actual Rows"] for n in makes if n["Node Type"] == "CTE Scan")

    monkeypatch.setattr(Database, "all", noted)
    first = await got(client, path)
    told = first.json()
    rows = len(told["data"]) + told["has_more"] if "data" in told else 1  # with the one that says that there are more
    assert (await made('"1-0"'), await made(first.headers["etag"])) == ((200, rows), (304, 0))


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/v1/orders", "UPDATE {} SET total = 99 WHERE order_id = 'o000'"),
        ("/v1/orders", "UPDATE {} SET carrier = '' WHERE order_id = 'o000'"),
        ("/v1/orders", "UPDATE {} SET lines = '[{{\"line\": 1}}]' WHERE order_id = 'o000'"),
        ("/v1/orders", "DELETE FROM {} WHERE order_id = 'o000'"),
        ("/v1/orders", "DELETE FROM {} WHERE order_id > 'o024'"),
        ("/v1/orders/o001", "UPDATE {} SET total = 99 WHERE order_id = 'o001'"),
        ("/v1/orders?sort=total&fields=status&limit=5", "UPDATE {} SET total = 4.50 WHERE order_id = 'o004'"),
        ("/v1/orders?count=exact&limit=1", "DELETE FROM {} WHERE order_id = 'o030'"),
        ("/v1/fulfilment", "UPDATE {} SET stock_status = 'failed' WHERE order_id = 'o000'"),
    ],
)
async def test_what_shows_a_change_has_another_tag(
    shop: World, client: httpx.AsyncClient, path: str, change: str
) -> None:
    fill(shop, "order_overview", ORDERS)
    first = await got(client, path)
    shop.execute(change.format(shop.table("order_overview")))
    again = await got(client, path, first.headers["etag"])
    assert again.status_code == 200
    assert again.content != first.content
    assert again.headers["etag"] != first.headers["etag"]


async def test_what_does_not_show_a_change_keeps_its_tag(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", ORDERS)
    paths = ("/v1/orders?fields=status", "/v1/orders?limit=10", "/v1/orders/o001")
    tags = [(await got(client, path)).headers["etag"] for path in paths]
    shop.execute(f"UPDATE {shop.table('order_overview')} SET carrier = 'x' WHERE order_id = 'o015'")
    for path, tag in zip(paths, tags, strict=True):
        assert (await got(client, path, tag)).status_code == 304


async def test_another_generation_has_another_tag(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "product_sales", [{"product_id": "p1"}])
    tag = (await got(client, "/v1/products/p1")).headers["etag"]
    views = f'"{shop.group}_views"'
    shop.execute(f"CREATE TABLE {views}.product_sales__g2 AS TABLE product_sales__g1")
    shop.execute("GRANT SELECT ON product_sales__g2 TO PUBLIC")
    shop.execute(
        "INSERT INTO generations (relation, generation, version, digest, state)"
        " SELECT relation, 2, version, digest, 'live' FROM generations WHERE relation = 'product_sales'"
    )
    try:
        again = await got(client, "/v1/products/p1", tag)
        assert (again.status_code, again.headers["etag"][:5]) == (200, 'W/"2-')
    finally:
        shop.execute("DELETE FROM generations WHERE relation = 'product_sales' AND generation = 2")
        shop.execute("DROP TABLE product_sales__g2")


async def test_no_tag_makes_a_row_of_what_is_not_there(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", ORDERS)
    tag = (await got(client, "/v1/orders/o001")).headers["etag"]
    for known in ("*", tag):
        assert (await got(client, "/v1/orders/none", known)).status_code == 404
    shop.execute(f"DELETE FROM {shop.table('order_overview')} WHERE order_id = 'o001'")
    assert (await got(client, "/v1/orders/o001", tag)).status_code == 404


async def test_a_position_that_is_not_reached_comes_before_what_is_known(
    shop: World, client: httpx.AsyncClient
) -> None:
    fill(shop, "order_overview", ORDERS)
    wanted = {"Prejoin-Min-Position": "orders/0@7", "Prefer": "wait=5"}
    tag = (await got(client, "/v1/orders/o001")).headers["etag"]
    assert (await got(client, "/v1/orders/o001", tag, **(wanted | {"Prefer": "wait=0"}))).status_code == 503
    applied(shop, "orders", 0, 8)
    reached = await got(client, "/v1/orders/o001", tag, **wanted)
    assert (reached.status_code, reached.headers["preference-applied"]) == (304, "wait=5")


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None), ("gzip", "gzip"), ("gzip, deflate, br, zstd", "zstd"), ("GZIP;q=1, zstd;q=0.5", "gzip"),
        ("gzip;q=0", None), ("identity", None), ("*", "zstd"), ("*;q=0", None), ("zstd;q=0, *", "gzip"),
        ("gzip;q=0.2, identity;q=0.9", None),
        ("gzip;q=much", None), ("br", None), ("gzip;q=0.5,identity;q=0.5", "gzip"),
        ("x" * 600 + ",gzip", None), (",,;,", None),
    ],
)  # fmt: skip
def test_the_coding_is_what_the_client_likes_best(accepted: str, coding: str | None) -> None:
    assert coding_for(accepted) == coding


async def raw(client: httpx.AsyncClient, path: str, accepted: str) -> tuple[httpx.Headers, bytes]:
    async with client.stream("GET", path, headers={"Accept-Encoding": accepted}) as answer:
        return answer.headers, b"".join([part async for part in answer.aiter_raw()])


UNPACKED: dict[str, Any] = {"gzip": gzip.decompress, "zstd": lambda data: bytes(cramjam.zstd.decompress(data))}


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("path", ["/v1/orders?limit=40", "/v1/orders/export?format=csv", "/openapi.json", "/docs"])
async def test_large_answers_are_compressed(shop: World, client: httpx.AsyncClient, coding: str, path: str) -> None:
    fill(shop, "order_overview", ORDERS)
    plain_headers, plain = await raw(client, path, "identity")
    headers, packed = await raw(client, path, coding)
    assert UNPACKED[coding](packed) == plain
    assert len(packed) < len(plain) / 3
    assert headers["content-encoding"] == coding
    assert headers["vary"] == plain_headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in plain_headers
    assert headers.get("etag") == plain_headers.get("etag")
    assert headers.get("content-length", str(len(packed))) == str(len(packed))


@pytest.mark.parametrize(
    "path", ["/v1/orders/o001?", "/v1/orders?limit=1", "/v1/orders/export?format=parquet", "/livez"]
)
async def test_small_answers_and_parquet_are_sent_as_they_are(
    shop: World, client: httpx.AsyncClient, path: str
) -> None:
    fill(shop, "order_overview", ORDERS)
    headers, body = await raw(client, path, "gzip, zstd")
    assert "content-encoding" not in headers
    assert len(body) < SMALLEST or "parquet" in path

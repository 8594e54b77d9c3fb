"""What a list tells of itself: its count, its next page, and what lies under a row of another view."""

from decimal import Decimal
from urllib.parse import urljoin

import httpx
import pytest

from tests.api import fill
from tests.world import World

ORDERS = [
    {"order_id": f"o{n:03}", "status": "a,b" if n % 2 else "paid", "total": Decimal(n), "customer_id": f"c{n % 3}"}
    for n in range(30)
]


async def test_an_exact_count_is_of_all_that_pass(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", ORDERS)
    for filters, count in (("", 30), ("&status=paid", 15), ("&status=none", 0), ("&status=paid&total[lt]=10", 5)):
        page = (await client.get(f"/v1/orders?count=exact&limit=2{filters}")).json()
        assert page["total_count"] == count
    assert "total_count" not in (await client.get("/v1/orders")).json()
    second = await client.get("/v1/orders", params={"count": "exact", "limit": "20"})
    behind = await client.get("/v1/orders", params={"count": "exact", "cursor": second.json()["next_cursor"]})
    assert (behind.json()["total_count"], len(behind.json()["data"])) == (30, 10)


async def test_an_estimated_count_is_what_the_planner_expects(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", ORDERS)
    shop.execute(f"ANALYZE {shop.table('order_overview')}")
    page = (await client.get("/v1/orders?count=estimated&limit=1")).json()
    assert page["total_count"] == 30
    some = (await client.get("/v1/orders?count=estimated&status=paid&total[lt]=100&lines.product_id=p1")).json()
    assert 0 <= some["total_count"] <= 30


async def test_the_link_leads_through_all_pages(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", ORDERS)
    url, seen = "http://localhost/v1/orders?status=a%5C,b,paid&sort=-total&limit=7&fields=order_id", list[str]()
    while url:
        answer = await client.get(url)
        seen += [row["order_id"] for row in answer.json()["data"]]
        assert bool(answer.links) == answer.json()["has_more"]
        url = urljoin(url, answer.links["next"]["url"]) if answer.links else ""
    assert seen == [f"o{n:03}" for n in reversed(range(30))]


async def test_a_link_has_the_query_as_it_was_written_and_the_next_cursor_in_place_of_its_own(
    shop: World, client: httpx.AsyncClient
) -> None:
    fill(shop, "order_overview", ORDERS)
    first = await client.get("/v1/orders?%6cimit=2&total[gte]=5&status[ne]=%22%3E%C3%A9")
    same = "%6cimit=2&total%5Bgte%5D=5&status%5Bne%5D=%22%3E%C3%A9"
    second = await client.get(f"/v1/orders?{same}&%63ursor={first.json()['next_cursor']}")
    for page in (first, second):
        assert page.links["next"]["url"] == f"?{same}&cursor={page.json()['next_cursor']}"


async def test_a_link_that_no_proxy_would_pass_is_left_out(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", ORDERS)
    values = ",".join(["paid", *(f"value-{n:020}" for n in range(150))])
    answer = await client.get("/v1/orders", params={"status": values, "limit": "3"})
    assert answer.json()["has_more"]
    assert "link" not in answer.headers


async def test_orders_lie_under_their_customer(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", ORDERS)
    of_one = (await client.get("/v1/customers/c1/orders", params={"sort": "-total", "limit": "4"})).json()
    assert [row["order_id"] for row in of_one["data"]] == ["o028", "o025", "o022", "o019"]
    assert {row["customer_id"] for row in of_one["data"]} == {"c1"}
    more = {"cursor": of_one["next_cursor"], "sort": "-total", "status": ""}
    assert (await client.get("/v1/customers/c1/orders", params=more)).status_code == 400, "of other filters"
    del more["status"]
    rest = (await client.get("/v1/customers/c1/orders", params=more)).json()["data"]
    assert [row["order_id"] for row in rest] == ["o016", "o013", "o010", "o007", "o004", "o001"]
    assert (await client.get("/v1/customers/c2/orders", params=more)).status_code == 400, "of another customer"
    assert (await client.get("/v1/customers/none/orders")).json()["data"] == []
    states = (await client.get("/v1/customers/c1/fulfilment", params={"count": "exact"})).json()
    assert states["total_count"] == 10


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/customers/c1/orders?customer_id=c2", 400), ("/v1/customers/c1/orders?colour=red", 400),
        ("/v1/customers/c1/products", 404), ("/v1/orders/o001/fulfilment", 404), ("/v1/customers/%00/orders", 400),
    ],
)  # fmt: skip
async def test_what_does_not_lie_there_is_a_problem(client: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")

"""What a search filters, counts, sorts, pages and shows, and what it refuses: against Elasticsearch and Postgres."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from tests.integration.searching import Searched, order, orders, patient, searched
from tests.world import World

__all__ = ["orders", "patient"]  # the fixtures


@pytest.fixture(params=["elasticsearch", "postgres"])
async def customers(
    request: pytest.FixtureRequest, shop: World, read_database_url: str, elasticsearch_url: str
) -> AsyncIterator[Searched]:
    shop.clear()
    async with searched(shop, read_database_url, elasticsearch_url, request.param, "customer_summary") as made:
        yield made


async def test_without_words_all_rows_that_the_filters_pass_are_found(orders: Searched) -> None:
    await orders.given(order("o2", status="paid"), order("o1"), order("o3"))
    assert await orders.keys() == ["o1", "o2", "o3"]
    assert await orders.keys("  ", status="pending") == ["o1", "o3"]
    assert await orders.keys(status="gone") == []
    assert (await orders.find())["data"][0]["score"] == 0


async def test_filters_ranges_and_nulls_are_those_of_the_list(orders: Searched) -> None:
    rows = [
        order("o1", "a", total=Decimal("9.50"), line_count=2, carrier="DHL, x"),
        order("o2", "b", "a", total=Decimal("10"), line_count=10, carrier=None, placed_at="2026-02-01T00:00:00.25Z"),
        order("o3", "b", total=Decimal("123456789012345678901234.10"), line_count=-3, carrier="UPS"),
        order("o4", total=None, line_count=0, carrier=""),
    ]
    await orders.given(*rows)
    for parameters in [
        {"total[gte]": "10"}, {"total[lt]": "10.00"}, {"total": "9.5,10"}, {"total[ne]": "10"}, {"total[null]": "true"},
        {"total[null]": "false"}, {"total[gt]": "123456789012345678901234.099"}, {"total[gte]": "-1"},
        {"line_count[lte]": "0"}, {"line_count[gt]": "-3"}, {"line_count": "10"}, {"carrier": "DHL\\, x,UPS"},
        {"carrier[ne]": "UPS"}, {"carrier[null]": "true"}, {"carrier": ""}, {"carrier[gt]": "DHL"},
        {"placed_at[gt]": "2026-02-01T00:00:00.249999Z"}, {"placed_at": "2026-01-31T23:00:00.25-01:00"},
        {"carrier[null]": "false", "line_count[gte]": "0"},
    ]:  # fmt: skip
        listed = (await orders.client.get("/v1/orders", params=parameters)).json()["data"]
        found = (await orders.find(**parameters))["data"]
        assert [hit["row"] for hit in found] == listed, parameters


async def test_a_line_is_filtered_by_its_fields(orders: Searched) -> None:
    await orders.given(order("o1", "red shoe"), order("o2", "red shoe", "red hat"), order("o3"))
    for name, value, expected in [
        ("lines.product_id", "p-red hat", ["o2"]), ("lines.product_id", "p-red shoe,p-x", ["o1", "o2"]),
        ("lines.category", "hat", ["o2"]), ("lines.quantity", "2", ["o2"]), ("lines.amount", "20", ["o2"]),
    ]:  # fmt: skip
        assert await orders.keys(**{name: value}) == expected
        listed = (await orders.client.get("/v1/orders", params={name: value})).json()["data"]
        assert [row["order_id"] for row in listed] == expected
    answer = await orders.get(**{"lines.quantity[gte]": "2"})
    assert answer.json()["errors"] == [
        {"parameter": "lines.quantity[gte]", "detail": "has no such operator: there is none"}
    ]


async def test_facets_count_all_hits_the_most_frequent_first(orders: Searched) -> None:
    await orders.given(
        order("o1", "red shoe", "blue shoe", customer_country="FR"),
        order("o2", "red hat", status="paid", customer_country="DE"),
        order("o3", "red shoe", status="paid"),
        order("o4", "green shoe"),
    )
    found = await orders.find("red", facets="status,customer_country,lines.category", limit="1")
    assert found["facets"] == {
        "status": [{"value": "paid", "count": 2}, {"value": "pending", "count": 1}],
        "customer_country": [{"value": "DE", "count": 1}, {"value": "FR", "count": 1}],
        "lines.category": [{"value": "shoe", "count": 2}, {"value": "hat", "count": 1}],
    }
    assert (found["total"], found["has_more"]) == ({"value": 3, "relation": "eq"}, True)
    found = await orders.find("red", status="paid", facets="status")
    assert found["facets"] == {"status": [{"value": "paid", "count": 2}]}
    assert (await orders.find("nothing", facets="status"))["facets"] == {"status": []}
    assert (await orders.find())["facets"] == {}


async def test_facets_keep_their_types_and_are_bounded(customers: Searched) -> None:
    await customers.given(
        *({"customer_id": f"c{n}", "country": f"X{n:03}", "erased": n % 2 == 0, "orders": n} for n in range(120))
    )
    facets = (await customers.find(facets="country,erased,segment"))["facets"]
    assert facets["erased"] == [{"value": False, "count": 60}, {"value": True, "count": 60}]
    assert facets["country"] == [{"value": f"X{n:03}", "count": 1} for n in range(100)]
    assert facets["segment"] == []


async def test_hits_are_sorted_as_lists_are(orders: Searched) -> None:
    await orders.given(
        order("o1", "red", total=Decimal(9), carrier="b"), order("o2", "red", total=Decimal(100), carrier=None),
        order("o3", "red", total=None, carrier="B"), order("o4", "red", total=Decimal(-5), carrier="a"),
        order("o5", "red", total=Decimal(-50), carrier="é"), order("o6", "blue", total=Decimal(1)),
    )  # fmt: skip
    for sort in ["total", "-total", "carrier", "-carrier", "-placed_at,total", "total,-order_id", "-order_id"]:
        expected = (await orders.client.get("/v1/orders", params={"sort": sort})).json()["data"]
        keys = [row["order_id"] for row in expected]
        assert await orders.keys(sort=sort) == keys
        assert await orders.keys("red", sort=sort) == [key for key in keys if key != "o6"]
    found = await orders.find("red", sort="-total")
    assert {hit["score"] for hit in found["data"]} == {2}


@pytest.mark.parametrize("sort", ["", "carrier", "-carrier", "total,-placed_at", "-line_count"])
@pytest.mark.parametrize("q", ["red", ""])
async def test_pages_of_any_size_make_up_the_whole(orders: Searched, sort: str, q: str) -> None:
    await orders.given(
        *(
            order(
                f"o{n:02}", *(["red"] if n % 3 else ["red", "red red"]), carrier=[None, "a", "b", "red"][n % 4],
                total=[None, Decimal(n % 5)][n % 2], line_count=n % 7,
            )
            for n in range(23)
        )
    )  # fmt: skip
    given = {"sort": sort} if sort else {}
    whole = (await orders.find(q, limit="50", **given))["data"]
    assert len(whole) == 23
    for limit in ("1", "4", "22", "23"):
        paged = [hit async for page in orders.pages(q, limit=limit, **given) for hit in page]
        assert paged == whole


async def test_rows_that_did_not_change_come_once_while_others_change(orders: Searched) -> None:
    await orders.given(*(order(f"o{n:02}", "red", total=Decimal(n)) for n in range(20)))
    for asked in ({"q": "red"}, {"sort": "-total"}, {"q": "red", "sort": "total"}):
        seen: list[str] = []
        async for page in orders.pages(limit="4", **asked):
            seen += [hit["row"]["order_id"] for hit in page]
            await orders.changed("o03", total=Decimal(100 + len(seen)))
            await orders.changed("o15", total=Decimal(-len(seen)))
        others = [key for key in seen if key not in ("o03", "o15")]
        assert sorted(others) == [f"o{n:02}" for n in range(20) if n not in (3, 15)]


async def test_highlights_show_what_was_found_as_it_is_written(orders: Searched) -> None:
    await orders.given(
        order(
            "o1", "Red <b>Shoe</b>", "Blue hat", "reddish sock",
            customer_name="Chloé & Söhne", carrier="x" * 300 + " chloe " + "y" * 300, cancel_reason="no red",
        )
    )  # fmt: skip
    (hit,) = (await orders.find("chole shoe red"))["data"]
    assert hit["highlights"]["customer_name"] == ["<em>Chloé</em> &amp; Söhne"]
    assert hit["highlights"]["lines.product_name"] == [
        "<em>Red</em> &lt;b&gt;<em>Shoe</em>&lt;/b&gt;", "<em>reddish</em> sock",
    ]  # fmt: skip
    (fragment,) = hit["highlights"]["carrier"]
    assert fragment.startswith("…xxx")
    assert fragment.endswith("yyy…")
    assert " <em>chloe</em> " in fragment
    assert len(fragment) < 220
    (hit,) = (await orders.find('"blue hat"'))["data"]
    assert hit["highlights"] == {"lines.product_name": ["<em>Blue</em> <em>hat</em>"]}
    assert (await orders.find())["data"][0]["highlights"] == {}


async def test_fields_leave_columns_out_of_the_row_and_not_out_of_the_search(orders: Searched) -> None:
    await orders.given(order("o1", "red", carrier="dhl", total=Decimal("1.50")))
    (hit,) = (await orders.find("red", fields="total"))["data"]
    assert hit["row"] == {"order_id": "o1", "total": "1.50"}
    assert hit["highlights"] == {"lines.product_name": ["<em>red</em>"]}
    (hit,) = (await orders.find("red"))["data"]
    assert hit["row"] == orders.shop.view("order_overview")[("o1",)]


async def test_above_ten_thousand_hits_the_total_says_at_least(customers: Searched) -> None:
    await customers.given(*({"customer_id": f"c{n}", "name": "Ann"} for n in range(10_001)))
    assert (await customers.find("ann"))["total"] == {"value": 10_000, "relation": "gte"}
    assert (await customers.find(customer_id="c1"))["total"] == {"value": 1, "relation": "eq"}
    (facet,) = (await customers.find("ann", facets="erased"))["facets"].values()
    assert facet == []


async def test_numbers_beyond_64_bits_come_as_they_are(customers: Searched) -> None:
    await customers.given({"customer_id": "c1", "name": "Ann", "loyalty_points": 10**37 + 1, "lifetime_value": {}})
    (hit,) = (await customers.find("ann", **{"loyalty_points[gt]": str(10**37)}))["data"]
    assert hit["row"]["loyalty_points"] == 10**37 + 1


@pytest.mark.parametrize(
    ("parameters", "named", "detail"),
    [
        ({"q": "x" * 257}, "q", "at most 256 characters"),
        ({"q": "a " * 13}, "q", "at most 12 words"),
        ({"q": "-a " * 13}, "q", "at most 12 words"),
        ({"q": "x" * 65}, "q", "more than 64 letters"),
        ({"q": "!!! *"}, "q", "no letter or digit"),
        ({"facets": "carrier"}, "facets", "'carrier' is not a facet here"),
        ({"facets": "statuss"}, "facets", "did you mean status?"),
        ({"facets": ""}, "facets", "is not a facet"),
        ({"sort": "lines"}, "sort", "is an object"),
        ({"sort": "lines.product_id"}, "sort", "is not a column"),
        ({"fields": "nope"}, "fields", "is not a column"),
        ({"limit": "0"}, "limit", "from 1"),
        ({"cursor": "abc"}, "cursor", "is not a cursor"),
        ({"qs": "red"}, "qs", "is not a parameter of /v1/orders/search; did you mean q?"),
        ({"total[gte]": "ten"}, "total[gte]", "should be a decimal number"),
        ({"lines": "x"}, "lines", "is an object"),
        ({"query": "{}"}, "query", "is not a parameter"),
    ],
)
async def test_bad_input_is_told_by_its_parameter(
    orders: Searched, parameters: dict[str, str], named: str, detail: str
) -> None:
    await orders.given(order("o1"))
    answer = await orders.get(**parameters)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    (error,) = answer.json()["errors"]
    assert error["parameter"] == named
    assert detail in error["detail"]


async def test_the_most_that_can_be_asked_is_answered(orders: Searched) -> None:
    longest = [f"{letter * 19}x" for letter in "abcdefghijkl"]
    await orders.given(order("o1", *longest[:6], customer_name=" ".join(longest[6:])), order("o2", "red"))
    words = " ".join(f"{word[:-1]}y" for word in longest)  # a typo in each
    found = await orders.find(
        words, facets="status,payment_status,shipment_status,customer_country,customer_segment,currency,lines.category",
        limit="200", sort="-total,carrier,placed_at", status=",".join(["pending", *map(str, range(199))]),
        **{"carrier[null]": "true", "lines.product_name": ",".join([longest[0], *map(str, range(199))])},
    )  # fmt: skip
    assert [hit["row"]["order_id"] for hit in found["data"]] == ["o1"]


async def test_a_cursor_is_bound_to_its_query_and_not_to_limit_fields_and_facets(orders: Searched) -> None:
    await orders.given(*(order(f"o{n}", "red") for n in range(4)))
    cursor = (await orders.find("red", limit="2"))["next_cursor"]
    found = await orders.find("red", limit="1", fields="order_id", facets="status", cursor=cursor)
    assert [hit["row"] for hit in found["data"]] == [{"order_id": "o2"}]
    assert found["facets"]["status"][0]["count"] == 4
    assert found["total"]["value"] == 4
    for other in ({"q": "rad"}, {"q": "red", "sort": "total"}, {"q": "red", "status": "pending"}, {}):
        answer = await orders.get(cursor=cursor, **other)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["parameter"] == "cursor"
    listed: Any = (await orders.client.get("/v1/orders", params={"limit": "2"})).json()["next_cursor"]
    assert (await orders.get(cursor=listed)).status_code == 400


async def test_head_is_answered_and_other_methods_are_not(orders: Searched) -> None:
    await orders.given(order("o1", "red"))
    head = await orders.client.head(orders.path, params={"q": "red"})
    assert (head.status_code, head.content) == (200, b"")
    assert (await orders.client.post(orders.path)).status_code == 405
    assert (await orders.client.get("/v1/fulfilment/search")).status_code == 404

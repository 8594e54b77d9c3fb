"""One row, and what is answered to a request that is wrong."""

import json
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from read_api.app import create_app
from tests.api import fill, running, settings_of
from tests.model.histories import random_stream
from tests.world import World


async def test_one_row_is_the_body_itself(shop: World, client: httpx.AsyncClient) -> None:
    shop.given(random_stream(5, customers=5, products=5, orders=30))
    for relation in shop.projections.served:
        for key, row in list(shop.view(relation.name).items())[:5]:
            parts = "/".join("~" if part is None else part for part in key)
            answer = await client.get(f"/v1/{relation.path}/{parts}")
            assert (answer.status_code, answer.json()) == (200, row)
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "no-cache"


async def test_values_are_shown_as_the_contract_says(shop: World, client: httpx.AsyncClient) -> None:
    row = {
        "order_id": "o1",
        "placed_at": datetime(1, 1, 1, tzinfo=UTC),
        "dispatched_at": datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC),
        "delivered_at": datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
        "updated_at": datetime(2026, 6, 1, 10, 20, tzinfo=UTC),
        "total": Decimal("1234567890123456789.5"),
        "line_count": 2**53 + 1,
        "customer_name": '"é\\😀\n',
        "lines": [{"discount": "0.05"}],
    }
    fill(shop, "order_overview", [row])
    shown = json.loads((await client.get("/v1/orders/o1")).text)
    assert shown["placed_at"] == "0001-01-01T00:00:00Z"
    assert shown["dispatched_at"] == "2026-01-01T00:00:00.25Z"
    assert shown["delivered_at"] == "9999-12-31T23:59:59.999999Z"
    assert shown["updated_at"] == "2026-06-01T10:20:00Z"
    assert shown["total"] == "1234567890123456789.50"
    assert shown["line_count"] == 2**53 + 1
    assert shown["customer_name"] == '"é\\😀\n'
    assert shown["lines"] == [{"discount": "0.05"}]
    assert shown["carrier"] is None
    fill(shop, "sales_by_day", [{"day": date(1, 2, 3), "currency": "EUR", "units": Decimal(10**37), "gross": 7}])
    (day,) = json.loads((await client.get("/v1/sales-by-day")).text)["data"]
    assert (day["day"], day["units"], day["gross"]) == ("0001-02-03", 10**37, "7.00")


async def test_null_in_a_key_is_a_tilde(shop: World, client: httpx.AsyncClient) -> None:
    days = [{"day": date(2026, 1, 1), "customer_country": c, "currency": "EUR", "orders": n} for n, c in enumerate([None, "DE"])]  # fmt: skip # noqa: E501
    fill(shop, "sales_by_day", days)
    assert (await client.get("/v1/sales-by-day/2026-01-01/~/EUR")).json()["orders"] == 0
    assert (await client.get("/v1/sales-by-day/2026-01-01/DE/EUR")).json()["orders"] == 1
    for other in ("2026-01-01/FR/EUR", "2026-01-02/~/EUR", "2026-01-01/~/~", "yesterday/~/EUR"):
        assert (await client.get(f"/v1/sales-by-day/{other}")).status_code == 404


async def test_head_answers_the_headers_of_get_alone(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "order_overview", [{"order_id": "o1"}])
    for path in ("/v1/orders", "/v1/orders/o1", "/v1/orders/none", "/v1/status", "/livez", "/nothing", "/openapi.json"):
        head, get = await client.head(path), await client.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        if path != "/v1/status":  # whose seconds go on
            assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("colour=red", "colour"),
        ("statuss=paid", "statuss"),
        ("_units=1", "_units"),
        ("status=paid&status=pending", "status"),
        ("limit=1&limit=2", "limit"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("sort=", "sort"),
        ("sort=colour", "sort"),
        ("sort=_units", "sort"),
        ("sort=lines", "sort"),
        ("sort=status,-status", "sort"),
        ("sort=--status", "sort"),
        ("fields=colour", "fields"),
        ("fields=_units", "fields"),
        ("lines=x", "lines"),
        ("total=much", "total"),
        ("total=1e3", "total"),
        ("total=NaN", "total"),
        ("total=٣", "total"),
        ("line_count=1.0", "line_count"),
        ("line_count=9223372036854775808", "line_count"),
        ("placed_at=2026-01-01", "placed_at"),
        ("placed_at=2026-01-01T00:00:00", "placed_at"),
        ("placed_at=2026-02-30T00:00:00Z", "placed_at"),
        ("placed_at=0001-01-01T00:00:00%2B02:00", "placed_at"),
        ("placed_at[lt]=now", "placed_at[lt]"),
        ("total[gte]=1,2", "total[gte]"),
        ("total[like]=1", "total[like]"),
        ("total[]=1", "total[]"),
        ("carrier[null]=yes", "carrier[null]"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("status=%00", "status"),
        ("status=%ED%A0%80", "status"),
        ("%FF=1", "\ufffd"),
        ("status=" + ",".join("x" * 300), "status"),
        ("count=all", "count"),
        ("snapshot=%20", "snapshot"),
    ],
    ids=lambda v: v[:40],
)
async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient, query: str, parameter: str) -> None:
    answer = await client.get(f"/v1/orders?{query}")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["title"]) == (400, 400, "Bad Request")
    assert {"type", "title", "status", "detail", "errors"} == problem.keys()
    assert [error["parameter"] for error in problem["errors"]] == [parameter]


@pytest.mark.parametrize("query", ["", "a=&a&", "sort=", "fields=", "facets="])
async def test_of_thousands_of_mistakes_the_first_are_told_at_once(client: httpx.AsyncClient, query: str) -> None:
    names = (",", "&")["=" not in query or "&" in query].join(f"{n:x}" for n in range(6_000))
    began = time.monotonic()
    answer = await client.get(f"/v1/orders/search?{query}{names}")
    assert answer.status_code == 400
    assert 1 <= len(answer.json()["errors"]) <= 20
    assert time.monotonic() - began < 1, "to look for what was meant takes some milliseconds a name"


async def test_every_mistake_is_named_at_once(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/v1/orders?limit=0&total=x&colour=red&sort=colour")).json()
    assert {error["parameter"] for error in problem["errors"]} == {"limit", "total", "colour", "sort"}


async def test_a_plus_that_was_not_escaped_is_explained(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/v1/orders?placed_at=2026-01-01T00:00:00+02:00")).json()
    assert "%2B" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/orders", 404), ("/v1/orders/", 404), ("/v1/nothing", 404), ("/v1/orders/o1/lines", 404),
        ("/v1/orders/none", 404), ("/v1/orders/" + "x" * 5_000, 404), ("/v1/sales-by-day/x", 404),
        ("/v1/orders/%00", 400), ("/v1/orders/%ED%A0%80", 400), ("/v1/orders/o1?colour=red", 400),
        ("/v1/status?x=1", 400), ("/v1/orders?status=" + "x" * 40_000, 414),
    ],
    ids=lambda v: str(v)[:40],
)  # fmt: skip
async def test_a_path_that_leads_nowhere_is_a_problem(client: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
async def test_other_methods_are_told_which_there_are(client: httpx.AsyncClient, method: str) -> None:
    for path in ("/v1/orders", "/v1/orders/o1", "/v1/status", "/livez", "/"):
        answer = await client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_defect_tells_nothing_of_the_inside(
    shop: World, read_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, name = create_app(settings_of(shop, read_database_url)), "Ann"

    async def defect() -> None:
        raise RuntimeError(name)

    app.add_api_route("/defect", defect)
    async with running(app) as client:
        answer = await client.get("/defect")
    assert answer.status_code == 500
    assert answer.json().keys() == {"type", "title", "status", "detail"}
    assert "Ann" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text
    assert "RuntimeError" not in answer.text


# RFC 9110, 5.5: visible letters, and any other byte above 127, with blanks and tabs between them
NAMES = ["Prejoin-Min-Position", "If-None-Match", "Accept-Encoding", "Authorization", "Last-Event-ID"]
PARTS = [
    b'"', b"W/", b"*", b",", b";q=", b"0", b"9" * 30, b"gzip", b"zstd", b"orders/0@", b"1", b"\xff", b"Bearer ", b"nan",
    b"Basic ", b"Og==", b"prejoin_", b"eyJhbGciOiJIUzI1NiJ9.", b".", b"=", b"-1", b"\\", b"wait", b"\xc3\xa9", b"1e999",
    b"0" * 12 + b".1.0.1",
]  # fmt: skip
BYTES = st.one_of(
    st.binary(max_size=60).map(lambda b: bytes(c for c in b if c == 9 or (c > 31 and c != 127)).strip(b" \t")),
    st.lists(st.sampled_from(PARTS), max_size=6).map(lambda parts: b"".join(parts).strip()),
)
ASKED = ["/v1/orders", "/v1/orders/o1", "/v1/orders/search?q=x", "/v1/orders/export?format=csv", "/v1/orders/changes"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(headers=st.dictionaries(st.sampled_from(NAMES), BYTES, min_size=1), path=st.sampled_from(ASKED))
async def test_whatever_bytes_headers_hold_the_service_has_an_answer(
    client: httpx.AsyncClient, headers: dict[str, bytes], path: str
) -> None:
    """An answer to GET, but for changes, which do not end: 503 only for positions that are not reached."""
    answer = await client.request("HEAD" if path.endswith("changes") else "GET", path, headers=headers)
    if answer.status_code == 503:
        assert answer.headers["retry-after"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert b"@" in headers["Prejoin-Min-Position"]
    else:
        assert answer.status_code in (200, 304, 400, 404)

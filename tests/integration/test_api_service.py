"""The status, metrics, OpenAPI and its page: what tells how the service is."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate

from projector.declare.view import Relation
from read_api.app import create_app
from tests.api import applied, fill, settings_of
from tests.model.histories import random_stream
from tests.world import World


async def test_status_tells_positions_lag_rows_and_dead_letters(shop: World, client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/status")).json()["state"] == "stopped"
    shop.execute("INSERT INTO workers (worker, started_at, beat_at, state) VALUES ('w', now(), now(), 'live')")
    shop.execute("INSERT INTO ends VALUES ('orders', 0, 12, now()), ('payments', 0, 3, now())")
    applied(shop, "orders", 0, 12)
    applied(shop, "catalog", 0, 0)
    fill(shop, "order_overview", [{"order_id": f"o{n}"} for n in range(3)])
    shop.execute("UPDATE projection_group SET as_of = '2026-01-01T00:00:00Z'")
    shop.execute(
        'INSERT INTO dead_letters (topic, partition, "offset", headers, record_time, reason, detail)'
        " VALUES ('orders', 0, 1, '[]', now(), 'orphan', '')"
    )
    status = (await client.get("/v1/status")).json()
    assert (status["state"], status["as_of"], status["dead_letters"]) == ("lagging", "2026-01-01T00:00:00Z", 1)
    assert status["lag_seconds"] > 0
    assert status["partitions"] == [
        {"topic": "catalog", "partition": 0, "position": None, "end_offset": None, "lag": None},
        {"topic": "orders", "partition": 0, "position": "orders/0@11", "end_offset": 12, "lag": 0},
        {"topic": "payments", "partition": 0, "position": None, "end_offset": 3, "lag": 3},
    ]
    views = {view["view"]: view for view in status["views"]}
    assert views.keys() == {relation.name for relation in shop.projections.served}
    assert views["order_overview"] == {
        "view": "order_overview", "generation": 1, "state": "lagging", "rows": 3, "pending": 0, "rebuild": None,
        "search": {"backend": "postgres", "outbox": 0, "refused": 0, "as_of": None},
    }  # fmt: skip
    assert views["product_sales"]["search"] is None
    assert (views["fulfilment"]["rows"], views["product_sales"]["rows"]) == (3, 0)
    applied(shop, "payments", 0, 3)
    assert (await client.get("/v1/status")).json()["state"] == "live"
    shop.execute(
        "INSERT INTO pending (relation, generation, keys) "
        "VALUES ('order_overview', 1, '{o1}'), ('order_overview', 7, '{of another}')"
    )
    status = (await client.get("/v1/status")).json()
    assert status["state"] == "lagging"
    assert [v["pending"] for v in status["views"] if v["view"] == "order_overview"] == [1]
    shop.execute("UPDATE workers SET state = 'stuck'")
    assert (await client.get("/v1/status")).json()["state"] == "stuck"
    shop.execute("UPDATE workers SET beat_at = now() - interval '11 s'")
    assert (await client.get("/v1/status")).json()["state"] == "stopped"


async def test_metrics_count_by_route_and_never_by_what_was_asked(client: httpx.AsyncClient) -> None:
    for path in ("/v1/orders/secret-1", "/v1/orders/secret-2", "/secret-3", "/v1/orders?status=secret-4"):
        await client.get(path)
    await client.request("BREW", "/v1/orders")
    text = (await client.get("/metrics")).text
    assert 'prejoin_api_requests_total{method="GET",route="/v1/orders/{order_id}",status="404"} 2.0' in text
    assert 'prejoin_api_requests_total{method="other",route="/v1/orders",status="405"} 1.0' in text
    assert 'prejoin_api_request_seconds_count{route="/v1/orders"} 2.0' in text
    assert 'prejoin_api_pool{of="open"}' in text
    assert "secret" not in text


@pytest.fixture(scope="module")
def described(shop: World, read_database_url: str) -> dict[str, Any]:
    app: FastAPI = create_app(settings_of(shop, read_database_url))
    return app.openapi()


def test_the_openapi_document_is_valid_and_has_every_view(shop: World, described: dict[str, Any]) -> None:
    validate(described)
    for relation in shop.projections.served:
        row = described["components"]["schemas"][relation.name]
        assert list(row["properties"]) == [c.name for c in relation.columns]
        assert f"/v1/{relation.path}" in described["paths"]
    assert "/v1/sales-by-day/{day}/{customer_country}/{currency}" in described["paths"]


async def test_answers_are_what_openapi_says(shop: World, client: httpx.AsyncClient, described: dict[str, Any]) -> None:
    shop.given(random_stream(7, customers=8, products=8, orders=60))
    assert (await client.get("/openapi.json")).json() == described
    for relation in shop.projections.served:
        answer = (await client.get(f"/v1/{relation.path}")).json()
        row = described["components"]["schemas"][relation.name]
        page = described["paths"][f"/v1/{relation.path}"]["get"]["responses"]["200"]["content"]["application/json"]
        Draft202012Validator(page["schema"]).validate(answer)
        for one in answer["data"]:
            Draft202012Validator(row).validate(one)
        if f"/v1/{relation.path}/search" in described["paths"]:
            await _search_is_what_openapi_says(client, described, relation)
    Draft202012Validator(described["components"]["schemas"]["Problem"]).validate(
        (await client.get("/v1/orders?x=1")).json()
    )
    status, schema = (await client.get("/v1/status")).json(), described["components"]["schemas"]["Status"]
    Draft202012Validator(schema).validate(status)
    assert status.keys() == schema["properties"].keys()
    for many in ("partitions", "views"):
        assert all(one.keys() == schema["properties"][many]["items"]["properties"].keys() for one in status[many])


async def _search_is_what_openapi_says(
    client: httpx.AsyncClient, described: dict[str, Any], relation: Relation
) -> None:
    path = f"/v1/{relation.path}/search"
    operation = described["paths"][path]["get"]
    (facets,) = (p["schema"]["items"]["enum"] for p in operation["parameters"] if p.get("name") == "facets")
    answer = (await client.get(path, params={"limit": "20", "facets": ",".join(facets)})).json()
    assert answer["data"]
    assert answer["facets"].keys() == set(facets)
    Draft202012Validator(operation["responses"]["200"]["content"]["application/json"]["schema"]).validate(answer)
    for hit in answer["data"]:
        Draft202012Validator(described["components"]["schemas"][relation.name]).validate(hit["row"])


async def test_every_documented_parameter_is_taken(client: httpx.AsyncClient, described: dict[str, Any]) -> None:
    samples = {"string": "x", "integer": "1", "boolean": "true", "array": ""}
    formats = {"date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01"}
    for path in ("/v1/orders", "/v1/customers", "/v1/sales-by-day", "/v1/orders/search", "/v1/customers/search"):
        for parameter in described["paths"][path]["get"]["parameters"]:
            if "$ref" in parameter or parameter["name"] in ("cursor", "snapshot"):
                continue
            schema = parameter["schema"].get("items", parameter["schema"])
            if "enum" in schema:
                value = schema["enum"][0]
            else:
                value = "1" if "pattern" in schema else formats.get(schema.get("format", ""), samples[schema["type"]])
            answer = await client.get(path, params={parameter["name"]: value})
            assert answer.status_code == 200, (parameter["name"], answer.text)


async def test_the_docs_name_every_route_and_load_nothing(client: httpx.AsyncClient, described: dict[str, Any]) -> None:
    page = (await client.get("/docs")).text
    assert all(path in page for path in described["paths"])
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


async def test_the_docs_show_the_filters_of_a_column_in_one_row(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert re.search(r"<td><code>total</code><td>array of string \(decimal\)<td>.*?<code>\[gte\]</code>", page)
    assert "<td><code>total[gte]</code>" not in page
    assert "live, lagging, stuck, stopped" in page

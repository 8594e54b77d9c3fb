"""Who may read: keys and what they were made for, how much one may ask, from which pages, and what is noted of it."""

import base64
import json
from datetime import timedelta

import pytest

from projector.store.keys import revoke
from tests.api import PATHS, api, key_of
from tests.world import World


async def test_it_is_open_until_the_first_key_and_then_closed_for_good(
    shop: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.clear()
    monkeypatch.setattr("read_api.access.keys.SECONDS_KNOWN", 0)
    async with api(shop, read_database_url) as client:
        assert (await client.get("/v1/orders")).status_code == 200
        key = key_of(shop, "first")
        assert (await client.get("/v1/orders")).status_code == 401
        assert (await client.get("/v1/orders", headers=key)).status_code == 200
        with shop.connect() as connection:
            revoke(connection, "first")
        for headers in ({}, key):
            assert (await client.get("/v1/orders", headers=headers)).status_code == 401


async def test_open_to_this_machine_it_answers_to_none_but_its_names(shop: World, read_database_url: str) -> None:
    shop.clear()
    names = {
        "localhost": 200, "LOCALHOST:8000": 200, "127.0.0.1:8000": 200, "[::1]:8000": 200, "shop.localhost": 200,
        "evil.example": 403, "evil.example:8000": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "[": 403,
    }  # fmt: skip
    async with api(shop, read_database_url) as client:
        for name, status in names.items():
            answer = await client.get("/v1/orders", headers={"Host": name})
            assert answer.status_code == status, name
        assert "prejoin keys create" in answer.json()["detail"]
        assert (await client.get("/livez", headers={"Host": "evil.example"})).status_code == 200
    async with api(shop, read_database_url, api_open=True) as client:
        assert (await client.get("/v1/orders", headers={"Host": "shop.example"})).status_code == 200
    key = key_of(shop, "first")
    async with api(shop, read_database_url) as client:
        assert (await client.get("/v1/orders", headers={"Host": "shop.example"} | key)).status_code == 200


async def test_beyond_loopback_it_is_never_open_by_itself(shop: World, read_database_url: str) -> None:
    shop.clear()
    async with api(shop, read_database_url, api_host="0.0.0.0") as client:
        assert (await client.get("/v1/orders")).status_code == 401
    async with api(shop, read_database_url, api_host="0.0.0.0", api_open=True) as client:
        assert (await client.get("/v1/orders")).status_code == 200


async def test_each_endpoint_asks_for_a_good_key(closed: World, read_database_url: str) -> None:
    good = key_of(closed, "good")["Authorization"]
    expired = key_of(closed, "expired", lasts=timedelta(microseconds=1))["Authorization"]
    revoked = key_of(closed, "revoked")["Authorization"]
    with closed.connect() as connection:
        revoke(connection, "revoked")
    wrong = [
        "", "Bearer", "Bearer ", "Bearer x", f"Bearer {good[7:-1]}", f"{good}x", "Bearer prejoin_00000000_x",
        "Bearer prejoin_", expired, revoked, good.replace("Bearer ", "Token "), good[7:], "Basic x", "Basic eA==",
        "Bearer " + "é" * 100,
    ]  # fmt: skip
    async with api(closed, read_database_url) as client:
        for path in PATHS:
            for credential in wrong:
                answer = await client.get(path, headers={b"authorization": credential.encode()})
                assert answer.status_code == 401, (path, credential)
                assert answer.headers["www-authenticate"].startswith('Bearer realm="prejoin"')
                assert answer.json()["title"] == "Unauthorized"
        assert (await client.get("/v1/orders", headers={"Authorization": good})).status_code == 200
        basic = base64.b64encode(f"me:{good[7:]}".encode()).decode()
        assert (await client.get("/v1/orders", headers={"Authorization": f"Basic {basic}"})).status_code == 200
        asked = await client.get("/docs", headers={"Accept": "text/html"})
        assert "Basic" in asked.headers["www-authenticate"]
        for path in ("/livez", "/readyz"):
            assert (await client.get(path)).status_code == 200
        assert (await client.post("/v1/orders")).status_code == 401


async def test_a_key_reads_the_views_that_it_was_made_for(closed: World, read_database_url: str) -> None:
    key = key_of(closed, "few", "customer_summary", "fulfilment")
    async with api(closed, read_database_url) as client:
        for path in PATHS[:6]:
            refused = await client.get(path, headers=key)
            assert refused.status_code == 403, path
            assert 'scope="prejoin:orders"' in refused.headers["www-authenticate"]
        for path in ("/v1/customers", "/v1/fulfilment", "/v1/status"):
            assert (await client.get(path, headers=key)).status_code == 200


async def test_more_than_the_rate_is_told_when_to_come_back(closed: World, read_database_url: str) -> None:
    one, other = key_of(closed, "one"), key_of(closed, "other")
    async with api(closed, read_database_url, api_rate=3) as client:
        answers = [await client.get("/v1/orders", headers=one) for _ in range(4)]
        assert [a.status_code for a in answers] == [200, 200, 200, 429]
        assert [a.headers["ratelimit"].split(";")[1] for a in answers] == ["r=2", "r=1", "r=0", "r=0"]
        assert answers[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
        assert 0 < int(answers[3].headers["retry-after"]) <= 20
        assert answers[3].json()["type"].endswith("#quota-exceeded")
        assert (await client.get("/v1/orders", headers=other)).status_code == 200
        assert [(await client.get("/v1/orders")).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert (await client.get("/livez")).status_code == 200


async def test_pages_of_named_origins_alone_may_read(closed: World, read_database_url: str) -> None:
    key = key_of(closed, "page")
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "Authorization"}
    async with api(closed, read_database_url, cors_origins="https://shop.example.org") as client:
        ours, theirs = {"Origin": "https://shop.example.org"}, {"Origin": "https://shop.example.org.evil"}
        asked = await client.options("/v1/orders", headers=ours | preflight)
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, ours["Origin"])
        assert (await client.options("/v1/orders", headers=theirs | preflight)).status_code == 400
        for headers in (ours, ours | key):
            answer = await client.get("/v1/orders", headers=headers)
            assert answer.headers["access-control-allow-origin"] == ours["Origin"]
        assert "access-control-allow-origin" not in (await client.get("/v1/orders", headers=theirs | key)).headers
    async with api(closed, read_database_url) as client:
        assert "access-control-allow-origin" not in (await client.get("/v1/orders", headers=ours | key)).headers


async def test_the_log_of_access_tells_who_and_what_and_no_values(
    closed: World, read_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = key_of(closed, "dashboard")
    with caplog.at_level("INFO", "prejoin.access"):
        async with api(closed, read_database_url, api_log=True) as client:
            for path in (
                "/v1/orders/o1",
                "/v1/orders?customer_email=annabel@example.org",
                "/v1/customers/annabel/orders",
            ):
                answer = await client.get(path, headers=key)
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
                assert answer.headers["referrer-policy"] == "no-referrer"
            await client.get("/v1/orders?customer_email=annabel@example.org")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "prejoin.access"]
    assert [(line["route"], line["status"], line["name"]) for line in lines] == [
        ("/v1/orders/{order_id}", 200, "dashboard"),
        ("/v1/orders", 200, "dashboard"),
        ("/v1/customers/{customer_id}/orders", 200, "dashboard"),
        (None, 401, None),
    ]
    assert "annabel" not in caplog.text
    assert key["Authorization"][-20:] not in caplog.text

"""Who may read what: keys, tokens, what is hidden from whom, and how much one may ask."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from projector.store.keys import create, revoke
from read_api.app import create_app
from tests.api import fill, running, settings_of
from tests.following import follow, listening
from tests.world import World, clear

ISSUER, AUDIENCE = "https://id.example.org/", "prejoin"
PATHS = [
    "/v1/orders", "/v1/orders/o1", "/v1/customers/c1/orders", "/v1/orders/search?q=x", "/v1/orders/export?format=csv",
    "/v1/orders/changes", "/v1/status", "/metrics", "/openapi.json", "/docs", "/", "/nothing",
]  # fmt: skip
ORDER = {"order_id": "o1", "status": "paid", "customer_id": "c1", "line_count": 1, "lines": [], "total": 1}
PERSONAL = {"customer_name": "Annabel Secret", "customer_email": "annabel@example.org", "customer_segment": "VIPS"}


@pytest.fixture
def closed(shop: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A group in which somebody has a key, and what is known of keys is never old."""
    clear(shop)
    monkeypatch.setattr("read_api.access.keys.SECONDS_KNOWN", 0)
    key_of(shop, "somebody")
    fill(shop, "order_overview", [ORDER | PERSONAL])
    return shop


def key_of(shop: World, name: str, *views: str, pii: bool = True, lasts: timedelta | None = None) -> dict[str, str]:
    """The header of a new key's caller."""
    expires = datetime.now(UTC) + lasts if lasts else None
    with shop.connect() as connection:
        _, key = create(connection, name, views or None, pii, expires)
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def api(shop: World, read_url: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings_of(shop, read_url, **settings))) as client:
        yield client


async def test_it_is_open_until_the_first_key_and_then_closed_for_good(
    shop: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear(shop)
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


async def test_beyond_loopback_it_is_never_open_by_itself(shop: World, read_database_url: str) -> None:
    clear(shop)
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
            for credential in wrong if path == PATHS[0] else wrong[:2]:
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


async def test_what_is_personal_is_nowhere_without_the_scope(closed: World, read_database_url: str) -> None:
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    asked = [
        "/v1/orders", "/v1/orders/o1", "/v1/customers/c1/orders", "/v1/orders?fields=customer_name",
        "/v1/orders/search", "/v1/orders/search?q=o1", "/v1/orders/search?facets=status",
        *(f"/v1/orders/export?format={form}" for form in ("csv", "ndjson")),
    ]  # fmt: skip
    async with api(closed, read_database_url) as client:
        for path in asked:
            shown = await client.get(path, headers=masked)
            assert (shown.status_code, "o1" in shown.text) == (200, True), path
            assert not any(value in shown.text for value in PERSONAL.values()), path
            told = (await client.get(path, headers=whole)).text
            assert any(value in told for value in PERSONAL.values()), path
        row = (await client.get("/v1/orders/o1", headers=masked)).json()
        assert {row[name] for name in PERSONAL} == {None}
        parquet = await client.get("/v1/orders/export?format=parquet", headers=masked)
        assert (parquet.status_code, b"annabel" in parquet.content) == (200, False)


async def test_what_is_personal_finds_nothing_without_the_scope(closed: World, read_database_url: str) -> None:
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    asked = [
        "/v1/orders?customer_name=Annabel%20Secret", "/v1/orders?customer_email[null]=true",
        "/v1/orders?sort=-customer_name", "/v1/orders?customer_name[gte]=A&count=exact",
        "/v1/orders/search?facets=customer_segment",
        "/v1/orders/search?q=o1&customer_segment=VIPS", "/v1/orders/search?sort=customer_email",
        "/v1/orders/export?format=csv&customer_name[gt]=A", "/v1/orders/export?format=csv&sort=customer_name",
        "/v1/orders/changes?customer_name[gt]=A", "/v1/customers?name=x", "/v1/fulfilment?customer_name=x",
    ]  # fmt: skip
    async with api(closed, read_database_url) as client:
        for path in asked:
            refused = await client.get(path, headers=masked)
            assert (refused.status_code, "is personal" in refused.text or "not a facet" in refused.text) == (
                400,
                True,
            ), path
        for q in ("annabel", "secret", "annab", "vips", '"annabel secret"'):
            found = await client.get(f"/v1/orders/search?q={q}", headers=masked)
            assert (found.status_code, found.json()["total"]["value"], found.json()["data"]) == (200, 0, []), q
        assert (await client.get("/v1/orders/search?q=annabel", headers=whole)).json()["total"]["value"] == 1
        none = await client.get("/v1/orders/search?q=-annabel", headers=masked)
        assert none.json()["total"]["value"] == 1


async def test_tags_and_cursors_do_not_tell_what_is_personal(closed: World, read_database_url: str) -> None:
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    async with api(closed, read_database_url) as client:
        before = [(await client.get("/v1/orders/o1", headers=key)).headers["etag"] for key in (masked, whole)]
        closed.execute(f"UPDATE {closed.table('order_overview')} SET customer_name = 'Other'")
        after = [(await client.get("/v1/orders/o1", headers=key)).headers["etag"] for key in (masked, whole)]
        assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]
        fill(closed, "order_overview", [ORDER | PERSONAL, ORDER | PERSONAL | {"order_id": "o2"}])
        page = (await client.get("/v1/orders?sort=customer_name&limit=1", headers=whole)).json()
        again = {"sort": "customer_name", "cursor": page["next_cursor"]}
        assert (await client.get("/v1/orders", params=again, headers=masked)).status_code == 400


async def test_changes_are_masked_and_end_with_the_key(
    closed: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.changes.feed.HEARTBEAT", 0.05)
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    change = "SELECT pg_notify('prejoin_changes:' || current_schema(), '')"
    async with (
        listening(create_app(settings_of(closed, read_database_url))) as client,
        follow(client, "/v1/orders/changes", **masked) as hidden,
        follow(client, "/v1/orders/changes", **whole) as shown,
    ):
        closed.execute("INSERT INTO changes VALUES (now(), nextval('revisions'), 'order_overview', '{o1}', '{}')")
        closed.execute(change)
        rows = [(await follower.next())[1]["row"] for follower in (hidden, shown)]
        assert [row["customer_name"] for row in rows] == [None, "Annabel Secret"]
        assert rows[0] == rows[1] | dict.fromkeys(PERSONAL)
        with closed.connect() as connection:
            revoke(connection, "masked")
        with pytest.raises(StopAsyncIteration):
            await hidden.next()


# --- tokens ----------------------------------------------------------------------------------------------------------

RSA_KEYS = [rsa.generate_private_key(65_537, 2_048) for _ in range(2)]
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def jwks(*named: tuple[str, Any]) -> str:
    """A key set of the public halves."""
    found = []
    for kid, key in named:
        algorithm = jwt.get_algorithm_by_name("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
        found.append(json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"})
    # a symmetric one must not count, or whoever reads the set could sign
    found.append({"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")})
    return json.dumps({"keys": found})


def token(key: Any = RSA_KEYS[0], kid: str | None = "k1", algorithm: str = "RS256", **claims: Any) -> dict[str, str]:
    now = int(time.time())
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "exp": now + 600, "scope": "prejoin:all prejoin:pii"} | claims
    given = {name: value for name, value in given.items() if value is not None}
    headers = {"kid": kid} if kid else {}
    return {"Authorization": f"Bearer {jwt.encode(given, key, algorithm, headers)}"}


@pytest.fixture
async def tokened(
    closed: World, read_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[httpx.AsyncClient, Path]]:
    """The API that takes tokens of an issuer, and the file with that one's keys."""
    monkeypatch.setattr("read_api.access.tokens.SECONDS_BETWEEN_READS", -1)
    where = tmp_path / "jwks.json"
    where.write_text(jwks(("k1", RSA_KEYS[0]), ("e1", EC_KEY)))
    settings = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": str(where)}
    async with api(closed, read_database_url, **settings) as client:
        yield client, where


async def test_a_token_of_the_issuer_for_this_audience_is_taken(tokened: tuple[httpx.AsyncClient, Path]) -> None:
    client, _ = tokened
    now = time.time
    taken: list[Callable[[], dict[str, str]]] = [
        token,
        lambda: token(EC_KEY, "e1", "ES256"),
        lambda: token(aud=["other", AUDIENCE]),
        lambda: token(algorithm="PS256"),
        lambda: token(scope="openid prejoin:orders"),
        lambda: token(scope=None, scp=["prejoin:order_overview"]),
        lambda: token(exp=int(now()) - 1),
        lambda: token(nbf=int(now()) + 2),
    ]
    for claims in taken:
        assert (await client.get("/v1/orders", headers=claims())).status_code == 200, claims()


async def test_every_other_token_is_refused(tokened: tuple[httpx.AsyncClient, Path]) -> None:
    client, _ = tokened
    now = int(time.time())
    public = RSA_KEYS[0].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    confused = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (
            {"alg": "HS256", "kid": "k1"},
            {"iss": ISSUER, "aud": AUDIENCE, "sub": "u", "exp": now + 60, "scope": "prejoin:all"},
        )
    )
    signature = base64.urlsafe_b64encode(hmac.new(pem, confused, hashlib.sha256).digest()).rstrip(b"=")
    good = token()["Authorization"]
    refused = {
        "another issuer": token(iss="https://evil.example.org/"),
        "no issuer": token(iss=None),
        "another audience": token(aud="other"),
        "no audience": token(aud=None),
        "no expiry": token(exp=None),
        "no subject": token(sub=None),
        "expired": token(exp=now - 60),
        "not yet": token(nbf=now + 60),
        "another key": token(RSA_KEYS[1]),
        "an unknown kid": token(kid="k9"),
        "no kid, though there are several keys": token(kid=None),
        "unsigned": token(None, "k1", "none"),
        "signed by the shared key": token(b"k" * 32, "shared", "HS256"),
        "signed with the public key": {"Authorization": f"Bearer {(confused + b'.' + signature).decode()}"},
        "another algorithm's key": token(EC_KEY, "k1", "ES256"),
        "tampered": {"Authorization": good[:-10] + ("A" if good[-10] != "A" else "B") + good[-9:]},
        "too long": token(more="x" * 10_000),
        "none at all": {},
    }
    for what, headers in refused.items():
        assert (await client.get("/v1/orders", headers=headers)).status_code == 401, what


async def test_scopes_of_a_token_bound_what_it_reads(tokened: tuple[httpx.AsyncClient, Path]) -> None:
    client, _ = tokened
    row = (await client.get("/v1/orders/o1", headers=token(scope="prejoin:orders"))).json()
    assert (row["status"], row["customer_name"]) == ("paid", None)
    row = (await client.get("/v1/orders/o1", headers=token(scope="prejoin:orders prejoin:pii"))).json()
    assert row["customer_name"] == "Annabel Secret"
    for scope in ("", "orders", "prejoin:customers", "prejoin:pii", None):
        assert (await client.get("/v1/orders", headers=token(scope=scope))).status_code == 403


async def test_keys_that_the_issuer_rotates_are_read_anew(tokened: tuple[httpx.AsyncClient, Path]) -> None:
    client, where = tokened
    assert (await client.get("/v1/orders", headers=token())).status_code == 200
    assert (await client.get("/v1/orders", headers=token(RSA_KEYS[1], "k2"))).status_code == 401
    where.write_text(jwks(("k2", RSA_KEYS[1])))
    assert (await client.get("/v1/orders", headers=token(RSA_KEYS[1], "k2"))).status_code == 200
    assert (await client.get("/v1/orders", headers=token())).status_code == 401
    where.write_text("no JSON")
    assert (await client.get("/v1/orders", headers=token(RSA_KEYS[1], "k2"))).status_code == 200


# --- rates, origins, headers -----------------------------------------------------------------------------------------


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

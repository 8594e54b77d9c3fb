"""Tokens of an identity provider: which are taken, and where its keys come from."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from read_api.access.tokens import LEEWAY
from read_api.app import create_app
from tests.api import PATHS, api, settings_of
from tests.following import clock_at, follow, listening
from tests.integration.test_api_answers import BYTES
from tests.world import World

ISSUER, AUDIENCE = "https://id.example.org/", "prejoin"
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
        for path in PATHS:
            assert (await client.get(path, headers=headers)).status_code == 401, (what, path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scheme=st.sampled_from(["", "Bearer ", "Basic ", "bearer prejoin_", "Bearer eyJhbGciOiJSUzI1NiJ9."]), more=BYTES)
async def test_whatever_bytes_a_credential_holds_it_is_refused(
    tokened: tuple[httpx.AsyncClient, Path], scheme: str, more: bytes
) -> None:
    client, _ = tokened
    answer = await client.get("/v1/orders", headers={b"Authorization": scheme.encode() + more})
    assert answer.status_code == 401


async def test_changes_end_when_the_token_expires(
    closed: World, read_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.changes.feed.HEARTBEAT", 0.05)
    where = tmp_path / "jwks.json"
    where.write_text(jwks(("k1", RSA_KEYS[0])))
    issuer = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": str(where)}
    expiry = int(time.time()) + 600
    async with (
        listening(create_app(settings_of(closed, read_database_url, **issuer))) as client,
        follow(client, "/v1/orders/changes", **token(exp=expiry)) as ends,
        follow(client, "/v1/orders/changes", **token(exp=expiry + 600)) as stays,
    ):
        clock_at(monkeypatch, expiry + LEEWAY - 1)
        await ends.beats(3)
        clock_at(monkeypatch, expiry + LEEWAY)
        with pytest.raises(StopAsyncIteration):
            await ends.next()
        await stays.beats(3)


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


async def test_keys_are_read_from_the_address_of_the_issuer(
    closed: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces as they come, and no more than a key set can be; no other address is gone to."""
    monkeypatch.setattr("read_api.access.tokens.SECONDS_BETWEEN_READS", -1)
    monkeypatch.setattr("read_api.access.tokens.LARGEST", 20_000)
    served: list[str] = []
    async with issuer(served) as address:
        settings = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks": f"{address}/keys"}
        async with api(closed, read_database_url, **settings) as client:

            async def status(**key: Any) -> int:
                return (await client.get("/v1/orders", headers=token(**key))).status_code

            for bad in ("no JSON", jwks(("k1", RSA_KEYS[0])) + " " * 20_000, f"-> {address}/other"):
                served[:] = [bad]
                assert await status() == 503, bad[:40]
            served[:] = [jwks(("k1", RSA_KEYS[0]))]
            assert await status() == 200
            assert await status(key=RSA_KEYS[1], kid="k2") == 401
            served[:] = [jwks(("k2", RSA_KEYS[1]))]
            assert await status(key=RSA_KEYS[1], kid="k2") == 200
            assert await status() == 401
            served.clear()  # it answers 500: what was read before goes on
            assert await status(key=RSA_KEYS[1], kid="k2") == 200


@asynccontextmanager
async def issuer(served: list[str]) -> AsyncIterator[str]:
    """A server of what is in `served`, in two pieces; `-> address` leads on to there, nothing is an error."""

    async def keys(request: web.Request) -> web.StreamResponse:
        if not served:
            return web.Response(status=500)
        if request.path != "/other" and served[0].startswith("-> "):
            return web.HTTPFound(served[0].removeprefix("-> "))
        text = jwks(("k1", RSA_KEYS[0])) if request.path == "/other" else served[0]
        answer = web.StreamResponse()
        await answer.prepare(request)
        for piece in (text[:100], text[100:]):
            await answer.write(piece.encode())
            await asyncio.sleep(0.05)
        return answer

    app = web.Application()
    app.router.add_get("/{name}", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()

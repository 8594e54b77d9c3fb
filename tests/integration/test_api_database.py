"""The read API while its database switches, breaks off, is slow, is gone, or is not ready."""

import asyncio
from contextlib import suppress

import httpx
import psycopg
import pytest
from psycopg import sql

from read_api import database
from read_api.app import create_app
from read_api.database import Database
from read_api.problems import Problem
from tests.api import api, fill, running, settings_of
from tests.integration.gate import gate
from tests.world import World


async def test_a_switch_to_another_generation_is_followed_at_once(shop: World, client: httpx.AsyncClient) -> None:
    fill(shop, "product_sales", [{"product_id": "old"}])
    assert [r["product_id"] for r in (await client.get("/v1/products")).json()["data"]] == ["old"]
    with shop.connect() as connection, connection.transaction():
        views = f'"{shop.group}_views"'
        connection.execute(f"CREATE TABLE {views}.product_sales__g2 (LIKE {views}.product_sales__g1)")
        connection.execute("INSERT INTO product_sales__g2 (product_id) VALUES ('new')")
        connection.execute("GRANT SELECT ON product_sales__g2 TO PUBLIC")
        connection.execute(
            "INSERT INTO generations (relation, generation, version, digest, state)"
            " SELECT relation, 2, version, digest, 'live' FROM generations WHERE relation = 'product_sales'"
        )
    assert [r["product_id"] for r in (await client.get("/v1/products")).json()["data"]] == ["new"]
    with shop.connect() as connection, connection.transaction():
        connection.execute("DELETE FROM generations WHERE relation = 'product_sales' AND generation = 2")
        connection.execute("DROP TABLE product_sales__g2")
    assert [r["product_id"] for r in (await client.get("/v1/products")).json()["data"]] == ["old"]


async def test_sessions_that_postgres_closed_cost_no_error(
    shop: World, client: httpx.AsyncClient, read_database_url: str
) -> None:
    await asyncio.gather(*(client.get("/v1/orders") for _ in range(20)))
    with psycopg.connect(read_database_url, autocommit=True) as reader:
        ended = reader.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'prejoin-api' AND usename = current_user"
        ).fetchall()
    assert ended
    answers = await asyncio.gather(*(client.get("/v1/orders") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}


async def test_what_takes_too_long_is_unavailable(
    shop: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.database.SESSION", "-c statement_timeout=10")
    made = Database(read_database_url, shop.group)
    async with made.running():
        with pytest.raises(Problem, match="took more than") as raised:
            await made.all("SELECT pg_sleep(5)")
    assert raised.value.status == 503


@pytest.mark.parametrize(
    "path", ["/v1/products", "/v1/products?name[gte]=a&count=exact", "/v1/products/p1", "/v1/orders/search?q=red"]
)
async def test_a_statement_that_takes_too_long_is_told_as_unavailable(
    shop: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("read_api.database.SESSION", f"{database.SESSION} -c statement_timeout=200")
    async with api(shop, read_database_url) as client:
        with shop.connect() as connection, connection.transaction():
            view = "order_overview" if "orders" in path else "product_sales"
            connection.execute(f"LOCK TABLE {shop.table(view)}")  # in ACCESS EXCLUSIVE mode: whoever reads it waits
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:prejoin:timeout")
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert "product_sales" not in answer.text.replace("/v1/", "")
        async with asyncio.timeout(20):
            while (await client.get(path)).status_code == 503:  # noqa: ASYNC110 – the others may be busy
                await asyncio.sleep(0.05)


async def test_a_database_that_is_gone_is_unavailable_and_comes_back(
    shop: World, read_database_url: str, database_url: str
) -> None:
    role = sql.Identifier(psycopg.conninfo.conninfo_to_dict(read_database_url)["user"])  # type: ignore[arg-type]
    with psycopg.connect(database_url, autocommit=True) as writer:
        writer.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
        try:
            async with api(shop, read_database_url) as client:  # it starts without
                answers = await asyncio.gather(*(client.get(path) for path in ("/v1/orders", "/readyz", "/v1/status")))
                for answer in answers:
                    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                    assert "127.0.0.1" not in answer.text
                assert (await client.get("/livez")).status_code == 200
                writer.execute(sql.SQL("ALTER ROLE {} LOGIN").format(role))
                async with asyncio.timeout(20):
                    while (await client.get("/v1/orders")).status_code != 200:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
        finally:
            writer.execute(sql.SQL("ALTER ROLE {} LOGIN").format(role))


async def test_while_the_database_is_gone_nobody_waits_for_a_session_of_another(
    shop: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.database.SECONDS_FOR_A_CONNECTION", 3600.0)
    paths = ("/v1/orders", "/v1/orders/o1", "/v1/orders/search", "/readyz")
    async with gate(read_database_url) as way, api(shop, way.url) as client:
        assert {(await client.get(path)).status_code for path in paths} == {200, 404}
        await way.close()
        for path in paths:
            async with asyncio.timeout(60):
                assert (await client.get(path)).json()["type"] == "urn:prejoin:database"
        await way.open()
        async with asyncio.timeout(20):
            while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_once_the_database_is_back_snapshots_wait_for_a_session_of_another_again(
    shop: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.database.SECONDS_FOR_A_CONNECTION", 3600.0)
    monkeypatch.setattr("read_api.database.SECONDS_WHILE_AWAY", 0.1)

    async def one(made: Database) -> int:
        async with made.snapshot() as connection:
            return len(await (await connection.execute("SELECT 1")).fetchall())

    async with gate(read_database_url) as way:
        made = Database(way.url, shop.group, 1)
        async with made.running():
            await made.all("SELECT 1")
            await way.close()
            async with asyncio.timeout(60):
                while made._patience > 1:
                    with pytest.raises(Problem):
                        await made.all("SELECT 1")
            await way.open()
            async with asyncio.timeout(60):
                while True:
                    with suppress(Problem):
                        await one(made)
                        break
            async with made.snapshot():
                another = asyncio.create_task(one(made))
                await asyncio.wait([another], timeout=0.5)  # longer than while it was away
            assert await another == 1


async def test_a_database_without_our_tables_is_unavailable(read_database_url: str, shop: World) -> None:
    settings = settings_of(shop, read_database_url).model_copy(update={"group": "nobody"})
    async with running(create_app(settings)) as client:
        for path in ("/v1/orders", "/v1/orders/o1", "/v1/status", "/readyz"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:prejoin:not-migrated")

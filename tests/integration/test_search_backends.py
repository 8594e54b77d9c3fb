"""Which backend answers a search: Elasticsearch where it can within a second, else Postgres, and how that is told."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
from starlette.requests import Request

from read_api import cursors, database
from read_api.app import create_app
from read_api.resource import Resource
from read_api.search import breaker, elastic
from read_api.search.parameters import read_search
from tests.api import running, settings_of
from tests.integration.in_front import in_front
from tests.integration.running import until
from tests.integration.searching import PLACED, Searched, order, orders, patient, searched
from tests.world import World

__all__ = ["orders", "patient"]  # the fixtures


@pytest.fixture
async def indexed(shop: World, read_database_url: str, elasticsearch_url: str) -> AsyncIterator[Searched]:
    shop.clear()
    async with searched(shop, read_database_url, elasticsearch_url, "elasticsearch") as made:
        await made.given(*(order(f"o{n}", "red shoe") for n in range(6)))
        yield made


@asynccontextmanager
async def asking(shop: World, read_url: str, index_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings_of(shop, read_url, elasticsearch_url=index_url))) as client:
        yield client


@asynccontextmanager
async def black_hole() -> AsyncIterator[tuple[str, list[object]]]:
    """An address that takes connections and never answers, and who came."""
    came: list[object] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", came
        for writer in came:
            writer.close()  # type: ignore[attr-defined]


def keys(answer: httpx.Response) -> list[str]:
    return [hit["row"]["order_id"] for hit in answer.json()["data"]]


def told(answer: httpx.Response) -> tuple[int, str, bool]:
    return answer.status_code, answer.json()["backend"], answer.json()["degraded"]


async def test_an_index_that_is_not_whole_yet_is_not_asked(indexed: Searched) -> None:
    assert told(await indexed.get("red")) == (200, "elasticsearch", False)
    indexed.shop.execute("UPDATE served SET search = NULL")
    answer = await indexed.get("red")
    assert told(answer) == (200, "postgres", True)
    assert len(keys(answer)) == 6


async def test_an_index_deleted_by_hand_degrades_its_view_alone_and_for_as_long(indexed: Searched) -> None:
    await indexed.index.indices.delete(index=indexed.index_name)
    assert told(await indexed.get("red")) == (200, "postgres", True)
    await indexed.given(order("o9", "red"))
    answer = await indexed.get("red")
    assert (told(answer), keys(answer)) == ((200, "elasticsearch", False), ["o9"])


async def test_without_elasticsearch_postgres_answers_within_a_second_and_then_at_once(
    indexed: Searched, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "SECONDS", 0.8)
    monkeypatch.setattr(breaker, "SECONDS_OFF", 2.0)
    async with black_hole() as (url, came), asking(indexed.shop, read_database_url, url) as client:
        await client.get("/v1/orders")  # the connection to Postgres stands
        started = time.monotonic()
        first = await client.get(indexed.path, params={"q": "red"})
        took = time.monotonic() - started
        assert (told(first), len(keys(first))) == ((200, "postgres", True), 6)
        assert 0.7 < took < 3  # a second, and a busy machine
        asked = len(came)
        answers = await asyncio.gather(*(client.get(indexed.path, params={"q": "red"}) for _ in range(10)))
        assert {told(answer) for answer in answers} == {(200, "postgres", True)}
        assert len(came) == asked  # nobody else waited for it
        await asyncio.sleep(2.0)
        await asyncio.gather(*(client.get(indexed.path, params={"q": "red"}) for _ in range(5)))
        assert len(came) - asked in (1, 2)  # one search tried whether it is back, and may have looked beside that


ELSEWHERE = (
    "/v1/customers",
    "/v1/products?sort=-orders",
    "/v1/fulfilment",
    "/v1/customers/c1",
    "/v1/orders",
    "/readyz",
)
EXPORT = "/v1/customers/export?format=csv"


async def test_while_searches_hold_their_connections_the_other_endpoints_have_theirs(
    shop: World, read_database_url: str
) -> None:
    """As many searches as wait for a lock are more than the connections that they have."""
    shop.clear()
    held = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'prejoin-api'"
        " AND wait_event_type = 'Lock' AND usename = current_user"
    )
    path = "/v1/customers/search"
    others = [each for each in (*ELSEWHERE, "/v1/orders/export?format=csv") if "customers" not in each]
    async with asking(shop, read_database_url, "") as client:
        with shop.connect() as connection, connection.transaction():
            connection.execute(f"LOCK TABLE {shop.table('customer_summary')}")
            searches = [asyncio.create_task(client.get(path)) for _ in range(3 * database.SEARCHES)]
            async with await psycopg.AsyncConnection.connect(read_database_url, autocommit=True) as reader:
                async with asyncio.timeout(20):
                    while (await (await reader.execute(held)).fetchone()) != (database.SEARCHES,):  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
            assert [(await client.get(each)).status_code for each in others] == [200] * len(others)
            assert not any(search.done() for search in searches)
        assert {told(await search) for search in searches} == {(200, "postgres", False)}


async def test_while_elasticsearch_does_not_answer_the_other_endpoints_do(shop: World, read_database_url: str) -> None:
    async with black_hole() as (url, came), asking(shop, read_database_url, url) as client:
        shop.execute("UPDATE served SET search = 1 WHERE relation = 'order_overview'")
        searches = [asyncio.create_task(client.get("/v1/orders/search")) for _ in range(50)]
        try:
            async with asyncio.timeout(20):
                while not came:  # noqa: ASYNC110 – the event is in a socket
                    await asyncio.sleep(0.01)
            for each in (*ELSEWHERE, EXPORT):
                assert (await client.get(each)).status_code in (200, 404), each
            assert not any(search.done() for search in searches)
        finally:
            shop.execute("UPDATE served SET search = NULL")
            for search in searches:
                search.cancel()
            await asyncio.gather(*searches, return_exceptions=True)


@pytest.mark.parametrize(("status", "asked_again"), [("429", 1), ("503", 1), ("400", 2), ("404", 2)])
async def test_what_elasticsearch_refuses_postgres_answers(
    indexed: Searched, elasticsearch_url: str, read_database_url: str, status: str, asked_again: int
) -> None:
    """One that is busy is left alone for some seconds; one that refuses this search may answer the next."""
    came: list[str] = []

    def fault(path: str, _body: bytes) -> str:
        if path.endswith("/_msearch"):
            came.append(path)
            return status
        return ""

    async with in_front(elasticsearch_url, fault) as url, asking(indexed.shop, read_database_url, url) as client:
        for _ in range(2):
            answer = await client.get(indexed.path, params={"q": "red"})
            assert (told(answer), len(keys(answer))) == ((200, "postgres", True), 6)
    assert len(came) == asked_again


async def test_a_search_that_takes_long_leaves_elasticsearch_to_the_others(
    indexed: Searched, elasticsearch_url: str, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "SECONDS", 8.0)  # which two searches take here
    held, never = list[str](), asyncio.Event()

    def hold(path: str, body: bytes) -> str | Awaitable[str]:
        return held_up(path) if path.endswith("/_msearch") and b"heavy" in body else ""

    async def held_up(path: str) -> str:
        held.append(path)
        await never.wait()
        return ""

    async with in_front(elasticsearch_url, hold) as url, asking(indexed.shop, read_database_url, url) as client:
        for asked in ("heavy", "heavy shoe"):
            assert told(await client.get(indexed.path, params={"q": asked})) == (200, "postgres", True)
            assert told(await client.get(indexed.path, params={"q": "red"})) == (200, "elasticsearch", False)
        assert len(held) == 2
        leaving = asyncio.create_task(client.get(indexed.path, params={"q": "heavy"}))
        await until(lambda: len(held) == 3)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert told(await client.get(indexed.path, params={"q": "red"})) == (200, "elasticsearch", False)
        never.set()


async def test_elasticsearch_that_is_back_is_asked_again(
    indexed: Searched, elasticsearch_url: str, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "SECONDS_OFF", 0.5)
    target = httpx.URL(elasticsearch_url)
    away = True

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if away:
            writer.close()
            return
        there, back = await asyncio.open_connection(target.host, target.port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asking(indexed.shop, read_database_url, url) as client:
            assert told(await client.get(indexed.path)) == (200, "postgres", True)
            away = False
            assert told(await client.get(indexed.path)) == (200, "postgres", True)
            await asyncio.sleep(0.6)
            assert told(await client.get(indexed.path)) == (200, "elasticsearch", False)
            assert told(await client.get(indexed.path)) == (200, "elasticsearch", False)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65_536):
        writer.write(part)
    writer.close()


async def test_credentials_do_not_show_when_elasticsearch_is_away(
    indexed: Searched, read_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = "http://searcher:hunter2@127.0.0.1:9"
    async with asking(indexed.shop, read_database_url, url) as client:
        answer = await client.get(indexed.path, params={"q": "red"})
    assert told(answer) == (200, "postgres", True)
    assert "hunter2" not in answer.text + str(answer.headers) + caplog.text


@pytest.mark.parametrize("asked", [{"q": "red"}, {"sort": "-order_id"}, {"q": "red", "sort": "carrier"}])
async def test_a_cursor_goes_on_in_the_other_backend(
    indexed: Searched, elasticsearch_url: str, read_database_url: str, asked: dict[str, str]
) -> None:
    whole = keys(await indexed.get(**asked))
    async with (
        asking(indexed.shop, read_database_url, "") as postgres,
        asking(indexed.shop, read_database_url, elasticsearch_url) as elastic,
    ):
        for first, second in ((postgres, elastic), (elastic, postgres)):
            one = await first.get(indexed.path, params=asked | {"limit": "2"})
            two = await second.get(indexed.path, params=asked | {"limit": "2", "cursor": one.json()["next_cursor"]})
            three = await first.get(indexed.path, params=asked | {"limit": "2", "cursor": two.json()["next_cursor"]})
            assert one.json()["backend"] != two.json()["backend"]
            assert keys(one) + keys(two) + keys(three) == whole


async def test_pages_are_of_one_point_in_time_and_go_on_where_it_has_expired(indexed: Searched) -> None:
    first = await indexed.get("red", limit="2")
    await indexed.changed("o3", lines=[])
    cursor = first.json()["next_cursor"]
    second = await indexed.get("red", limit="2", cursor=cursor)
    assert keys(second) == ["o2", "o3"]  # as it was when the first page was read
    await indexed.index.close_point_in_time(id=point_of(second))
    third = await indexed.get("red", limit="2", cursor=second.json()["next_cursor"])
    assert (told(third), keys(third)) == ((200, "elasticsearch", False), ["o4", "o5"])
    again = await indexed.get("red", limit="2", cursor=cursor)
    assert (told(again), keys(again)) == ((200, "elasticsearch", False), ["o2", "o4"])


def point_of(answer: httpx.Response) -> str:
    """The point in time that a cursor names."""
    cursor = answer.json()["next_cursor"]
    point: str = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[9:])[0]
    return point


async def test_a_point_in_time_of_another_index_is_not_read(indexed: Searched) -> None:

    other = f"secret-{indexed.shop.group}"
    await indexed.index.index(index=other, id="o99", document=indexed.document.of(next(iter(
        indexed.shop.view("order_overview").values()))), refresh=True)  # fmt: skip
    try:
        point = (await indexed.index.open_point_in_time(index=other, keep_alive="60s"))["id"]
        request = Request({"type": "http", "query_string": b"q=red&limit=2", "headers": []})
        digest = read_search(Resource(indexed.view), request).digest
        for forged in (point, "AAAA", "", "é", "x" * 5_000):
            cursor = cursors.encode(digest, json.dumps([forged, "99999", "a"]))
            answer = await indexed.get("red", limit="2", cursor=cursor)
            assert (answer.status_code, keys(answer)) == (200, ["o0", "o1"]), forged
    finally:
        await indexed.index.indices.delete(index=other)


async def until_true(asked: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await asked():  # noqa: ASYNC110 – nobody tells
            await asyncio.sleep(0.05)


async def test_points_in_time_are_closed_when_no_cursor_names_them(indexed: Searched) -> None:
    async def none_open() -> bool:
        stats: Any = await indexed.index.indices.stats(index=indexed.index_name, metric="search")
        return not stats["indices"][indexed.index_name]["total"]["search"]["open_contexts"]

    for _ in range(3):
        await indexed.get("red", limit="10")
    found = await indexed.get("red", limit="4")
    await indexed.get("red", limit="4", cursor=found.json()["next_cursor"])
    await until_true(none_open)


async def test_search_tells_how_fresh_what_it_asked_is(orders: Searched) -> None:
    await orders.given(order("o1"))
    await orders.holds({"orders/0": 41, "payments/1": 7}, PLACED)
    answer = await orders.get()
    assert answer.headers["Prejoin-As-Of"] == PLACED
    assert answer.headers["Prejoin-Position"] == "orders/0@41,payments/1@7"
    assert float(answer.headers["Prejoin-Lag"]) > 0
    orders.shop.execute("UPDATE positions SET next = 100")
    held = (await orders.get()).headers["Prejoin-Position"]
    assert held == ("orders/0@41,payments/1@7" if orders.backend == "elasticsearch" else "orders/0@99,payments/1@99")


async def test_a_search_waits_until_what_it_asks_holds_a_position(orders: Searched) -> None:
    await orders.given(order("o1"))
    await orders.holds({"orders/0": 1}, PLACED)
    early = await orders.client.get(orders.path, headers={"Prejoin-Min-Position": "orders/0@2"})
    assert (early.status_code, early.headers["Retry-After"]) == (503, "1")
    assert early.headers["Prejoin-Position"] == "orders/0@1"
    headers = {"Prejoin-Min-Position": "orders/0@2", "Prefer": "wait=1"}
    assert (await orders.client.get(orders.path, headers=headers)).status_code == 503
    headers["Prefer"] = "wait=20"
    waiting = asyncio.create_task(orders.client.get(orders.path, headers=headers))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await orders.holds({"orders/0": 2}, PLACED)
    answer = await waiting
    assert (answer.status_code, answer.headers["Prejoin-Position"]) == (200, "orders/0@2")
    assert answer.headers["Preference-Applied"] == "wait=20"
    malformed = await orders.client.get(orders.path, headers={"Prejoin-Min-Position": "orders"})
    assert malformed.status_code == 400


async def test_a_search_that_takes_too_long_is_ended(
    shop: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.clear()
    monkeypatch.setattr(database, "SESSION", "-c statement_timeout=200")
    async with asking(shop, read_database_url, "") as client:
        with shop.connect() as other, other.transaction():
            other.execute(f"LOCK TABLE {shop.table('order_overview')}")
            answer = await client.get("/v1/orders/search", params={"q": "red"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["type"] == "urn:prejoin:timeout"

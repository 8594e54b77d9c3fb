"""Following the changes of a view: none is lost, whoever comes back resumes, and many cost little."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import httpx
import psutil
import psycopg
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings

from projector.operate.copying import Copying, CopyStep
from projector.operate.rebuild import Rebuild
from read_api.app import create_app
from tests.api import fill, settings_of
from tests.following import Follower, follow, listening
from tests.history import Past
from tests.integration.test_api_answers import BYTES
from tests.model import Model, Record
from tests.model.histories import cloud_event, partitioned, random_stream
from tests.world import World, world


@pytest.fixture(scope="module")
def shop(database_url: str, read_database_url: str) -> Iterator[World]:
    with world(database_url, read_url=read_database_url) as made:
        yield made


@pytest.fixture
def app(shop: World, read_database_url: str) -> FastAPI:
    shop.clear()
    return create_app(settings_of(shop, read_database_url))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with listening(app) as made:
        yield made


def history() -> list[Record]:
    """Two orders of two customers, then what becomes of them."""
    placed = {"product_id": "p1", "quantity": 1, "unit_price": "10.00", "currency": "EUR"}
    placed |= {"placed_at": "2026-01-01T00:00:00Z"}
    money = {"amount": "10.00", "currency": "EUR"}
    events = [
        cloud_event("orders.OrderPlaced", order_id="o1", customer_id="c1", **placed),
        cloud_event("orders.OrderPlaced", order_id="o2", customer_id="c2", **placed),
        cloud_event("payments.PaymentCaptured", payment_id="y1", order_id="o1", **money),
        cloud_event("orders.OrderCancelled", order_id="o2", reason="r"),
        cloud_event("customers.CustomerRegistered", customer_id="c1", name="Ann", email="a@example.org", country="DE"),
    ]
    return partitioned(events, partitions=1)


def in_batches(records: list[Record], seed: int) -> Iterator[list[Record]]:
    pick, at = random.Random(seed), 0
    while at < len(records):
        size = 1 + pick.randrange(40)
        yield records[at : at + size]
        at += size


async def test_each_changed_row_is_told_with_its_key_as_it_is_by_then(shop: World, client: httpx.AsyncClient) -> None:
    records = history()
    async with follow(client, "/v1/orders/changes") as orders, follow(client, "/v1/fulfilment/changes") as virtual:
        assert orders.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert orders.headers["cache-control"] == "no-cache, no-transform"
        assert orders.headers["x-accel-buffering"] == "no"
        await asyncio.to_thread(shop.given, records[:1])
        kind, data = await orders.next()
        assert (kind, data["key"]) == ("upsert", {"order_id": "o1"})
        assert data["row"] == (await client.get("/v1/orders/o1")).json()
        kind, data = await virtual.next()
        assert (kind, data["row"]) == ("upsert", (await client.get("/v1/fulfilment/o1")).json())


async def test_keys_of_several_columns_and_groups_that_end_are_told(shop: World, client: httpx.AsyncClient) -> None:
    records = history()
    async with follow(client, "/v1/sales-by-day/changes") as days:
        await asyncio.to_thread(shop.given, records[:1])
        kind, data = await days.next()
        null = {"day": "2026-01-01", "customer_country": None, "currency": "EUR"}
        assert (kind, data["key"]) == ("upsert", null)
        assert data["row"] == (await client.get("/v1/sales-by-day/2026-01-01/~/EUR")).json()
        await asyncio.to_thread(shop.given, [records[0], records[4]])
        told = {kind: data["key"] for kind, data in [await days.next(), await days.next()]}
        assert told == {"delete": null, "upsert": null | {"customer_country": "DE"}}


@pytest.mark.parametrize("seed", range(2))
async def test_whoever_follows_holds_what_the_model_has(shop: World, client: httpx.AsyncClient, seed: int) -> None:
    records = random_stream(seed, customers=5, products=5, orders=30)
    names = {"orders": "order_overview", "customers": "customer_summary", "sales-by-day": "sales_by_day"}
    names |= {"products": "product_sales", "fulfilment": "fulfilment"}
    async with AsyncExitStack() as stack:
        followers = {p: await stack.enter_async_context(follow(client, f"/v1/{p}/changes")) for p in names}
        cut = await stack.enter_async_context(follow(client, "/v1/orders/changes"))
        for n, batch in enumerate(in_batches(records, seed)):
            await asyncio.to_thread(shop.given, batch)
            if n % 3 == 2:  # a client that keeps losing its connection
                held = cut.held
                cut = await stack.enter_async_context(follow(client, "/v1/orders/changes", cut.last_id))
                cut.held = held
        expected = Model().apply_all(records).views()
        for path, follower in [*followers.items(), ("orders", cut)]:
            while follower.held != expected[names[path]]:
                await follower.next()


async def test_a_row_that_leaves_the_filter_is_told_as_deleted(shop: World, client: httpx.AsyncClient) -> None:
    records = history()
    path = (
        "/v1/orders/changes?status=pending,shipped&total[gte]=10&placed_at[lt]=2027-01-01T00:00:00Z&lines.product_id=p1"
    )
    async with follow(client, path) as pending, follow(client, "/v1/orders/changes?customer_name[null]=false") as named:
        await asyncio.to_thread(shop.given, records[:1])
        assert (await pending.next())[0] == "upsert"
        await asyncio.to_thread(shop.given, records[2:3])
        kind, data = await pending.next()
        assert (kind, data) == ("delete", {"key": {"order_id": "o1"}, "row": None})
        assert [(await named.next())[0] for _ in range(2)] == ["delete", "delete"]
        await asyncio.to_thread(shop.given, records[4:])
        assert (await named.next())[0] == "upsert"


async def test_of_one_key_nothing_but_its_own_changes_is_told(shop: World, client: httpx.AsyncClient) -> None:
    records = history()
    async with follow(client, "/v1/orders/changes?order_id=o2") as one:
        for n in range(len(records)):
            await asyncio.to_thread(shop.given, records[n : n + 1])
        await one.until("o2", "status", "cancelled")
        assert {data["key"]["order_id"] for _, data in one.events} == {"o2"}


async def test_an_id_that_is_no_place_in_this_feed_is_told_to_reset(shop: World, client: httpx.AsyncClient) -> None:
    await asyncio.to_thread(shop.given, history())
    async with follow(client, "/v1/orders/changes") as now:
        database, generation, revision, at = now.last_id.split(".")
    others = [
        f"{'0' * 12}.{generation}.{revision}.{at}",
        f"{database}.{int(generation) + 1}.{revision}.{at}",
        f"{database}.{generation}.{int(revision) + 1}.{at}",
        f"{database}.{generation}.{revision}.{int(at) - 86_500}",
        "anything",
        "1" * 5_000,
    ]
    for other in others:
        async with follow(client, "/v1/orders/changes", other) as follower:
            assert (await follower.next())[0] == "reset", other
            assert follower.last_id.split(".")[:3] == [database, generation, revision]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(last=BYTES.filter(bool))
async def test_whatever_bytes_an_id_has_it_is_told_to_reset(client: httpx.AsyncClient, last: bytes) -> None:
    async with follow(client, "/v1/orders/changes", last.decode("latin-1")) as follower:
        assert (await follower.next())[0] == "reset"


async def test_a_day_old_id_resumes_and_an_older_one_does_not(shop: World, client: httpx.AsyncClient) -> None:
    async with follow(client, "/v1/orders/changes") as now:
        database, generation, revision, at = now.last_id.split(".")
    await asyncio.to_thread(shop.given, history())
    day_old = f"{database}.{generation}.{revision}.{int(at) - 86_000}"
    async with follow(client, "/v1/orders/changes", day_old) as follower:
        kinds = {(await follower.next())[0], (await follower.next())[0]}
        assert kinds == {"upsert"}


async def test_a_switch_of_generations_is_told_to_reset_and_nothing_is_lost_behind_it(
    shop: World, client: httpx.AsyncClient
) -> None:
    records = history()
    await asyncio.to_thread(shop.given, records[:2])
    relations = [shop.projections.relation("order_overview")]
    async with follow(client, "/v1/orders/changes") as follower:
        before = follower.last_id
        rebuild = Rebuild(shop.url, shop.group, shop.projections, relations)
        await asyncio.to_thread(rebuild.run)
        assert (await follower.next())[0] == "reset"
        await asyncio.to_thread(shop.given, records[2:3])
        await follower.until("o1", "status", "paid")
    async with follow(client, "/v1/orders/changes", before) as follower:
        assert (await follower.next())[0] == "reset"


async def test_what_a_copy_has_folded_ahead_of_a_stopped_worker_is_behind_a_reset(
    shop: World, client: httpx.AsyncClient
) -> None:
    """No batch of the group has told of it, and none will."""
    records = history()
    await asyncio.to_thread(shop.given, records[:2])
    async with follow(client, "/v1/orders/changes") as follower:
        before = follower.last_id
        copying = Copying(shop.url, shop.group, shop.projections, Past(records))
        await asyncio.to_thread(copying.run)
        assert (await follower.next())[0] == "reset"
        await hold_what_is_listed(follower, client)
        assert follower.held == Model().apply_all(records).views()["order_overview"]
    async with follow(client, "/v1/orders/changes", before) as follower:
        assert (await follower.next())[0] == "reset"


async def test_a_copy_begun_before_another_rebuild_and_ended_behind_it_is_what_is_read_and_followed(
    shop: World, client: httpx.AsyncClient
) -> None:
    """Its generation has the smaller number, and the next one may have the number of the one before it again."""
    records = history()
    relations = [shop.projections.relation("order_overview")]

    def interrupted(step: CopyStep) -> None:
        if step.phase == "building":
            raise InterruptedError

    def copy(progress: Callable[[CopyStep], None] = lambda step: None) -> None:
        Copying(shop.url, shop.group, shop.projections, Past(records[:2])).run(progress)

    await asyncio.to_thread(shop.given, records[:2])
    with pytest.raises(InterruptedError):
        await asyncio.to_thread(copy, interrupted)
    await asyncio.to_thread(Rebuild(shop.url, shop.group, shop.projections, relations).run)
    rebuilt = shop.generations()["order_overview"]
    async with follow(client, "/v1/orders/changes") as follower:
        before = follower.last_id
        await asyncio.to_thread(copy)
        assert shop.generations()["order_overview"] < rebuilt
        assert (await follower.next())[0] == "reset"
        await asyncio.to_thread(shop.given, records[2:3])
        await follower.until("o1", "status", "paid")
        assert (await client.get("/v1/orders/o1")).json()["status"] == "paid"
    await asyncio.to_thread(Rebuild(shop.url, shop.group, shop.projections, relations).run)
    assert shop.generations()["order_overview"] == rebuilt
    async with follow(client, "/v1/orders/changes", before) as follower:
        assert (await follower.next())[0] == "reset"


async def test_rows_that_a_repair_mends_are_told(shop: World, client: httpx.AsyncClient) -> None:
    records = history()
    await asyncio.to_thread(shop.given, records)
    table = shop.table("order_overview")
    shop.execute(f"DELETE FROM {table} WHERE order_id = 'o2'")
    shop.execute(f"UPDATE {table} SET total = 1")
    columns = [c.name for c in shop.projections.relation("order_overview").table.c]
    another = ", ".join("'o3'" if name == "order_id" else name for name in columns)
    shop.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {another} FROM {table}")
    async with follow(client, "/v1/orders/changes") as orders, follow(client, "/v1/fulfilment/changes") as virtual:
        await hold_what_is_listed(orders, client)
        (found,) = await asyncio.to_thread(shop.verify, "order_overview", repair=True)
        assert found.repaired == 3
        told = {data["key"]["order_id"]: kind for kind, data in [await orders.next() for _ in range(3)]}
        assert told == {"o1": "upsert", "o2": "upsert", "o3": "delete"}
        assert orders.held == Model().apply_all(records).views()["order_overview"]
        told = {data["key"]["order_id"]: kind for kind, data in [await virtual.next() for _ in range(3)]}
        assert told == {"o1": "upsert", "o2": "upsert", "o3": "delete"}


async def hold_what_is_listed(follower: Follower, client: httpx.AsyncClient) -> None:
    """As a client does when its stream opens, and behind a reset."""
    listed = (await client.get("/v1/orders?limit=200")).json()["data"]
    follower.held = {(row["order_id"],): row for row in listed}


async def test_ids_within_a_batch_resume_before_it(
    shop: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.changes.channel.PORTION", 2)
    placed = history()[0]
    many = [
        placed._replace(offset=n, value=placed.value.replace(b'"o1"', b'"o%d"' % n), headers=placed.headers)
        for n in range(7)
        if placed.value is not None
    ]
    async with follow(client, "/v1/orders/changes") as follower:
        start = follower.last_id
        await asyncio.to_thread(shop.given, many)
        kinds = [await follower.next() for _ in many]
        assert len({data["key"]["order_id"] for _, data in kinds}) == 7
        revisions = [mark.split(".")[2] for mark in follower.ids]
        assert set(revisions[:-1]) == {start.split(".")[2]}
        assert int(revisions[-1]) > int(revisions[0])


async def test_heartbeats_move_the_place_to_resume_from(
    shop: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.changes.feed.HEARTBEAT", 0.05)
    async with follow(client, "/v1/orders/changes?order_id=none") as follower:
        first = follower.last_id
        await asyncio.to_thread(shop.given, history())
        with pytest.raises(TimeoutError):
            await follower.next(2.0)
        assert follower.comments > 1
        assert int(follower.last_id.split(".")[2]) > int(first.split(".")[2])


async def test_what_is_no_filter_is_refused_and_head_ends(client: httpx.AsyncClient) -> None:
    for query in ("limit=5", "sort=total", "fields=order_id", "statsu=x", "total[gte]=x", "cursor=x"):
        answer = await client.get(f"/v1/orders/changes?{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), query
    answer = await client.head("/v1/orders/changes")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_more_than_the_limit_are_asked_to_come_back(shop: World, read_database_url: str) -> None:
    app = create_app(settings_of(shop, read_database_url, api_streams=2))
    async with listening(app) as client, follow(client, "/v1/orders/changes"):
        async with follow(client, "/v1/customers/changes"):
            refused = await client.get("/v1/orders/changes")
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:prejoin:overload")
            assert int(refused.headers["retry-after"]) > 0
        while len(app.state.streams) > 1:  # noqa: ASYNC110 – until it has noticed that the other one left
            await asyncio.sleep(0.01)
        async with follow(client, "/v1/orders/changes"):
            pass


async def test_of_many_who_come_at_once_no_more_than_the_limit_are_let_in(shop: World, read_database_url: str) -> None:
    app = create_app(settings_of(shop, read_database_url, api_streams=2))
    let_in = asyncio.Barrier(21)

    async def come(client: httpx.AsyncClient) -> int:
        async with client.stream("GET", "/v1/orders/changes") as answer:
            await let_in.wait()  # each stays until all were answered
            return answer.status_code

    async with listening(app) as client:
        coming = [asyncio.create_task(come(client)) for _ in range(20)]
        async with asyncio.timeout(20):
            await let_in.wait()
            found = await asyncio.gather(*coming)
    assert sorted(found) == [200] * 2 + [503] * 18


async def test_who_does_not_read_is_sent_away_and_the_others_hear_all(
    shop: World, client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.changes.feed.MOST_WAITING", 40_000)
    monkeypatch.setattr("read_api.changes.feed.SECONDS_FOR_ROOM", 0.1)
    sizes = "INSERT INTO changes VALUES (now(), nextval('revisions'), 'order_overview', ARRAY[%s], '{}')"
    long = {"order_id": "o1", "status": "pending", "cancel_reason": "x" * 30_000}
    fill(shop, "order_overview", [long])
    async with follow(client, "/v1/orders/changes") as reads:
        host, port = str(client.base_url.host), client.base_url.port
        slow_reader, slow_writer = await asyncio.open_connection(host, port, limit=1_000)
        slow_writer.write(b"GET /v1/orders/changes HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await slow_reader.readuntil(b"retry")
        slow_writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = reads.last_id
        for _ in range(400):  # 12 MB: more than the sockets' buffers take
            await asyncio.to_thread(shop.execute, sizes, "o1")
            await asyncio.to_thread(shop.execute, "SELECT pg_notify('prejoin_changes:' || current_schema(), '')")
            await reads.next()
            if len(app.state.streams) == 1:
                break
        assert len(app.state.streams) == 1, "the slow one is still served"
        slow_writer.transport.abort()
    async with follow(client, "/v1/orders/changes", before) as again:
        assert (await again.next())[0] == "upsert"


async def test_sessions_that_postgres_ends_lose_nothing(
    shop: World, client: httpx.AsyncClient, read_database_url: str
) -> None:
    end = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name LIKE 'prejoin-api%' AND usename = current_user"
    )
    records = random_stream(3, customers=5, products=5, orders=20)
    async with follow(client, "/v1/orders/changes") as follower:
        for n, batch in enumerate(in_batches(records, 3)):
            await asyncio.to_thread(shop.given, batch)
            if n % 4 == 0:
                async with await psycopg.AsyncConnection.connect(read_database_url, autocommit=True) as reader:
                    while not await (await reader.execute(end)).fetchall():  # noqa: ASYNC110
                        await asyncio.sleep(0.02)  # those ended before are on their way back
        expected = Model().apply_all(records).views()["order_overview"]
        while follower.held != expected:
            await follower.next()


async def test_a_thousand_idle_ones_cost_one_listener_and_little_else(
    shop: World, client: httpx.AsyncClient, app: FastAPI
) -> None:
    listeners = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'prejoin-api changes'"
    pools = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'prejoin-api'"
    process = psutil.Process()
    async with AsyncExitStack() as stack:
        before = process.memory_info().rss
        entered = [stack.enter_async_context(follow(client, "/v1/orders/changes")) for _ in range(1_000)]
        followers = [await each for each in entered]
        assert len(app.state.streams) == 1_000
        assert shop.fetch(listeners) == [(1,)]
        assert shop.fetch(pools)[0][0] <= 8 + 4 + 4 + 4
        # server and client share the process: 100 kB for both ends of each
        assert process.memory_info().rss - before < 100 * 2**20
        spent = sum(process.cpu_times()[:2])
        await asyncio.sleep(2)
        assert sum(process.cpu_times()[:2]) - spent < 1.0
        await asyncio.to_thread(shop.given, history()[:1])
        told = await asyncio.gather(*(follower.next(60) for follower in followers))
        assert {data["key"]["order_id"] for _, data in told} == {"o1"}
    while len(app.state.streams):  # noqa: ASYNC110 – until it has noticed
        await asyncio.sleep(0.01)

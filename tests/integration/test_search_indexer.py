"""The indexer on a real Elasticsearch: what is in Postgres reaches the index, whatever happens on the way."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from elasticsearch import ConflictError
from sqlalchemy import select

from projector.declare import Entity, Search, View
from projector.search.document import STATE_ID
from projector.search.rows import MOST_BYTES
from tests.integration.running import until
from tests.model.histories import CloudEvent, cloud_event, partitioned, random_stream
from tests.search import Searched, searched
from tests.shelf import book, shelf
from tests.world import World


def placed(number: int, customer: str = "c1") -> CloudEvent:
    data: dict[str, Any] = {"product_id": f"p{number % 3}", "quantity": 1, "unit_price": "9.99", "currency": "EUR"}
    at = "2026-01-01T00:00:00Z"
    return cloud_event("orders.OrderPlaced", order_id=f"o{number}", customer_id=customer, placed_at=at, **data)


def registered(customer: str, name: str) -> CloudEvent:
    data = {"customer_id": customer, "name": name, "email": "a@b", "country": "FR"}
    return cloud_event("customers.CustomerRegistered", **data)


class History:
    """One event after the other, in one partition a topic."""

    def __init__(self, shop: World) -> None:
        self.shop, self.events, self.told = shop, list[CloudEvent](), 0

    def tell(self, *events: CloudEvent) -> None:
        self.events += events
        records = partitioned(self.events, partitions=1, binary=False)
        self.shop.given(records[self.told :])
        self.told = len(records)


@pytest.fixture
def shop(of_the_shop: World) -> World:
    of_the_shop.clear()
    of_the_shop.execute("UPDATE served SET search = NULL")
    return of_the_shop


@pytest.fixture
async def index(shop: World, elasticsearch_url: str) -> AsyncIterator[Searched]:
    async with searched(shop, elasticsearch_url) as made:
        yield made


@pytest.fixture
def bookshelf(database_url: str) -> Iterator[World]:
    """The long books alone: a book that becomes short leaves the view."""

    def long_books(books: Entity[Any]) -> list[View]:
        query = select(books.c.book_id, books.c.title, books.c.pages).where(books.c.pages > 300)
        return [View("long_books", path="long", key="book_id", query=query, search=Search({"title": 1}))]

    made = World(database_url, shelf(long_books))
    yield made
    made.drop()


@pytest.fixture
async def books(bookshelf: World, elasticsearch_url: str) -> AsyncIterator[Searched]:
    async with searched(bookshelf, elasticsearch_url) as made:
        yield made


def in_the_outbox(world: World) -> list[str]:
    return [key for (key,) in world.fetch("SELECT key FROM outbox ORDER BY key")]


async def test_what_was_there_and_what_comes_is_in_the_index(shop: World, index: Searched) -> None:
    records = random_stream(11)
    half = len(records) // 2
    shop.given(records[:half])
    assert in_the_outbox(shop) == []  # nobody has ever asked for it
    async with index.indexing():
        await index.settle()
        await index.equals_postgres()
        shop.given(records[half:])
        await index.settle()
        await index.equals_postgres()
    assert len(await index.rows("order_overview")) > 0
    assert await index.client.indices.exists_alias(name=index.document(index.view("order_overview")).alias)


async def test_a_rename_and_an_erasure_reach_every_order(shop: World, index: Searched) -> None:
    history = History(shop)
    history.tell(registered("c1", "Chloé"), registered("c2", "Bob"), *(placed(n) for n in range(40)), placed(40, "c2"))
    async with index.indexing():
        await index.settle()
        assert await index.count("order_overview", match={"text.customer_name": "chloe"}) == 40
        history.tell(cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Zoë"))
        await index.settle()
        assert await index.count("order_overview", match={"text.customer_name": "chloe"}) == 0
        assert await index.count("order_overview", match={"text.customer_name": "zoe"}) == 40
        history.tell(cloud_event("customers.CustomerErased", customer_id="c1"))
        await index.settle()
        everywhere = {"query_string": {"query": "zoe", "fields": ["text.*", "whole.*", "is.*"]}}
        assert [await index.count(view, **everywhere) for view in ("order_overview", "customer_summary")] == [0, 0]
        assert "Zoë" not in str(await index.rows("order_overview")) + str(await index.rows("customer_summary"))
        shop.applier.erase(shop.projections.personal["customer"], ["c2"])  # as the command does
        await index.settle()
        assert await index.count("order_overview", match={"text.customer_name": "bob"}) == 0
        assert await index.count("customer_summary", match={"text.name": "bob"}) == 0
        await index.equals_postgres()


async def test_a_deleted_rows_late_write_does_not_bring_it_back(bookshelf: World, books: Searched) -> None:
    bookshelf.given([book("b1", title="One", pages=500), book("b2", title="Two", pages=500)])
    async with books.indexing():
        await books.settle()
        index = books.index(books.view("long_books"))
        before = await books.client.get(index=index, id="b1")
        bookshelf.given([book("b1", title="One", pages=5)])
        await books.settle()
        assert await books.rows("long_books") == bookshelf.view("long_books")
        assert list(await books.rows("long_books")) == [("b2",)]
        late = {"version": before["_version"], "version_type": "external_gte"}
        with pytest.raises(ConflictError):
            await books.client.index(index=index, id="b1", document=before["_source"], **late)
        bookshelf.given([book("b1", title="One again", pages=501)])
        await books.settle()
        await books.equals_postgres()
        assert len(await books.rows("long_books")) == 2


async def test_the_index_says_what_it_holds(shop: World, index: Searched) -> None:
    history = History(shop)
    history.tell(registered("c1", "Ann"), placed(1))
    shop.execute("UPDATE projection_group SET as_of = '2026-01-02T03:04:05.5Z'")

    async def state() -> dict[str, Any]:
        view = index.view("order_overview")
        found = await index.client.get(index=index.index(view), id=STATE_ID)
        return dict(found["_source"]["state"])

    async with index.indexing():
        await index.settle()

        async def holds(position: int, as_of: str) -> bool:
            told = await state()
            return told["positions"]["orders/0"] == position and told["as_of"] == as_of

        await until(lambda: holds(0, "2026-01-02T03:04:05.5Z"))
        history.tell(placed(2))
        shop.execute("UPDATE projection_group SET as_of = '2026-01-02T03:04:06Z'")
        await until(lambda: holds(1, "2026-01-02T03:04:06Z"))
        assert (await state())["is"] == "true"
    assert shop.fetch("SELECT DISTINCT state, as_of FROM search_generations WHERE relation = 'order_overview'") != []


async def test_a_write_block_holds_up_and_loses_nothing(
    bookshelf: World, books: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.search.indexer.SECONDS_BETWEEN_COUNTS", 0)
    bookshelf.given([book("b1", title="One", pages=500)])
    async with books.indexing():
        await books.settle()
        index = books.index(books.view("long_books"))
        await books.client.indices.put_settings(index=index, settings={"index.blocks.write": True})
        bookshelf.given([book(f"b{n}", title="More", pages=600) for n in range(2, 50)])
        await until(lambda: counted(books, "retries_total", reason="Again") > 1)
        assert len(in_the_outbox(bookshelf)) == 48
        bookshelf.given([book(f"c{n}", title="More yet", pages=600) for n in range(7)])
        await until(lambda: counted(books, "outbox") == 55)  # while the bulk is still held up
        waits = counted(books, "outbox_age_seconds")
        assert 0 < waits < counted(books, "outbox_age_seconds")
        before = counted(books, "bulk_seconds_count")
        await books.client.indices.put_settings(index=index, settings={"index.blocks.write": False})
        await books.settle()
        assert index == books.index(books.view("long_books"))
        await books.equals_postgres()
        await until(lambda: counted(books, "outbox") == counted(books, "outbox_age_seconds") == 0)
        assert counted(books, "bulk_seconds_count") > before
        assert counted(books, "bulk_seconds_sum") > waits, "waits and repeats are in it"


def counted(books: Searched, name: str, **labels: str) -> float:
    """A sample of the metrics of the long books."""
    found = books.metrics.registry.get_sample_value(f"prejoin_search_{name}", {"view": "long_books", **labels})
    return found or 0.0


async def test_a_later_version_that_another_indexer_wrote_is_a_conflict_and_no_loss(
    bookshelf: World, books: Searched
) -> None:
    """Two rows change while their bulk is on the way, and another one, which was the leader before, is the quicker."""
    changes, sent = [book(f"b{n}", title="Later", pages=500) for n in (1, 2)], list[bytes]()

    def overtake(path: str, body: bytes) -> str:
        sent.extend(re.findall(rb'{"(?:index|delete)":{"_id":"b', body))
        if b'"Two"' in body and changes:
            bookshelf.given(changes)
            changes.clear()
            index = books.index(books.view("long_books"))
            for key, revision in bookshelf.fetch("SELECT key, revision FROM outbox"):
                version = {"version": revision, "version_type": "external_gte"}
                document = {"row": {"book_id": key, "title": "Later", "pages": 500}}
                httpx.put(f"{books.url}/{index}/_doc/{key}", params=version, json=document).raise_for_status()
        return ""

    bookshelf.given([book(f"b{n}", title="One", pages=500) for n in (1, 2, 3)])
    async with books.indexing(overtake):
        await books.settle()
        index = books.index(books.view("long_books"))
        bookshelf.given([book("b1", title="Two", pages=500), book("b2", pages=5), book("b3", pages=5)])
        await until(lambda: not changes)
        await books.settle()
        await books.equals_postgres()
        assert books.index(books.view("long_books")) == index
        assert await books.count("long_books", match={"text.title": "later"}) == 2
    outcomes = {
        outcome: counted(books, "documents_total", outcome=outcome)
        for outcome in ("indexed", "deleted", "refused", "conflict")
    }
    assert outcomes == {"indexed": 5, "deleted": 1, "refused": 0, "conflict": 2}
    assert sum(outcomes.values()) == len(sent)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, of more than 1 MiB
async def test_bulks_are_cut_by_bytes_and_a_row_larger_than_that_is_sent_all_the_same(
    bookshelf: World, books: Searched
) -> None:
    long, longest = "long title " * 50_000, "longest title " * 200_000
    assert len(long) * 4 > MOST_BYTES > len(long) * 3
    assert len(longest) > MOST_BYTES
    bulks: list[list[str]] = []

    def note(path: str, body: bytes) -> str:
        if path.endswith("/_bulk"):
            bulks.append(re.findall(r'"_id":"(b[0-9])"', body.decode()))
        return ""

    bookshelf.given([book(f"b{n}", title=longest if n == 5 else long, pages=500) for n in range(10)])
    async with books.indexing(note):
        await books.settle()
        await books.equals_postgres()
    assert [keys for keys in bulks if keys] == [["b0", "b1", "b2", "b3"], ["b4", "b5"], ["b6", "b7", "b8", "b9"]]
    assert bookshelf.fetch("SELECT count(*) FROM search_dead_letters") == [(0,)]


async def test_an_index_deleted_by_hand_is_made_anew(bookshelf: World, books: Searched) -> None:
    bookshelf.given([book(f"b{n}", title="One", pages=500) for n in range(20)])
    async with books.indexing():
        await books.settle()
        index = books.index(books.view("long_books"))
        await books.client.indices.delete(index=index)
        bookshelf.given([book("b1", title="One", pages=5)])
        await until(lambda: books.is_settled() and books.index(books.view("long_books")) != index)
        await books.settle()
        await books.equals_postgres()
        made = await books.client.indices.get(index=f"{books.document(books.view('long_books')).alias}*")
        assert {name: found["mappings"]["dynamic"] for name, found in made.items()} == {
            books.index(books.view("long_books")): "false"
        }


async def test_a_refused_document_is_a_dead_letter_and_the_rest_goes_on(bookshelf: World, books: Searched) -> None:
    long_id = "b" * 128
    bookshelf.given([book("b1", title="One", pages=500)])
    async with books.indexing():
        await books.settle()
        bookshelf.execute(f"UPDATE {bookshelf.table('long_books')} SET book_id = book_id || repeat('x', 600)")
        key = "b1" + "x" * 600  # Elasticsearch takes ids of up to 512 bytes
        bookshelf.execute("INSERT INTO outbox VALUES ('long_books', %s, nextval('revisions'))", key)
        bookshelf.given([book(long_id, title="Two", pages=500)])
        await books.settle()
        ((told, reason),) = bookshelf.fetch("SELECT key, reason FROM search_dead_letters")
        assert told == key
        assert "action_request_validation_exception" in reason
        assert (long_id,) in await books.rows("long_books")


async def take_dates_alone(books: Searched) -> None:
    """An empty index that refuses titles which are no dates, as if somebody had made it so."""
    view = books.view("long_books")
    index, mapping = books.index(view), books.document(view).mapping
    mapping["properties"]["is"]["properties"]["title"] = {"type": "date"}
    await books.client.indices.delete(index=index)
    await books.client.indices.create(index=index, mappings=mapping, aliases={f"{index}_w": {}})


async def test_one_document_that_is_refused_is_told_with_its_reason_and_mended_by_its_next_change(
    bookshelf: World, books: Searched
) -> None:
    bookshelf.given([book("b1", title="2026-01-01", pages=500)])
    async with books.indexing():
        await books.settle()
    await take_dates_alone(books)
    async with books.indexing():
        bookshelf.given([book(f"b{n}", title="2026-01-02" if n % 2 else f"Title {n}", pages=500) for n in range(20)])
        await books.settle()
        assert len(await books.rows("long_books")) == 10
        letters = bookshelf.fetch("SELECT key, reason FROM search_dead_letters ORDER BY key")
        assert [key for key, _ in letters] == sorted(f"b{n}" for n in range(0, 20, 2))
        assert all("failed to parse field [is.title] of type [date]" in reason for _, reason in letters)
        ((counted,),) = bookshelf.fetch("SELECT dead_letters FROM search_dead_letter_count")
        assert counted == 10
        refused = ("prejoin_search_documents_total", {"view": "long_books", "outcome": "refused"})
        assert books.metrics.registry.get_sample_value(*refused) == 10
        bookshelf.given([book("b2", title="2026-02-02", pages=500)])
        await books.settle()
        assert len(await books.rows("long_books")) == 11
        assert bookshelf.fetch("SELECT count(*) FROM search_dead_letters") == [(9,)]


async def test_what_is_busy_is_asked_again_and_an_answer_that_was_lost_is_no_loss(
    bookshelf: World, books: Searched
) -> None:
    # lost twice: the client's transport tries once more by itself, for a connection may have been closed before
    wrong = ["429", "", "503", "", "busy", "", "lost", "lost", "", "504", "", "busy", "", "lost", "lost"]

    def fault(path: str, body: bytes) -> str:
        has_documents = path.endswith("/_bulk") and body.count(b"\n") > 3  # not only what the index holds
        return wrong.pop(0) if has_documents and wrong else ""

    async with books.indexing(fault):
        for n in range(8):
            bookshelf.given([book(f"b{m}", title=f"Title {n}", pages=5 if m % 5 == n else 500) for m in range(100)])
            await books.settle()
        await until(lambda: not wrong)
        await books.settle()
        await books.equals_postgres()
    again = {
        reason: books.metrics.registry.get_sample_value(
            "prejoin_search_retries_total", {"view": "long_books", "reason": reason}
        )
        for reason in ("429", "503", "504", "Again", "ConnectionError")
    }
    assert again == {"429": 1, "503": 1, "504": 1, "Again": 2, "ConnectionError": 2}
    assert bookshelf.fetch("SELECT count(*) FROM search_dead_letters") == [(0,)]


async def test_postgres_restored_to_an_earlier_state_makes_another_index(bookshelf: World, books: Searched) -> None:
    bookshelf.given([book("b1", title="One", pages=500)])
    async with books.indexing():
        await books.settle()
    index, table = books.index(books.view("long_books")), bookshelf.table("long_books")
    kept = {name: bookshelf.fetch(f"SELECT * FROM {name}") for name in (table, "search_generations")}
    ((revision,),) = bookshelf.fetch("SELECT last_value FROM revisions")
    async with books.indexing():
        bookshelf.given([book("b1", title="Lost", pages=501), book("b2", title="Lost, too", pages=500)])
        await books.settle()
    for name, rows in kept.items():  # as of the backup
        bookshelf.execute(f"DELETE FROM {name}")
        for row in rows:
            bookshelf.execute(f"INSERT INTO {name} VALUES ({', '.join('%s' for _ in row)})", *row)
    bookshelf.execute("SELECT setval('revisions', %s)", revision)
    async with books.indexing():
        await until(lambda: books.is_settled() and books.index(books.view("long_books")) != index)
        await books.settle()
        await books.equals_postgres()
        assert list(await books.rows("long_books")) == [("b1",)]


async def test_a_later_version_than_postgres_knows_makes_another_index(bookshelf: World, books: Searched) -> None:
    bookshelf.given([book("b1", title="One", pages=500)])
    async with books.indexing():
        await books.settle()
        index = books.index(books.view("long_books"))
        ahead = {"version": 1_000_000, "version_type": "external"}
        await books.client.index(index=index, id="b1", document={"row": {"book_id": "b1"}}, **ahead)
        bookshelf.given([book("b1", title="Two", pages=501)])
        await until(lambda: books.is_settled() and books.index(books.view("long_books")) != index)
        await books.settle()
        await books.equals_postgres()


async def test_of_two_indexers_one_works_and_the_other_takes_over(bookshelf: World, books: Searched) -> None:
    first, second = (asyncio.create_task(books.indexers()[0].run()) for _ in range(2))
    try:
        bookshelf.given([book(f"b{n}", title="One", pages=500) for n in range(100)])
        await books.settle()
        lock = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        backends = "SELECT pid FROM pg_stat_activity WHERE application_name = 'prejoin indexer'"
        assert len(bookshelf.fetch(backends)) == 2
        leader = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid IN ({backends})"
        ((before,),) = bookshelf.fetch(leader)
        assert bookshelf.fetch(lock) >= [(1,)]
        bookshelf.execute("SELECT pg_terminate_backend(%s)", before)
        bookshelf.given([book(f"b{n}", title="Two", pages=5 if n % 3 else 600) for n in range(100)])
        await books.settle()
        await books.equals_postgres()
        assert await until(lambda: [pid for (pid,) in bookshelf.fetch(leader) if pid != before])
    finally:
        for task in (first, second):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

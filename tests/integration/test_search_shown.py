"""When searches see what was sent: the indexer refreshes. Elasticsearch's own interval is off but in one test."""

import asyncio
from typing import Any

import pytest

from projector.search import passes, showing
from projector.search.document import STATE, STATE_FIELD
from tests.integration.running import until
from tests.integration.test_search_indexer import books, bookshelf
from tests.search import Searched
from tests.shelf import book
from tests.world import World

__all__ = ["books", "bookshelf"]  # the fixtures

VIEW = "long_books"


@pytest.fixture
async def shelf(bookshelf: World, books: Searched) -> Searched:
    """An index with one book, which nobody refreshes but the indexer."""
    bookshelf.given([book("b0", title="Zero", pages=500)])
    async with books.indexing():
        await books.settle()
    await refreshes(books, "-1")
    return books


async def refreshes(books: Searched, interval: str) -> None:
    index = books.index(books.view(VIEW))
    await books.client.indices.put_settings(index=index, settings={"refresh_interval": interval})


async def found(books: Searched, title: str) -> int:
    return await books.count(VIEW, match={"text.title": title})


async def told(books: Searched, title: str) -> tuple[int, dict[str, Any]]:
    """In one search: the books of a title, and what the index says that it holds."""
    answer = await books.client.search(
        index=books.index(books.view(VIEW)),
        size=100,
        query={"bool": {"should": [{"term": {STATE_FIELD: STATE}}, {"match": {"text.title": title}}]}},
    )
    sources = [hit["_source"] for hit in answer["hits"]["hits"]]
    states = [source["state"] for source in sources if "state" in source]
    return len(sources) - len(states), states[0] if states else {}


async def test_what_was_sent_is_shown_with_the_state_that_speaks_of_it(bookshelf: World, shelf: Searched) -> None:
    async with shelf.indexing():
        for n in range(1, 4):
            bookshelf.given([book(f"b{n}", title="One", pages=500)])
            ((applied,),) = bookshelf.fetch("SELECT max(next) - 1 FROM positions")

            async def is_told(applied: int = applied) -> bool:
                return max((await told(shelf, "one"))[1]["positions"].values()) == applied

            await until(is_told)
            assert (await told(shelf, "one"))[0] == n


async def test_as_of_moves_on_where_no_row_changes(bookshelf: World, shelf: Searched) -> None:
    async with shelf.indexing():
        for second in range(3):
            as_of = f"2026-01-02T03:04:0{second}Z"
            bookshelf.execute("UPDATE projection_group SET as_of = %s", as_of)

            async def is_told(as_of: str = as_of) -> bool:
                return bool((await told(shelf, "zero"))[1].get("as_of") == as_of)

            await until(is_told)


async def test_a_refresh_that_fails_fails_no_pass_and_is_made_again(bookshelf: World, shelf: Searched) -> None:
    wrong = ["503", "429"]

    def fault(path: str, _: bytes) -> str:
        return wrong.pop(0) if path.endswith("/_refresh") and wrong else ""

    async with shelf.indexing(fault):
        bookshelf.given([book("b1", title="One", pages=500)])
        await until(lambda: found(shelf, "one"))
        assert wrong == []
        assert shelf.is_settled()
    for reason in ("503", "429"):
        counted = ("prejoin_search_retries_total", {"view": VIEW, "reason": reason})
        assert shelf.metrics.registry.get_sample_value(*counted) == 1


async def test_passes_go_on_while_a_refresh_takes_long(bookshelf: World, shelf: Searched) -> None:
    begun, ends = asyncio.Event(), asyncio.Event()

    async def hold() -> str:
        begun.set()
        await ends.wait()
        return ""

    async with shelf.indexing(lambda path, _: hold() if path.endswith("/_refresh") else ""):
        await begun.wait()
        for n in range(1, 4):
            bookshelf.given([book(f"b{n}", title="One", pages=500)])
            await until(shelf.is_settled)
        assert await found(shelf, "one") == 0
        ends.set()

        async def are_shown() -> bool:
            return await found(shelf, "one") == 3

        await until(are_shown)


async def test_a_pass_that_takes_long_shows_what_it_has_sent(
    bookshelf: World, shelf: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "FIRST_KEYS", 5)
    monkeypatch.setattr(passes, "MOST_KEYS", 5)
    monkeypatch.setattr(showing, "SECONDS_BETWEEN", 0.0)
    ends, bulks = asyncio.Event(), 0

    async def hold() -> str:
        await ends.wait()
        return ""

    def fault(path: str, body: bytes) -> Any:
        nonlocal bulks
        bulks += path.endswith("/_bulk") and body.count(b"\n") > 3  # not only what the index holds
        return hold() if bulks > 5 else ""

    async with shelf.indexing(fault):
        bookshelf.given([book(f"b{n}", title="One", pages=500) for n in range(1, 100)])
        assert 0 < await until(lambda: found(shelf, "one")) < 99
        ends.set()
        await shelf.settle()
        await shelf.equals_postgres()


async def test_the_next_indexer_shows_what_one_that_was_stopped_has_left(bookshelf: World, shelf: Searched) -> None:
    async with shelf.indexing(lambda path, _: "503" if path.endswith("/_refresh") else ""):
        bookshelf.given([book("b1", title="One", pages=500)])
        await until(shelf.is_settled)
    assert await found(shelf, "one") == 0
    async with shelf.indexing():
        await until(lambda: found(shelf, "one"))


async def test_without_an_indexer_elasticsearch_shows_it_by_itself(bookshelf: World, books: Searched) -> None:
    bookshelf.given([book("b0", title="Zero", pages=500)])
    async with books.indexing():
        await books.settle()
    async with books.indexing(lambda path, _: "503" if path.endswith("/_refresh") else ""):
        bookshelf.given([book("b1", title="One", pages=500)])
        await until(books.is_settled)
    await until(lambda: found(books, "one"))

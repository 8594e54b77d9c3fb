"""`prejoin verify` of a search index, its repair, and an index built anew beside the one that is searched."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from projector.declare import View
from projector.errors import PrejoinError
from projector.operate.rebuild import Rebuild
from projector.search.document import STATE_ID
from projector.search.keeping import Keeping, SearchUnreachable, keeping
from projector.search.rebuild import follow, rebuild
from projector.search.verify import SearchVerified, SearchVerifier
from projector.store.sampling import Ranges
from tests.integration.running import until
from tests.integration.test_search_indexer import book, books, bookshelf, take_dates_alone
from tests.search import Searched
from tests.world import World

__all__ = ["books", "bookshelf"]  # the fixtures


@asynccontextmanager
async def kept(books: Searched) -> AsyncIterator[Keeping]:
    world = books.world
    async with keeping(world.url, [books.url], world.group, world.projections, books.view("long_books")) as opened:
        yield opened


async def followed(books: Searched, generation: int) -> bool:
    async with kept(books) as opened:
        return await follow(opened, generation)


async def verified(books: Searched, repair: bool = False, rows: int | None = None) -> SearchVerified:
    async with kept(books) as opened:
        return await SearchVerifier(opened).verify(repair, sample=Ranges.of(rows) if rows else None)


@pytest.fixture
async def index(bookshelf: World, books: Searched) -> str:
    """2,500 books in the index, and no indexer at work any more."""
    bookshelf.given([book(f"b{n}", title=f"Title {n}", pages=500) for n in range(2_500)])
    async with books.indexing():
        await books.settle()
    return books.index(books.view("long_books"))


async def test_nothing_differs_and_what_waits_is_no_drift(bookshelf: World, books: Searched, index: str) -> None:
    found = await verified(books)
    assert (found.documents, found.different, found.served) == (2_500, 0, True)
    bookshelf.given([book("b1", title="On its way", pages=500), book("b2", pages=5), book("new", pages=500)])
    assert (await verified(books)).different == 0


async def test_a_sample_looks_at_some_and_finds_what_is_there(bookshelf: World, books: Searched, index: str) -> None:
    found = await verified(books, rows=250)
    assert (found.different, found.sampled) == (0, True)
    assert 100 <= found.documents <= 300
    document = (await books.client.get(index=index, id="b7"))["_source"]
    for n in range(0, 2_500, 4):
        await books.client.delete(index=index, id=f"b{n}")
        other = document | {"is": {"book_id": f"b{n + 1}x"}}
        await books.client.index(index=index, id=f"b{n + 1}x", document=other)
    await books.client.indices.refresh(index=index)
    found = await verified(books, rows=250)
    assert {kind for _, kind in found.differences} == {"missing", "extra"}
    assert 40 <= found.different <= 300
    assert set(books.world.fetch("SELECT DISTINCT place, kind FROM drift")) == {
        ("index", "missing"),
        ("index", "extra"),
    }


async def test_documents_that_no_row_asks_for_are_told_however_many(
    bookshelf: World, books: Searched, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.search.verify.PAGE", 20)
    monkeypatch.setattr("projector.search.verify.MOST", 50)
    monkeypatch.setattr("projector.search.verify.MENDED", 100)
    books.world.execute("DELETE FROM long_books__g1 WHERE book_id BETWEEN 'b10' AND 'b13'")
    ((left,),) = books.world.fetch("SELECT count(*) FROM long_books__g1")
    found = await verified(books)
    assert (found.documents, found.different) == (2_500, 2_500 - left)
    assert {kind for _, kind in found.differences} == {"extra"}
    mended = await verified(books, repair=True)
    assert (mended.different, mended.repaired) == (2_500 - left, 2_500 - left)
    assert (await verified(books)).documents == left


async def test_an_index_that_is_replaced_meanwhile_is_looked_at_anew(
    bookshelf: World, books: Searched, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, replaced = SearchVerifier._again, list[str]()

    async def and_replace(verifier: SearchVerifier, *at: Any) -> Any:
        if not replaced:
            replaced.append(index)
            async with kept(books) as opened:
                assert await rebuild(opened) != index
            await books.client.options(ignore_status=404).indices.delete(index=index)
        return await again(verifier, *at)

    monkeypatch.setattr(SearchVerifier, "_again", and_replace)
    found = await verified(books)
    assert (replaced, found.documents, found.different) == ([index], 2_500, 0)


async def test_missing_extra_and_stale_documents_are_told_and_exactly_those_are_mended(
    bookshelf: World, books: Searched, index: str
) -> None:
    client = books.client
    document = (await client.get(index=index, id="b7"))["_source"]
    await client.delete(index=index, id="b1", refresh=True)
    await client.index(index=index, id="zz", document=document | {"is": {"book_id": "zz"}}, refresh=True)
    await client.index(index=index, id="lost", document={"row": {}}, refresh=True)
    await client.index(index=index, id="b2", document=document | {"text": {}}, refresh=True)
    other = document["row"] | {"title": "Other"}
    await client.index(index=index, id="b3", document=document | {"row": other}, refresh=True)
    await client.index(index=index, id="b4", document=document | {"is": {"book_id": "b9999"}}, refresh=True)
    writes = {hit["_id"]: hit["_seq_no"] for hit in await books.writes("long_books")}
    found = await verified(books)
    told = [("b1", "missing"), ("b2", "stale"), ("b3", "stale"), ("b4", "stale"), ("lost", "extra"), ("zz", "extra")]
    assert (found.differences, found.different, found.repaired) == (told, 6, 0)

    mended = await verified(books, repair=True)
    assert (mended.different, mended.repaired) == (6, 6)
    await client.indices.refresh(index=index)
    await books.equals_postgres()
    assert (await verified(books)).different == 0
    after = {hit["_id"]: hit["_seq_no"] for hit in await books.writes("long_books")}
    changed = {key for key in writes.keys() | after.keys() if writes.get(key) != after.get(key)}
    assert changed == {key for key, _ in told}


async def test_what_a_repair_could_not_mend_is_remembered(bookshelf: World, books: Searched) -> None:
    bookshelf.given([book("b1", title="2026-01-01", pages=500), book("b2", title="No date", pages=500)])
    async with books.indexing():
        await books.settle()
    await take_dates_alone(books)
    mended = await verified(books, repair=True)
    assert (mended.different, mended.repaired, mended.left) == (2, 1, [("b2", "missing")])
    assert bookshelf.fetch("SELECT place, key, kind FROM drift") == [("index", '["b2"]', "missing")]


async def test_an_index_deleted_by_hand_is_found_and_repaired(books: Searched, index: str) -> None:
    await books.client.indices.delete(index=index)
    found = await verified(books)
    assert (found.documents, found.different, found.differences[0]) == (0, 2_500, ("b0", "missing"))
    mended = await verified(books, repair=True)
    assert (mended.different, mended.repaired) == (2_500, 2_500)
    assert books.index(books.view("long_books")) != index
    await books.client.indices.refresh(index=books.index(books.view("long_books")))
    await books.equals_postgres()


async def test_rows_that_were_repaired_reach_the_index(bookshelf: World, books: Searched, index: str) -> None:
    bookshelf.execute(f"UPDATE {bookshelf.table('long_books')} SET title = 'drift' WHERE book_id IN ('b1', 'b2')")
    assert [(key, kind) for key, kind in (await verified(books)).differences] == [("b1", "stale"), ("b2", "stale")]
    async with books.indexing():
        bookshelf.execute("INSERT INTO outbox SELECT 'long_books', 'b1', nextval('revisions')")
        await until(books.is_settled)
        assert bookshelf.verify("long_books", repair=True)[0].repaired == 2
        await books.settle()
        await books.equals_postgres()
    assert (await verified(books)).different == 0


async def test_an_index_is_built_beside_the_one_that_is_searched(bookshelf: World, books: Searched, index: str) -> None:
    alias = books.document(books.view("long_books")).alias
    seen: list[int] = []
    async with kept(books) as opened:
        work = asyncio.create_task(rebuild(opened, seen.append))
        while not work.done():
            found = await books.client.count(index=alias)
            assert found["count"] == 2_501  # the rows, and the state
            await asyncio.sleep(0.01)
        name = await work
    assert name != index
    assert max(seen) > 2_000
    assert name == books.index(books.view("long_books"))
    assert list(await books.client.indices.get_alias(name=alias)) == [name]
    await books.equals_postgres()
    assert (await verified(books)).different == 0


async def test_a_second_rebuild_at_the_same_time_is_refused_and_an_interrupted_one_goes_on(
    bookshelf: World, books: Searched, index: str
) -> None:
    async with kept(books) as first, kept(books) as second:
        work = asyncio.create_task(rebuild(first))
        await until(
            lambda: bookshelf.fetch("SELECT FROM search_generations WHERE state = 'filling' OR state = 'sending'")
        )
        with pytest.raises(PrejoinError, match="long_books is being rebuilt already"):
            await rebuild(second)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    bookshelf.given([book("b1", title="Meanwhile", pages=500)])
    async with kept(books) as again:
        name = await rebuild(again)
    assert name == index.removesuffix("1") + "2"
    await books.client.indices.refresh(index=name)
    await books.equals_postgres()


async def test_elasticsearch_away_is_one_line(books: Searched, index: str) -> None:
    world = books.world
    away = keeping(world.url, ["http://127.0.0.1:9"], world.group, world.projections, books.view("long_books"))
    with pytest.raises(SearchUnreachable, match=r"Elasticsearch \(PREJOIN_ELASTICSEARCH_URL\) does not answer"):
        async with away as opened:
            await SearchVerifier(opened).verify()


async def test_a_generation_being_built_has_its_index_before_both_are_switched_to(
    bookshelf: World, books: Searched, index: str
) -> None:
    view, seen = books.view("long_books"), list[str]()
    given = (bookshelf.url, bookshelf.group, bookshelf.projections, [view])

    def search(_: View, generation: int) -> None:
        bookshelf.given([book("b1", title="Changed meanwhile", pages=500), book("new", title="New", pages=400)])
        assert asyncio.run(followed(books, generation))
        seen.append(books.index(view))  # still the one before

    run = Rebuild(*given)
    await asyncio.to_thread(run.run, lambda _: None, search)
    assert seen == [index]
    assert books.index(view).endswith("__g2_s1")
    async with books.indexing():
        await books.settle()
        await books.equals_postgres()
        assert len(bookshelf.view("long_books")) == 2_501
        bookshelf.given([book("later", title="Later", pages=400)])
        await books.settle()
        await books.equals_postgres()
    assert (await verified(books)).different == 0


async def test_where_elasticsearch_is_away_the_switch_does_not_wait_for_it(
    bookshelf: World, books: Searched, index: str
) -> None:
    view = books.view("long_books")
    async with keeping(bookshelf.url, ["http://127.0.0.1:9"], bookshelf.group, bookshelf.projections, view) as nobody:
        run = Rebuild(bookshelf.url, bookshelf.group, bookshelf.projections, [view])
        loop = asyncio.get_running_loop()

        def search(_: View, generation: int) -> None:
            following = follow(nobody, generation, patience=1.0)
            assert not asyncio.run_coroutine_threadsafe(following, loop).result()

        assert await asyncio.to_thread(run.run, lambda _: None, search) == {"long_books": 2}
    assert bookshelf.fetch("SELECT generation, search FROM served WHERE relation = 'long_books'") == [(2, None)]
    async with books.indexing():
        await books.settle()
        await books.equals_postgres()


async def test_a_build_that_was_given_up_leaves_no_documents_to_the_next(
    bookshelf: World, books: Searched, index: str
) -> None:
    view = books.view("long_books")
    given = (bookshelf.url, bookshelf.group, bookshelf.projections, [view])
    whole = list[bool]()

    def search(_: View, generation: int) -> None:
        whole.append(asyncio.run(followed(books, generation)))
        if len(whole) == 1:
            raise InterruptedError

    run = Rebuild(*given)
    with pytest.raises(InterruptedError):
        await asyncio.to_thread(run.run, lambda _: None, search)
    await asyncio.to_thread(run.abort)
    bookshelf.given([book("b1", title="Too short now", pages=5)])
    await asyncio.to_thread(run.run, lambda _: None, search)
    assert whole == [True, True]
    assert books.index(view).endswith("__g2_s1")
    async with books.indexing():
        await books.settle()
        await books.equals_postgres()


async def test_the_index_of_a_generation_being_built_does_not_claim_what_that_has_yet_to_take_in(
    bookshelf: World, books: Searched, index: str
) -> None:
    view = books.view("long_books")
    given = (bookshelf.url, bookshelf.group, bookshelf.projections, [view])

    def search(_: View, generation: int) -> None:
        bookshelf.given([book("b1", title="Changed meanwhile", pages=500)])
        assert asyncio.run(followed(books, generation))

    run = Rebuild(*given)
    await asyncio.to_thread(run.run, lambda _: None, search)
    name = books.index(view)
    assert name.endswith("__g2_s1")
    ((applied,),) = bookshelf.fetch("SELECT next - 1 FROM positions WHERE topic = 'books'")

    async def told() -> bool:
        state = (await books.client.get(index=name, id=STATE_ID))["_source"]["state"]
        return bool(state.get("positions", {}).get("books/0") == applied)

    held = (await books.client.get(index=name, id="b1"))["_source"]["row"]["title"]
    assert (await told(), held) == (False, "Title 1")
    async with books.indexing():
        await books.settle()
        await until(told)
        await books.equals_postgres()

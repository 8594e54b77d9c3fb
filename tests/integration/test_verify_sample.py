"""`verify --sample`, bounds of memory, and generations that go while they are verified."""

from contextlib import closing
from typing import Any

import psycopg
import pytest

from projector.declare.projections import Projections
from projector.errors import PrejoinError
from projector.operate.rebuild import Rebuild
from projector.operate.status import current_status
from projector.operate.verify import Difference, Sample, Verified, Verifier
from tests.shelf import book, make_books, make_list, make_rollup, projections
from tests.world import World

MANY = 3_000


def made() -> Projections:
    books = make_books()
    listed = make_list(books)
    return projections([books], [listed, make_rollup(listed)])


@pytest.fixture(scope="module")
def filled(database_url: str) -> Any:
    books = World(database_url, made())
    books.given([book(f"b{n:05}", shelf=f"s{n % 7}", pages=n % 500) for n in range(MANY)])
    yield books
    books.drop()


@pytest.fixture
def books(filled: World) -> World:
    """3,000 books on seven shelves, and no drift."""
    filled.verify(repair=True)
    return filled


def sampled(books: World, name: str, text: str, repair: bool = False) -> Verified:
    with closing(Verifier(books.url, books.group, books.projections)) as verifier:
        return verifier.verify(books.projections.relation(name), repair, sample=Sample.of(text))


@pytest.mark.parametrize(("text", "rows"), [("1%", 30), ("10%", 300), ("200", 200)])
def test_a_sample_is_about_as_large_as_asked_for_and_says_what_share_it_is(books: World, text: str, rows: int) -> None:
    found = sampled(books, "book_list", text)
    assert rows * 0.4 <= found.rows <= rows * 1.4
    assert (found.of, found.different) == (MANY, 0)
    assert found.share == found.rows / MANY


def test_samples_are_not_of_the_same_rows(books: World) -> None:
    books.execute("UPDATE book_list__g1 SET pages = pages + 1")
    seen = {tuple(d.key) for _ in range(3) for d in sampled(books, "book_list", "1%").differences}
    assert len(seen) > 45


def test_a_sample_of_all_finds_all_drift_and_mends_exactly_that(books: World) -> None:
    books.execute("UPDATE book_list__g1 SET pages = -1 WHERE book_id = 'b00010'")
    books.execute("DELETE FROM book_list__g1 WHERE book_id IN ('b00000', 'b01500', 'b02999')")
    for key in ("a", "b01500x", "c"):
        row = f"SELECT '{key}', title, shelf, pages, price, author_id, bought_at FROM book_list__g1 LIMIT 1"
        books.execute(f"INSERT INTO book_list__g1 (book_id, title, shelf, pages, price, author_id, bought_at) {row}")
    before = dict(books.fetch("SELECT book_id, xmin::text FROM book_list__g1"))
    found = sampled(books, "book_list", "100%", repair=True)
    assert sorted((d.key[0], d.kind) for d in found.differences) == [
        ("a", "extra"), ("b00000", "missing"), ("b00010", "different"), ("b01500", "missing"), ("b01500x", "extra"),
        ("b02999", "missing"), ("c", "extra"),
    ]  # fmt: skip
    assert (found.different, found.repaired, found.kinds) == (7, 7, {"missing": 3, "extra": 3, "different": 1})
    after = dict(books.fetch("SELECT book_id, xmin::text FROM book_list__g1"))
    assert {key for key in after if after[key] != before.get(key)} == {"b00000", "b00010", "b01500", "b02999"}
    assert books.drift() == []


def test_rows_that_are_all_gone_are_found_by_what_they_are_made_from(books: World) -> None:
    books.execute("TRUNCATE book_list__g1")
    found = sampled(books, "book_list", "50")
    assert 20 <= found.different <= 60
    assert {d.kind for d in found.differences} == {"missing"}


def test_a_sampled_rollup_is_judged_by_the_entities_though_it_is_sought_beside_its_source(books: World) -> None:
    books.execute("UPDATE by_shelf__g1 SET pages = pages + 1 WHERE shelf = 's3'")
    books.execute("UPDATE book_list__g1 SET price = 0 WHERE shelf = 's5'")
    found = sampled(books, "by_shelf", "100%")
    assert found.differences == [Difference("by_shelf", ["s3"], "different", ["pages"])]


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "1.5", "-1", "half", "1e3", "1 %"])
def test_a_sample_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PrejoinError, match="--sample"):
        Sample.of(text)


def test_more_differences_than_one_statement_lists_are_counted_and_mended_all(
    books: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.apply.compare.LISTED", 400)
    monkeypatch.setattr("projector.operate.verify.RANGE", 1_000)
    books.execute("TRUNCATE book_list__g1")
    (found,) = books.verify("book_list")
    assert (found.different, len(found.differences)) == (MANY, 1_000)
    (mended,) = books.verify("book_list", repair=True)
    assert (mended.different, mended.repaired) == (MANY, MANY)
    assert books.drift() == []


def test_what_was_found_is_told_by_status_until_a_whole_verify_finds_nothing(books: World) -> None:
    books.execute("UPDATE by_shelf__g1 SET pages = 0 WHERE shelf IN ('s1', 's2')")

    def known() -> dict[str, dict[str, int]]:
        return current_status(books.url, books.group, books.projections)["drift"]  # type: ignore[no-any-return]

    assert known() == {}
    sampled(books, "by_shelf", "100%")
    assert known() == {"by_shelf": {"different": 2}}
    books.execute("UPDATE by_shelf__g1 SET pages = -1 WHERE shelf = 's3'")
    books.verify()
    assert known() == {"by_shelf": {"different": 3}}
    books.verify(repair=True)
    assert known() == {}


def test_a_virtual_view_that_is_not_as_declared_is_told_and_not_mended(of_the_shop: World) -> None:
    from tests.integration.test_verify import RECORDS

    of_the_shop.clear()
    of_the_shop.given(RECORDS)
    ((ddl,),) = of_the_shop.fetch("SELECT pg_get_viewdef('fulfilment__g1'::regclass)")
    columns = ", ".join(
        "'?'::text COLLATE \"C\" AS state" if c.name == "state" else c.name
        for c in of_the_shop.projections.relation("fulfilment").table.c
    )
    try:
        of_the_shop.execute(f"CREATE OR REPLACE VIEW fulfilment__g1 AS SELECT {columns} FROM ({ddl.rstrip(';')}) AS f")
        (found,) = of_the_shop.verify("fulfilment", repair=True)
        assert (found.different, found.repaired) == (found.rows, 0)
        assert {tuple(d.columns) for d in found.differences} == {("state",)}
    finally:
        of_the_shop.execute(f"CREATE OR REPLACE VIEW fulfilment__g1 AS {ddl}")
    assert of_the_shop.verify("fulfilment")[0].different == 0


def test_a_generation_that_is_switched_and_dropped_meanwhile_is_no_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading which generation is served and reading it, that one goes."""
    monkeypatch.setattr("projector.operate.verify.RANGE", 40)
    world = World(database_url, made())
    try:
        world.given([book(f"b{n:05}") for n in range(100)])
        with closing(Verifier(world.url, world.group, world.projections)) as verifier:
            compare, ranges = verifier._comparing.ranged, list[str | None]()

            def and_drop(cursor: psycopg.Cursor[Any], *at: Any) -> Any:
                if len(ranges) == 1:
                    rebuild = Rebuild(world.url, world.group, world.projections, [at[0]])
                    rebuild.run()
                    rebuild.drop_old()
                ranges.append(at[2])
                return compare(cursor, *at)

            monkeypatch.setattr(verifier._comparing, "ranged", and_drop)
            found = verifier.verify(world.projections.relation("book_list"))
        assert (found.rows, found.different) == (100, 0)
        assert ranges == [None, "b00039", "b00039", "b00079"]  # the second one twice: its table was gone
        assert world.table("book_list") == "book_list__g2"
    finally:
        world.drop()

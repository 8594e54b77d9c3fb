"""What key queries may find, and in any number: a key twice, null where a subquery groups, and not only texts."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import func, select, union_all

from projector.declare import Entity, Keys, View, among_keys
from tests.shelf import author, book, make_authors, make_books, projections
from tests.world import World

Shape = Callable[[Entity[Any], Entity[Any]], View]


def the_same_key_again(books: Entity[Any], authors: Entity[Any]) -> View:
    nth = func.row_number().over(partition_by=books.c.shelf, order_by=books.c.book_id)
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    ranked = select(books.c.shelf, books.c.book_id, authors.c.name, nth.label("nth")).select_from(joined).subquery()
    query = select(ranked.c.shelf, ranked.c.book_id, ranked.c.name).where(ranked.c.nth == 1)
    of_author = select(books.c.shelf).where(among_keys(books.c.author_id))
    keys = [Keys(books.c.shelf), Keys(authors.c.author_id, of_author)]
    return View("shown", path="shown", key="shelf", query=query.where(ranked.c.shelf.is_not(None)), keys=keys)


def both_of_a_union(books: Entity[Any], authors: Entity[Any]) -> View:
    query = union_all(select(books.c.shelf, books.c.title), select(authors.c.author_id, authors.c.name))
    return View("shown", path="shown", key="title", query=query, keys=[Keys(books.c.title), Keys(authors.c.name)])


def a_group_of_none(books: Entity[Any], authors: Entity[Any]) -> View:
    """Books without a shelf are a group, too, that no author is called by."""
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    names = select(books.c.shelf, func.max(authors.c.name).label("name")).select_from(joined).group_by(books.c.shelf)
    of_shelf = names.subquery("of_shelf")
    query = select(books.c.book_id, books.c.title, of_shelf.c.name).select_from(
        books.table.outerjoin(of_shelf, of_shelf.c.shelf == books.c.book_id)
    )
    return View("shown", path="shown", key="book_id", query=query)


def whole_numbers(books: Entity[Any], authors: Entity[Any]) -> View:
    joined = books.table.join(authors.table, authors.c.author_id == books.c.author_id)
    query = select(books.c.pages, books.c.book_id, authors.c.name).select_from(joined)
    return View("shown", path="shown", key=("pages", "book_id"), query=query)


SHAPES = [the_same_key_again, both_of_a_union, a_group_of_none, whole_numbers]


@pytest.fixture
def made(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Shape], World]]:
    monkeypatch.setattr("projector.apply.plan.FAN_OUT", 3)
    monkeypatch.setattr("projector.apply.plan.PORTION", 2)
    worlds: list[World] = []

    def make(shape: Shape) -> World:
        books, authors = make_books(), make_authors()
        worlds.append(World(database_url, projections([books, authors], [shape(books, authors)])))
        return worlds[0]

    yield make
    for world in worlds:
        world.drop()


@pytest.mark.parametrize("shape", SHAPES)
def test_more_keys_than_one_transaction_refreshes(made: Callable[[Shape], World], shape: Shape) -> None:
    shelf = made(shape)
    books = [book(f"b{n}", title=f"t{n}", shelf=f"b{n % 3}", pages=n, author_id="a1") for n in range(9)]
    shelf.given([author("a1", "Ann"), *books, book("c", title="c", shelf=None, author_id="a1")])
    assert shelf.drift() == []
    later = [book(f"d{n}", title=f"u{n}", shelf=f"b{n % 3}", pages=20 + n, author_id="a1") for n in range(5)]
    shelf.given([author("a1", "Bea"), *later])
    assert shelf.fetch("SELECT count(*) FROM pending") != [(0,)]
    assert shelf.drift() == []
    assert "Bea" in str(shelf.view("shown"))

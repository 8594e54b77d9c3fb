"""`prejoin check --database`: the statements of the hot path that no index answers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from projector.declare import View
from projector.declare.projections import Projections
from projector.errors import OutOfDate
from projector.operate.check import unindexed
from tests.shelf import make_authors, make_books, make_list, make_rollup, projections, shelf
from tests.world import World, world


def with_authors(book_indexes: Sequence[str] = ("author_id",)) -> Projections:
    """Books with their authors' names: a renamed author reaches books by `books.author_id`."""
    books, authors = make_books(indexes=book_indexes), make_authors()
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    query = select(books.c.book_id, authors.c.name).select_from(joined)
    return projections([authors, books], [View("named", path="named", key="book_id", query=query)])


@contextmanager
def found(url: str, declared: Projections) -> Iterator[list[str]]:
    made = World(url, declared)
    try:
        yield unindexed(url, made.group, declared)
    finally:
        made.drop()


def test_the_real_projections_have_an_index_for_everything(database_url: str) -> None:
    with world(database_url) as shop:
        assert unindexed(shop.url, shop.group, shop.projections) == []


def test_a_key_query_without_an_index_is_told(database_url: str) -> None:
    with found(database_url, with_authors(book_indexes=())) as problems:
        assert problems == [
            "named: the key query from authors reads all of books: declare an index on the column that it is found by"
        ]


def test_a_key_query_with_its_index_is_not(database_url: str) -> None:
    with found(database_url, with_authors()) as problems:
        assert problems == []


def test_looking_up_an_extreme_without_an_index_is_told(database_url: str) -> None:
    with found(database_url, shelf()) as problems:
        assert len(problems) == 1
        assert problems[0].startswith("by_shelf: looking up an extreme reads all of book_list__g1")


def test_looking_up_an_extreme_with_its_index_is_not(database_url: str) -> None:
    books = make_books()
    listed = make_list(books, indexes=[("shelf",)])
    with found(database_url, projections([books], [listed, make_rollup(listed)])) as problems:
        assert problems == []


def test_key_queries_through_another_view_are_looked_at_as_they_are_run(database_url: str) -> None:
    for indexes, expected in (([("author_id",)], []), ([], ["named"])):
        books, authors = make_books(), make_authors()
        listed = make_list(books, indexes=indexes)
        joined = listed.table.outerjoin(authors.table, authors.c.author_id == listed.c.author_id)
        named = View("named", key="book_id", query=select(listed.c.book_id, authors.c.name).select_from(joined))
        with found(database_url, projections([authors, books], [listed, named])) as problems:
            assert [line.partition(":")[0] for line in problems] == expected


def test_a_group_that_was_not_migrated_is_told(database_url: str) -> None:
    with pytest.raises(OutOfDate, match="`prejoin migrate`"):
        unindexed(database_url, "nowhere", shelf())


def test_a_view_that_was_not_migrated_is_told(database_url: str) -> None:
    made = World(database_url, shelf(lambda books: []))
    try:
        with pytest.raises(OutOfDate, match="`prejoin migrate`"):
            unindexed(made.url, made.group, shelf())
    finally:
        made.drop()

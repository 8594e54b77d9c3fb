"""Parts of rows in views of other shapes than the shop's: what a change of a part alone may not do to them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import and_, func, select

from projector.apply.applier import Applier
from projector.declare import Entity, String, View
from tests.shelf import author, book, make_authors, make_books, projections
from tests.world import World

Shape = Callable[[Entity[Any], Entity[Any]], list[View]]


def latest_only(books: Entity[Any], authors: Entity[Any]) -> list[View]:
    """An inner join says which of several rows is the key's."""
    others = books.table.alias("others")
    most = select(others.c.shelf, func.max(others.c.pages).label("pages")).group_by(others.c.shelf).subquery("most")
    joined = books.table.join(most, and_(most.c.shelf == books.c.shelf, most.c.pages == books.c.pages))
    query = select(books.c.shelf, books.c.book_id, authors.c.name)
    joined = joined.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    return [View("shown", path="shown", key="shelf", query=query.select_from(joined))]


def nothing_shown(books: Entity[Any], authors: Entity[Any]) -> list[View]:
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    query = select(books.c.shelf, books.c.book_id).select_from(joined)
    return [View("shown", path="shown", key="book_id", query=query)]


def whole_numbers_first(books: Entity[Any], authors: Entity[Any]) -> list[View]:
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    query = select(books.c.pages, books.c.book_id, authors.c.name).select_from(joined)
    return [View("shown", path="shown", key=("pages", "book_id"), query=query)]


def without_a_name(books: Entity[Any], authors: Entity[Any]) -> list[View]:
    named = select(authors.c.author_id, func.max(authors.c.name).label("name")).group_by(authors.c.author_id).subquery()
    query = select(books.c.book_id, named.c.name)
    joined = books.table.outerjoin(named, named.c.author_id == books.c.author_id)
    return [View("shown", path="shown", key="book_id", query=query.select_from(joined))]


def through_another_view(books: Entity[Any], authors: Entity[Any]) -> list[View]:
    """A part that is joined through another part, of a view with parts of its own."""
    teachers = authors.table.alias("teachers")
    joined = authors.table.outerjoin(teachers, teachers.c.author_id == authors.c.teacher_id)
    columns = [authors.c.author_id, authors.c.name, authors.c.teacher_id, teachers.c.name.label("teacher")]
    people = View("people", key="author_id", query=select(*columns).select_from(joined))
    masters = people.table.alias("masters")
    query = select(books.c.book_id, people.c.name, people.c.teacher, masters.c.teacher.label("master"))
    joined = books.table.outerjoin(people.table, people.c.author_id == books.c.author_id)
    joined = joined.outerjoin(masters, masters.c.author_id == people.c.teacher_id)
    return [people, View("shown", path="shown", key="book_id", query=query.select_from(joined))]


def as_many_rows_as_words(books: Entity[Any], authors: Entity[Any]) -> list[View]:
    """A row for each word of a name: of the part, and yet it makes rows come and go."""
    words = func.string_to_table(authors.c.name, " ", type_=String)
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    query = select(books.c.book_id, words.label("word")).select_from(joined)
    return [View("shown", path="shown", key="book_id", query=query)]


SHAPES = [latest_only, nothing_shown, whole_numbers_first, without_a_name, through_another_view, as_many_rows_as_words]


@pytest.fixture
def applied(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Shape], World]]:
    monkeypatch.setattr("projector.apply.plan.FAN_OUT", 3)
    made: list[World] = []

    def apply(shape: Shape) -> World:
        books, authors = make_books(), make_authors()
        made.append(World(database_url, projections([books, authors], shape(books, authors))))
        made[0].given([author(f"a{n}", f"A{n}", teacher_id=f"a{n + 1}") for n in range(4)])
        made[0].given([book(f"b{n}", shelf=f"s{n % 2}", pages=n, author_id=f"a{n % 3 or 9}") for n in range(12)])
        assert made[0].drift() == []
        return made[0]

    yield apply
    for world in made:
        world.drop()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_part_that_changes_leaves_the_row_as_if_built_anew(applied: Callable[[Shape], World], shape: Shape) -> None:
    shop = applied(shape)
    shop.given([author("a1", "Ann", teacher_id="a3"), author("a3", "Bea"), author("a9", "Eve")])
    shop.given([book("b1", shelf="s0", pages=50, author_id="a3"), author("a1", "Cid"), author("a2", "Dan")])
    assert shop.drift() == []


@pytest.mark.parametrize("shape", SHAPES)
def test_parts_that_wait_are_refreshed_by_another_process_too(applied: Callable[[Shape], World], shape: Shape) -> None:
    shop = applied(shape)
    shop.given([author(f"a{n}", "Ann") for n in range(4)])
    books, authors = make_books(), make_authors()
    another = Applier(shop.url, shop.group, projections([books, authors], shape(books, authors)))
    while another.drain():
        pass
    another.close()
    assert shop.drift() == []

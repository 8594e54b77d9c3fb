"""Parts of rows in views of other shapes than the shop's: what a change of a part alone may not do to them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import and_, func, select

from projector.apply.applier import Applier
from projector.declare import Entity, String, View
from projector.declare.sql import plain
from projector.errors import DeclarationError
from projector.store.definitions import served_query
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


def counted_by_what_a_group_tells(books: Entity[Any], authors: Entity[Any]) -> list[View]:
    """A group that is joined on a column of another group, over an alias that stands outside of it, too."""
    pupils, others = authors.table.alias("pupils"), books.table.alias("others")
    last = select(books.c.author_id, func.max(books.c.title).label("title")).group_by(books.c.author_id)
    last_of = last.subquery("last_of")
    many = select(pupils.c.teacher_id, func.count(others.c.book_id).label("books")).group_by(pupils.c.teacher_id)
    many_of = many.select_from(pupils.join(others, others.c.author_id == pupils.c.author_id)).subquery("many_of")
    joined = books.table.outerjoin(others, others.c.book_id == books.c.shelf)
    joined = joined.outerjoin(last_of, last_of.c.author_id == books.c.author_id)
    joined = joined.outerjoin(many_of, many_of.c.teacher_id == last_of.c.title)
    query = select(books.c.book_id, others.c.title.label("other"), many_of.c.books).select_from(joined)
    return [View("shown", path="shown", key="book_id", query=query)]


SHAPES = [
    latest_only,
    nothing_shown,
    whole_numbers_first,
    without_a_name,
    through_another_view,
    as_many_rows_as_words,
    counted_by_what_a_group_tells,
]


def assert_as_built(shop: World) -> None:
    """Each view is what its plain query says: verify asks with the keys pushed into it, as the refresh does."""
    served = shop.generations()
    for view in shop.projections.views:
        names = ", ".join(column.name for column in view.table.c)
        built = shop.fetch(f"SELECT {names} FROM ({plain(served_query(shop.projections, view, served))}) AS built")
        assert sorted(map(repr, built)) == sorted(map(repr, shop.fetch(f"SELECT {names} FROM {shop.table(view.name)}")))


@pytest.fixture
def applied(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Shape], World]]:
    monkeypatch.setattr("projector.apply.plan.FAN_OUT", 3)
    made: list[World] = []

    def apply(shape: Shape) -> World:
        books, authors = make_books(), make_authors()
        made.append(World(database_url, projections([books, authors], shape(books, authors))))
        made[0].given([author(f"a{n}", f"A{n}", teacher_id=f"a{n + 1}") for n in range(4)])
        shelves = [{"shelf": f"s{n % 2}", "title": f"a{n % 4}"} for n in range(12)]
        made[0].given([book(f"b{n}", **shelves[n], pages=n, author_id=f"a{n % 3 or 9}") for n in range(12)])
        assert made[0].drift() == []
        assert_as_built(made[0])
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
    assert_as_built(shop)


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
    assert_as_built(shop)


@pytest.mark.parametrize("stored", [0, 1])
def test_a_second_row_of_a_key_is_told_also_where_the_first_is_stored(
    applied: Callable[[Shape], World], stored: int
) -> None:
    def with_its_books(books: Entity[Any], authors: Entity[Any]) -> list[View]:
        theirs = books.table.alias("theirs")
        joined = authors.table.outerjoin(theirs, theirs.c.shelf == authors.c.author_id)
        query = select(authors.c.author_id, theirs.c.title).select_from(joined)
        return [View("shown", path="shown", key="author_id", query=query)]

    shop = applied(with_its_books)
    twice = [book(f"c{n}", shelf="a1", title=f"t{n}") for n in range(2)]
    shop.given(twice[:stored])
    with pytest.raises(
        DeclarationError, match="its key \\(author_id\\) is null in a row of its query, or the same in two"
    ):
        shop.given(twice[stored:])
    assert [row["title"] for row in shop.view("shown").values() if row["title"]] == ["t0"][:stored]

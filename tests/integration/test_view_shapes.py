"""Views of each shape that declarations may have: kept up to date on real Postgres as if they were built anew."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Select, and_, func, select

from projector.declare import Entity, Rollup, View, count, total
from projector.declare.sql import plain
from projector.declare.types import whole
from projector.declare.view import Relation
from projector.store.definitions import whole_query
from tests.shelf import author, book, make_authors, make_books, projections
from tests.world import World

Books = Entity[Any]
Shape = Callable[[Books, Books], list[Relation]]


def view(query: Select[Any], *, name: str = "shown", key: str | tuple[str, ...] = "book_id", **options: Any) -> View:
    return View(name, path=name.replace("_", "-"), key=key, query=query, **options)


def same_table_twice(books: Books, authors: Books) -> list[Relation]:
    teachers = authors.table.alias("teachers")
    return [
        view(
            select(books.c.book_id, authors.c.name, teachers.c.name.label("teacher")).select_from(
                books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id).outerjoin(
                    teachers, teachers.c.author_id == authors.c.teacher_id
                )
            )
        )
    ]


def grouped_by_another_column(books: Books, authors: Books) -> list[Relation]:
    """The subquery is not joined on the view's key, so that its refresh asks it for each row."""
    shelves = (
        select(books.c.shelf, whole(func.sum(books.c.pages)).label("pages"), func.count().label("books"))
        .group_by(books.c.shelf)
        .subquery("shelves")
    )
    return [
        view(
            select(books.c.book_id, shelves.c.pages, shelves.c.books).select_from(
                books.table.outerjoin(shelves, shelves.c.shelf == books.c.shelf)
            )
        )
    ]


def grouped_alias_by_another_column(books: Books, authors: Books) -> list[Relation]:
    others = books.table.alias("others")
    shelves = select(others.c.shelf, func.count().label("books")).group_by(others.c.shelf).subquery("shelves")
    joined = books.table.join(shelves, shelves.c.shelf == books.c.shelf)
    return [view(select(books.c.book_id, shelves.c.books).select_from(joined))]


def grouped_by_another_column_on_a_condition(books: Books, authors: Books) -> list[Relation]:
    others = books.table.alias("others")
    shelves = (
        select(others.c.shelf, func.count().label("books"), whole(func.sum(others.c.pages)).label("pages"))
        .group_by(others.c.shelf)
        .subquery("shelves")
    )
    on = and_(shelves.c.shelf == books.c.shelf, shelves.c.books > 1)
    return [view(select(books.c.book_id, shelves.c.pages).select_from(books.table.outerjoin(shelves, on)))]


def full_join(books: Books, authors: Books) -> list[Relation]:
    written = (
        select(books.c.author_id, func.count().label("books"))
        .where(books.c.author_id.is_not(None))
        .group_by(books.c.author_id)
        .subquery("written")
    )
    key = func.coalesce(authors.c.author_id, written.c.author_id).label("author_id")
    joined = authors.table.join(written, written.c.author_id == authors.c.author_id, full=True)
    return [view(select(key, authors.c.name, written.c.books).select_from(joined), key="author_id")]


def inner_join(books: Books, authors: Books) -> list[Relation]:
    joined = books.table.join(authors.table, authors.c.author_id == books.c.author_id)
    return [view(select(books.c.book_id, authors.c.name).select_from(joined).where(books.c.pages > 150))]


def having(books: Books, authors: Books) -> list[Relation]:
    grouped = select(books.c.author_id, whole(func.sum(books.c.pages)).label("pages")).where(
        books.c.author_id.is_not(None)
    )
    return [view(grouped.group_by(books.c.author_id).having(func.count() > 1), key="author_id")]


def joined_inside_a_subquery(books: Books, authors: Books) -> list[Relation]:
    """Names of the pupils' books: from a book through its author to the teacher."""
    pupils = (
        select(authors.c.teacher_id, func.count(books.c.book_id).label("books"))
        .select_from(authors.table.join(books.table, books.c.author_id == authors.c.author_id))
        .group_by(authors.c.teacher_id)
        .subquery("pupils")
    )
    teachers = authors.table.alias("teachers")
    return [
        view(
            select(teachers.c.author_id, teachers.c.name, pupils.c.books).select_from(
                teachers.outerjoin(pupils, pupils.c.teacher_id == teachers.c.author_id)
            ),
            key="author_id",
        )
    ]


def view_over_a_view(books: Books, authors: Books) -> list[Relation]:
    """A key query that goes through another view's rows."""
    listed = view(select(books.c.book_id, books.c.author_id, books.c.pages), name="listed", indexes=[("author_id",)])
    joined = listed.table.outerjoin(authors.table, authors.c.author_id == listed.c.author_id)
    return [listed, view(select(listed.c.book_id, listed.c.pages, authors.c.name).select_from(joined))]


def view_over_a_rollup(books: Books, authors: Books) -> list[Relation]:
    listed = view(select(books.c.book_id, books.c.author_id, books.c.pages), name="listed", indexes=[("author_id",)])
    by = Rollup(
        "by_author",
        source=listed,
        by={"author_id": listed.c.author_id},
        measures={"books": count(), "pages": total(listed.c.pages)},
    )
    joined = authors.table.outerjoin(by.table, by.c.author_id == authors.c.author_id)
    return [listed, by, view(select(authors.c.author_id, by.c.books, by.c.pages).select_from(joined), key="author_id")]


def view_over_a_rollup_that_is_not_its_key(books: Books, authors: Books) -> list[Relation]:
    """Each book beside what its shelf holds: a changed group reaches every book of the shelf."""
    listed = view(select(books.c.book_id, books.c.shelf, books.c.pages), name="listed", indexes=[("shelf",)])
    by = Rollup("by_shelf", source=listed, by={"shelf": listed.c.shelf}, measures={"pages": total(listed.c.pages)})
    joined = listed.table.outerjoin(by.table, by.c.shelf == listed.c.shelf)
    return [listed, by, view(select(listed.c.book_id, by.c.pages.label("shelf_pages")).select_from(joined))]


def rollup_by_time(books: Books, authors: Books) -> list[Relation]:
    listed = view(select(books.c.book_id, books.c.bought_at, books.c.pages), name="listed", indexes=[("bought_at",)])
    measures = {"books": count(), "pages": total(listed.c.pages, where=listed.c.pages > 150)}
    return [listed, Rollup("by_time", source=listed, by={"bought_at": listed.c.bought_at}, measures=measures)]


def rollup_by_number(books: Books, authors: Books) -> list[Relation]:
    listed = view(select(books.c.book_id, books.c.pages, books.c.price), name="listed", indexes=[("pages",)])
    by = {"pages": listed.c.pages, "dear": listed.c.price > 10}
    return [listed, Rollup("by_pages", source=listed, by=by, measures={"price": total(listed.c.price)})]


def nothing_but_keys(books: Books, authors: Books) -> list[Relation]:
    return [view(select(books.c.book_id).where(books.c.pages > 150))]


def two_key_columns(books: Books, authors: Books) -> list[Relation]:
    joined = books.table.join(authors.table, authors.c.author_id == books.c.author_id)
    query = select(books.c.author_id, books.c.book_id, authors.c.name).select_from(joined)
    return [view(query, key=("author_id", "book_id"))]


SHAPES: list[Shape] = [
    same_table_twice,
    grouped_by_another_column,
    grouped_alias_by_another_column,
    grouped_by_another_column_on_a_condition,
    full_join,
    inner_join,
    having,
    joined_inside_a_subquery,
    view_over_a_view,
    view_over_a_rollup,
    view_over_a_rollup_that_is_not_its_key,
    rollup_by_time,
    rollup_by_number,
    nothing_but_keys,
    two_key_columns,
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_view_of_this_shape_stays_what_its_query_says(database_url: str, shape: Shape) -> None:
    books, authors = make_books(), make_authors()
    declared = projections([authors, books], shape(books, authors))
    world = World(database_url, declared)
    rng, seen = random.Random(1), set[str]()
    try:
        for _ in range(9):
            world.given([_some_event(rng) for _ in range(rng.randrange(1, 6))])
            for relation in declared.relations:
                assert _differing(world, relation) == [], relation.name
            seen |= {relation.name for relation in declared.served if world.view(relation.name)}
        assert world.drift() == []
        assert seen == {relation.name for relation in declared.served}  # no view was empty all along
    finally:
        world.drop()


def _differing(world: World, relation: Relation) -> list[Any]:
    """Rows that are in the table or in the plain query's result alone: verify shares the refresh's form of it."""
    said = plain(whole_query(world.projections, relation))
    stored = f"SELECT {', '.join(c.name for c in relation.table.c)} FROM {world.table(relation.name)}"
    return world.fetch(f"(({said}) EXCEPT ALL ({stored})) UNION ALL (({stored}) EXCEPT ALL ({said}))")


def _some_event(rng: random.Random) -> Any:
    number = rng.randrange(5)
    if rng.randrange(3) == 0:
        return author(f"a{number}", name=rng.choice("xyz"), teacher_id=rng.choice([None, "a0", "a1", f"a{number}"]))
    return book(
        f"b{number}",
        shelf=rng.choice([None, "s1", "s1", "s2"]),
        pages=rng.choice([100, 200]),
        price=rng.choice(["5.00", "20.00"]),
        author_id=rng.choice([None, "a0", "a1", "a1", "a3"]),
        bought_at=rng.choice([None, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00.5Z"]),
    )

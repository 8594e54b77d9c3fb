"""A bookshelf: the smallest declarations that have everything, made anew for each test that varies them."""

import itertools
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from projector.declare import Entity, Rollup, State, View, count, greatest, least, total
from projector.declare.projections import Projections
from projector.declare.view import Relation
from schemas.contract import Contract, Id, Money, Time
from schemas.registry import Registry
from tests.model import Record


class BookAdded(Contract, type="books.BookAdded"):
    """Nothing bounds the title, so that Postgres may refuse what passes here."""

    book_id: Id
    title: str = "Untitled"
    shelf: str | None = None
    pages: int = 100
    price: Money = Decimal("10.00")
    author_id: str | None = None
    bought_at: Time | None = None


class AuthorNamed(Contract, type="authors.AuthorNamed"):
    """A new name, and whom the author was a pupil of."""

    author_id: Id
    name: str
    teacher_id: str | None = None


class Book(State, frozen=True):
    """One book, as its last event tells it."""

    book_id: str
    title: str
    shelf: str | None
    pages: int
    price: Decimal
    author_id: str | None
    bought_at: datetime | None


class Author(State, frozen=True):
    """One author."""

    author_id: str
    name: str
    teacher_id: str | None = None


registry = Registry([BookAdded, AuthorNamed], [])


def make_books(state: type[State] = Book, indexes: Sequence[str] = ("author_id", "shelf")) -> Entity[Any]:
    """Books whose state has fields of the event, those of `state` alone."""
    books = Entity("books", state=state, key="book_id", topic="books", indexes=indexes)

    @books.on(BookAdded)
    def added(book: State | None, event: BookAdded) -> State:
        return state(**{name: getattr(event, name, None) for name in state.__struct_fields__})

    return books


def make_authors(indexes: Sequence[str] = ("teacher_id",)) -> Entity[Author]:
    authors = Entity("authors", state=Author, key="author_id", topic="authors", indexes=indexes)

    @authors.on(AuthorNamed)
    def named(author: Author | None, event: AuthorNamed) -> Author:
        return Author(event.author_id, event.name, event.teacher_id)

    return authors


def make_list(books: Entity[Any], *names: str, path: str | None = "books", **options: Any) -> View:
    """`book_list`: one row a book, the columns named."""
    shown = [books.c[name] for name in names or [c.name for c in books.table.c if c.name in Book.__struct_fields__]]
    return View("book_list", path=path, key="book_id", query=select(*shown).select_from(books.table), **options)


def make_rollup(books: View, **options: Any) -> Rollup:
    """`by_shelf`: counts, sums and extremes of the books of a shelf, of no shelf too."""
    measures = {
        "books": count(),
        "long_books": count(where=books.c.pages > 300),
        "pages": total(books.c.pages),
        "price": total(books.c.price),
        "first_bought_at": least(books.c.bought_at),
        "last_bought_at": greatest(books.c.bought_at),
    }
    return Rollup("by_shelf", path="shelves", source=books, by={"shelf": books.c.shelf}, measures=measures, **options)


def projections(entities: Sequence[Entity[Any]], relations: Sequence[Relation] = ()) -> Projections:
    """Declarations without a package; `relations` in the order in which they read each other."""
    return Projections("shelf", registry, list(entities), list(relations))


def shelf(change: Callable[[Entity[Any]], Sequence[Relation]] | None = None, **options: Any) -> Projections:
    """Books with the list and the rollup, or with the relations that `change` makes over them."""
    books = make_books(**options)
    if change is not None:
        return projections([books], change(books))
    listed = make_list(books)
    return projections([books], [listed, make_rollup(listed)])


_offsets = itertools.count()


def record(type_: str, sequence: int | None = None, *, offset: int | None = None, **data: Any) -> Record:
    """One event on partition 0 of its topic, at offsets that only grow unless given."""
    at = next(_offsets) if offset is None else offset
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"e{at}",
        "source": "/shelf",
        "type": type_,
        "subject": "any",
        "time": "2026-01-01T00:00:00Z",
        "data": data,
    }
    if sequence is not None:
        event["sequence"] = sequence
    return Record(type_.partition(".")[0], 0, at, None, json.dumps(event).encode(), (), 1_767_225_600_000)


def book(book_id: str, sequence: int | None = None, *, offset: int | None = None, **data: Any) -> Record:
    return record("books.BookAdded", sequence, offset=offset, book_id=book_id, **data)


def author(author_id: str, name: str, **data: Any) -> Record:
    return record("authors.AuthorNamed", author_id=author_id, name=name, **data)

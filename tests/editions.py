"""Two releases of a bookshelf whose views differ in every way, and what those views must hold."""

import random
from typing import Any

from sqlalchemy import select

from projector.declare import Rollup, Search, View, count, total
from projector.declare.projections import Projections
from tests.model import Record
from tests.shelf import Book, author, book, make_authors, make_books, projections
from tests.world import Rows

CHANGED = ("book_list", "by_shelf", "of_author", "pupils")


class Noted(Book, frozen=True):
    """The new release keeps one field more."""

    note: str | None = None


def before() -> Projections:
    books, authors = make_books(), make_authors()
    b = books.c
    listed = View(
        "book_list", path="books", key="book_id", indexes=[("shelf",)], search=Search(text={"title": 1}),
        query=select(b.book_id, b.title, b.shelf, b.pages, b.author_id).select_from(books.table),
    )  # fmt: skip
    measures = {"books": count(), "pages": total(listed.c.pages)}
    return projections([authors, books], [
        listed,
        Rollup("by_shelf", path="shelves", source=listed, by={"shelf": listed.c.shelf}, measures=measures),
        View("of_author", path="of-author", key="book_id", query=select(b.book_id, b.author_id, b.title)),
        View("dropped", path="dropped", key="book_id", query=select(b.book_id, b.pages)),
        View("prices", path="prices", key="book_id", query=select(b.book_id, b.price)),
    ])  # fmt: skip


def after() -> Projections:
    """Columns added, renamed and removed, a join to authors, another key, a view more, a view less."""
    books, authors = make_books(Noted, ["author_id", "shelf"]), make_authors()
    b, a, teachers = books.c, authors.c, authors.table.alias("teachers")
    joined = books.table.outerjoin(authors.table, a.author_id == b.author_id)
    joined = joined.outerjoin(teachers, teachers.c.author_id == a.teacher_id)
    listed = View(
        "book_list", path="books", key="book_id", indexes=[("shelf",)], search=Search(text={"name": 1}),
        query=select(
            b.book_id, b.title.label("name"), b.shelf, b.author_id, b.note,
            a.name.label("author"), teachers.c.name.label("teacher"),
        ).select_from(joined),
    )  # fmt: skip
    measures = {"books": count(), "known": count(where=listed.c.author.is_not(None))}
    written = select(b.author_id, b.book_id, b.title).select_from(books.table).where(b.author_id.is_not(None))
    pupils = select(a.teacher_id.label("teacher_id"), a.author_id).where(a.teacher_id.is_not(None))
    return projections([authors, books], [
        listed,
        Rollup("by_shelf", path="shelves", source=listed, by={"shelf": listed.c.shelf}, measures=measures),
        View("of_author", path="of-author", key=("author_id", "book_id"), query=written),
        View("prices", path="prices", key="book_id", query=select(b.book_id, b.price)),
        View("pupils", path="pupils", key=("teacher_id", "author_id"), query=pupils),
    ])  # fmt: skip


class Library:
    """Books and authors as their last events tell them: what the views must hold."""

    def __init__(self, seed: int) -> None:
        self._pick = random.Random(seed)
        self.books: dict[str, dict[str, Any]] = {}
        self.authors: dict[str, dict[str, Any]] = {}

    def events(self, number: int) -> list[Record]:
        return [self._book() if self._pick.random() < 0.6 else self._author() for _ in range(number)]

    def _some(self, letter: str, most: int) -> str:
        return f"{letter}{self._pick.randint(1, most)}"

    def _book(self) -> Record:
        name, pick = self._some("b", 60), self._pick
        data = {"title": self._some("Title ", 9), "shelf": pick.choice(["s1", "s2", None]), "pages": pick.randint(1, 9),
                "author_id": pick.choice([None, self._some("a", 12)])}  # fmt: skip
        self.books[name] = data
        return book(name, **data)

    def _author(self) -> Record:
        name = self._some("a", 12)
        self.authors[name] = {
            "name": self._some("Name ", 9),
            "teacher_id": self._pick.choice([None, self._some("a", 12)]),
        }
        return author(name, **self.authors[name])

    def _name(self, author_id: str | None) -> str | None:
        return self.authors[author_id]["name"] if author_id in self.authors else None

    def list_before(self) -> dict[str, dict[str, Any]]:
        return {key: {"book_id": key, **data} for key, data in self.books.items()}

    def views_after(self) -> dict[str, Rows]:
        listed: Rows = {}
        shelves: Rows = {}
        for key, data in self.books.items():
            teacher = self.authors.get(data["author_id"], {}).get("teacher_id")
            row = listed[key,] = {
                "book_id": key, "name": data["title"], "shelf": data["shelf"], "author_id": data["author_id"],
                "note": None, "author": self._name(data["author_id"]), "teacher": self._name(teacher),
            }  # fmt: skip
            group = shelves.setdefault((row["shelf"],), {"shelf": row["shelf"], "books": 0, "known": 0})
            group["books"] += 1
            group["known"] += row["author"] is not None
        written = {(d["author_id"], k): {"author_id": d["author_id"], "book_id": k, "title": d["title"]}
                   for k, d in self.books.items() if d["author_id"]}  # fmt: skip
        pupils = {(d["teacher_id"], k): {"teacher_id": d["teacher_id"], "author_id": k}
                  for k, d in self.authors.items() if d["teacher_id"]}  # fmt: skip
        prices = {(k,): {"book_id": k, "price": "10.00"} for k in self.books}
        return {"book_list": listed, "by_shelf": shelves, "of_author": written, "pupils": pupils, "prices": prices}

"""Mistakes in declarations that show with data only: one line that names the declaration, and no row of anybody."""

from contextlib import closing

import pytest
from sqlalchemy import select

from projector.apply.batch import FoldError
from projector.declare import View
from projector.declare.projections import Projections
from projector.errors import DeclarationError
from projector.operate.copying import Copying
from projector.store.migrate import migrate
from tests.history import Past
from tests.shelf import Book, BookAdded, book, make_authors, make_books, projections, shelf
from tests.world import World


def keyed_by(column: str) -> Projections:
    books, authors = make_books(), make_authors()
    query = select(books.c.book_id, books.c[column], books.c.title).where(books.c.title != "")
    return projections([authors, books], [View("keyed", key=column, query=query)])


def test_a_key_that_is_twice_there_is_told_by_the_applier(database_url: str) -> None:
    with closing(_World(database_url, keyed_by("author_id"))) as world:
        with pytest.raises(DeclarationError, match=r"keyed: its key \(author_id\)") as caught:
            world.given([book("b1", author_id="a", title="SECRET"), book("b2", author_id="a", title="SECRET")])
        assert "SECRET" not in str(caught.value)
        assert world.applier.positions() == {}


@pytest.mark.parametrize("column", ["author_id", "shelf"])
def test_a_key_that_is_twice_there_or_null_is_told_by_migrate(database_url: str, column: str) -> None:
    with closing(_World(database_url, projections([make_authors(), make_books()]))) as world:
        world.given([book("b1", author_id="a"), book("b2", author_id="a")])
        with pytest.raises(DeclarationError, match=rf"keyed: its key \({column}\)"):
            migrate(database_url, None, world.group, keyed_by(column))


@pytest.mark.parametrize("column", ["author_id", "shelf"])
def test_a_key_that_is_twice_there_or_null_is_told_by_a_rebuild_from_events(database_url: str, column: str) -> None:
    with closing(_World(database_url, keyed_by(column))) as world:
        records = [book(f"b{n}", offset=n, author_id="a", title="SECRET") for n in range(2)]
        with pytest.raises(DeclarationError, match=rf"keyed: its key \({column}\)") as caught:
            Copying(world.url, world.group, world.projections, Past(records)).run()
        assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("returned", "said"),
    [(None, "TypeError"), (Book("b1", None, None, 1, 2, None, None), "column title")],  # type: ignore[arg-type]
)
def test_a_fold_that_returns_no_sound_state_stops_with_the_record_named(
    database_url: str, returned: Book | None, said: str
) -> None:
    books = make_books()
    books.folds.clear()

    @books.on(BookAdded)
    def added(state: Book | None, event: BookAdded) -> Book:
        return returned  # type: ignore[return-value]

    with closing(_World(database_url, projections([books]))) as world:
        with pytest.raises(FoldError, match="books/0@") as caught:
            world.given([book("b1", title="SECRET")])
        assert said in str(caught.value)
        assert "SECRET" not in str(caught.value)
        assert world.applier.positions() == {}


def test_pending_keys_of_a_generation_that_is_not_served_are_left(database_url: str) -> None:
    with closing(_World(database_url, shelf())) as world:
        world.execute("INSERT INTO pending (relation, generation, keys) VALUES ('book_list', 9, '{x}')")
        assert world.applier.drain() == 0
        assert world.fetch("SELECT keys FROM pending") == [(["x"],)]


class _World(World):
    def close(self) -> None:
        self.drop()

"""Rows of a view that Postgres refuses, where no event can be refused for them any more."""

import random
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import Integer, cast, func, select

from projector.declare import View
from projector.declare.projections import Projections
from projector.errors import DeclarationError
from projector.operate.rebuild import Rebuild, Step
from projector.store.migrate import migrate
from tests.integration.test_fan_out import drain, pending
from tests.shelf import author, book, make_authors, make_books, projections
from tests.world import World

LONG = random.Random(1).randbytes(900).hex()  # two of them are more than an entry of an index holds
KEYS = [f"b{n:02}" for n in range(30)]
WITH_LONG_TITLES = {"b07", "b23"}


def library(indexes: Sequence[Sequence[str]], *more: str) -> Projections:
    """Books beside their authors."""
    books, authors = make_books(), make_authors()
    joined = books.table.outerjoin(authors.table, authors.c.author_id == books.c.author_id)
    columns = [books.c[name] for name in ("book_id", "title", *more)]
    query = select(*columns, authors.c.name).select_from(joined)
    return projections([authors, books], [View("shown", path="shown", key="book_id", query=query, indexes=indexes)])


@pytest.fixture
def shelf(database_url: str, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(database_url, library(request.param))
    titles = {key: LONG if key in WITH_LONG_TITLES else "short" for key in KEYS}
    made.given([author("a1", "Ann"), *(book(key, title=title, author_id="a1") for key, title in titles.items())])
    yield made
    made.drop()


def halved() -> Projections:
    """The view has a column that no short title can have."""
    books, authors = make_books(), make_authors()
    share = (1 / (func.length(books.c.title) - len("short"))).label("share")
    query = select(books.c.book_id, cast(share, Integer).label("share")).select_from(books.table)
    return projections([authors, books], [View("shown", path="shown", key="book_id", query=query)])


def books_of(shelf: World, name: str) -> set[str]:
    return {key for (key,), row in shelf.view("shown").items() if row["name"] == name}


@pytest.mark.parametrize("shelf", [[("title", "name")]], indirect=True)
def test_a_row_that_waited_and_cannot_be_written_is_drift_and_keeps_nobody_waiting(
    shelf: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("projector.apply.plan.FAN_OUT", 0)  # all of it waits
        assert shelf.given([author("a1", LONG)]).dead_letters == {}
    assert pending(shelf) == len(KEYS)
    assert drain(shelf)[-1] == 0
    assert (books_of(shelf, "Ann"), books_of(shelf, LONG)) == (WITH_LONG_TITLES, {*KEYS} - WITH_LONG_TITLES)
    seen = [("shown", "view", f'["{key}"]', "different") for key in sorted(WITH_LONG_TITLES)]
    assert shelf.fetch("SELECT relation, place, key, kind FROM drift ORDER BY key") == seen
    assert {tuple(each.key) for each in shelf.drift()} == {(key,) for key in WITH_LONG_TITLES}
    with pytest.raises(DeclarationError, match=r"^shown: Postgres refuses a row of its query"):
        shelf.verify("shown", repair=True)
    shelf.given([author("a1", "Bea")])
    drain(shelf)
    assert books_of(shelf, "Bea") == {*KEYS}
    assert shelf.drift() == []
    assert shelf.fetch("SELECT FROM drift") == []


@pytest.mark.parametrize("shelf", [[]], indirect=True)
def test_a_row_too_long_for_an_index_that_is_being_built_ends_the_rebuild_with_its_view_named(
    shelf: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.store.migrate.FEW", 0)
    coming = library([("title", "name")], "pages")
    assert migrate(shelf.url, None, shelf.group, coming).rebuild == ("shown",)

    def late(step: Step) -> None:
        if step.phase == "indexing":
            assert shelf.given([author("a1", LONG)]).dead_letters == {}

    run = Rebuild(shelf.url, shelf.group, coming, coming.relations)
    with pytest.raises(DeclarationError, match=r"^shown: Postgres refuses a row of its query"):
        run.run(late)
    assert books_of(shelf, LONG) == {*KEYS}
    assert shelf.given([author("a1", "Ann")]).dead_letters == {}
    run.run()
    assert shelf.fetch("SELECT generation FROM served WHERE relation = 'shown'") == [(2,)]


@pytest.mark.parametrize("shelf", [[]], indirect=True)
@pytest.mark.parametrize("few", [0, 1_000])
def test_a_new_release_whose_query_has_no_value_for_a_row_is_told_in_a_line(
    shelf: World, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("projector.store.migrate.FEW", few)
    coming = halved()

    def build() -> None:
        migrate(shelf.url, None, shelf.group, coming)
        Rebuild(shelf.url, shelf.group, coming, coming.relations).run()

    with pytest.raises(DeclarationError, match=r"^shown: Postgres refuses a row of its query"):
        build()
    assert books_of(shelf, "Ann") == {*KEYS}

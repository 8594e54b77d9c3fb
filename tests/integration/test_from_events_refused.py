"""What Postgres refuses of a worker it refuses of a copy from the log, too, which writes entities in another way."""

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest
from msgspec import defstruct
from sqlalchemy import REAL, Boolean, Date, Float, Integer, Numeric, SmallInteger, Uuid

from projector.apply.loading import exact
from projector.declare import Entity, State
from projector.declare.projections import load
from projector.errors import DeclarationError
from tests.history import Past
from tests.integration.test_from_events import entities, from_events
from tests.shelf import BookAdded, book, make_list, projections, shelf
from tests.world import World


def test_what_postgres_refuses_is_the_same_dead_letter_in_a_copy(database_url: str) -> None:
    made = World(database_url, shelf())
    try:
        records = [book(f"b{n}", offset=n, pages=10**n, bought_at="2026-01-01T00:00:00.5+02:00") for n in range(25)]
        made.given(records)
        before = entities(made)
        assert [pages for _, _, _, pages, *_ in before["books"]] == [10**n for n in sorted(range(19), key=str)]
        assert [offset for _, _, offset, _ in made.dead_letters()] == list(range(19, 25))
        letters = made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1')
        from_events(made, Past(records)).run()
        assert entities(made) == before
        assert made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1') == letters
    finally:
        made.drop()


def test_a_text_too_long_for_an_index_is_the_same_dead_letter_in_a_copy_that_has_none_yet(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.operate.loading.BATCH", 4)
    noise = random.Random(1).randbytes(9_000).hex()
    made = World(database_url, shelf(lambda books: [make_list(books, "book_id")], indexes=["title"]))
    try:
        titles = [noise[:n] for n in (500, 900, 2_400, 4_000, 6_000, 18_000)] + ["x" * n for n in (5_000, 100_000)]
        titles += ["é" * 700 + noise[:n] for n in (1_000, 6_000)]
        records = [book(f"b{n}", offset=n, title=title) for n, title in enumerate([*titles, "short"])]
        records += [book("b0", offset=len(records), title=noise), book("b0", offset=len(records) + 1, title="new")]
        records.append(book("b99", offset=len(records), title="x" * 700 + "\0"))
        made.given(records, batch=1)
        letters = made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1')
        assert {5, 11, 13} <= {offset for offset, *_ in letters} <= {3, 4, 5, 9, 11, 13}
        assert {detail for *_, detail in letters} == {
            f"Postgres refuses it: SQLSTATE {code}" for code in (54000, "22P05")
        }
        before = entities(made)
        from_events(made, Past(records, size=1)).run()
        assert entities(made) == before
        assert made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1') == letters
        assert made.fetch("SELECT indexname FROM pg_indexes WHERE indexname = 'ix_books_title'") == [
            ("ix_books_title",)
        ]
    finally:
        made.drop()


def test_a_text_too_long_for_the_index_of_a_view_ends_a_copy_with_the_columns_named(database_url: str) -> None:
    made = World(database_url, shelf(lambda books: [make_list(books, indexes=[("shelf", "-title")])], indexes=[]))
    try:
        records = [book("b1", offset=0), book("b2", offset=1, title=random.Random(1).randbytes(9_000).hex())]
        assert made.given(records).dead_letters == {"unstorable": 1}
        before = made.views()
        with pytest.raises(DeclarationError, match=r"^book_list__g2 \(shelf, title DESC, book_id\): a text .*--abort"):
            from_events(made, Past(records)).run()
        from_events(made, Past(records)).abort()
        assert made.views() == before
    finally:
        made.drop()


Columns = list[tuple[Any, list[Any]]]
IN_TEXT: Columns = [  # annotation, and values of which the first one fits
    (Annotated[int, Integer()], [5, 2**31, 2**40]),
    (Annotated[int, SmallInteger()] | None, [5, 2**20, None]),
    (Annotated[float, Float()], [1.5, 1e300]),
    (Annotated[float, REAL()], [1.5, 1e300]),
    (Annotated[str, Uuid(as_uuid=False)], ["00000000-0000-0000-0000-000000000001", "none"]),
    (Annotated[str, Date()], ["2026-01-01", "2026-02-30"]),
    (Annotated[str, Numeric(38, 2)], ["7.10", "1e99"]),
    (Annotated[str, Boolean()], ["true", "no", "perhaps"]),
]
IN_BINARY: Columns = [
    (str, ["a", "a\0b", 5, True]),
    (int | None, [1, None, 10**30, "7", "x", True, 1.5, Decimal(2)]),
    (bool, [True, False, 1, 5, "yes", "x"]),
    (Decimal, [Decimal("1.50"), 7, True, 1.5, Decimal("1e99")]),
    (datetime, [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1), date(2026, 1, 1), 5]),
    (date, [date.min, "today?", datetime(2026, 1, 1, 23, tzinfo=UTC)]),
]


@pytest.mark.parametrize("columns", [IN_TEXT, IN_BINARY])
def test_a_value_of_whatever_type_is_in_a_copy_what_a_worker_makes_of_it(database_url: str, columns: Columns) -> None:
    fits = [values[0] for _, values in columns]
    rows = [fits, *([*fits[:n], odd, *fits[n + 1 :]] for n, (_, its) in enumerate(columns) for odd in its[1:])]
    fields = [("book_id", str), *((f"x{n}", annotation) for n, (annotation, _) in enumerate(columns))]
    state = defstruct("Kept", fields, bases=(State,), frozen=True)
    books = Entity[Any]("books", state=state, key="book_id", topic="books")

    @books.on(BookAdded)
    def added(kept: State | None, event: BookAdded) -> State:
        return state(event.book_id, *rows[event.pages])  # type: ignore[no-any-return]

    made = World(database_url, projections([books]))
    try:
        records = [book(f"b{n}", offset=n, pages=n) for n in range(len(rows))]
        made.given(records)
        before, letters = entities(made), made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1')
        assert letters
        assert before["books"]
        from_events(made, Past(records)).run()
        assert entities(made) == before
        assert made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1') == letters
    finally:
        made.drop()


def test_all_entities_of_the_shop_are_loaded_in_binary_form() -> None:
    assert [entity.name for entity in load("projections").entities if not exact(entity)] == []

"""Text in Postgres: folded and split as in Python, character by character, and made an index of."""

import unicodedata
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from projector.store.migrate import migrate
from projector.store.search_text import LEXEME
from projector.text import fold, words
from tests.model.histories import random_stream
from tests.world import World, world

# Characters that one of the two tables of Unicode, Python's or Postgres', does not know yet, are left out. The parser
# of Postgres knows small Cherokee letters only, folding goes to capital ones.
KNOWN = [
    c for c in map(chr, (*range(1, 0xD800), *range(0xE000, 0x110000)))
    if unicodedata.category(c) not in ("Cn", "Co") and not unicodedata.name(c, "").startswith("CHEROKEE")
]  # fmt: skip


@pytest.fixture(scope="module")
def postgres(shop: World) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with shop.connect() as connection:
        yield connection


def each(postgres: psycopg.Connection[tuple[object, ...]], asked: str, texts: list[str]) -> list[object]:
    rows = postgres.execute(
        f"SELECT {asked} FROM unnest(%s::text[]) WITH ORDINALITY AS u(t, n) ORDER BY n", [texts]
    ).fetchall()
    return [value for (value,) in rows]


def test_every_character_folds_the_same(postgres: psycopg.Connection[tuple[object, ...]]) -> None:
    found = each(postgres, "search_fold(t)", KNOWN)
    assert [(hex(ord(c)), f) for c, f in zip(KNOWN, found, strict=True) if f != fold(c)] == []


def test_every_character_splits_words_the_same(postgres: psycopg.Connection[tuple[object, ...]]) -> None:
    found = each(postgres, "search_words(t)::text", [f"a{c}b" for c in KNOWN])
    expected = [as_vector(words(f"a{c}b")) for c in KNOWN]
    assert [
        (hex(ord(c)), f, e) for c, f, e in zip(KNOWN, found, expected, strict=True) if set(str(f).split()) != e
    ] == []


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.sampled_from("ab0189e.,-_+@/: \n'\"\\éßÆ中١٢ﬁ½"), max_size=20), min_size=1, max_size=30))
def test_numbers_addresses_and_signs_are_split_the_same(
    postgres: psycopg.Connection[tuple[object, ...]], texts: list[str]
) -> None:
    found = each(postgres, "search_words(t)::text", texts)
    assert [set(str(f).split()) for f in found] == [as_vector(words(text)) for text in texts]


def as_vector(found: list[str]) -> set[str]:
    """A tsvector as text: each word with its positions."""
    return {
        f"'{LEXEME}{word}':{','.join(str(n) for n, other in enumerate(found, 1) if other == word)}" for word in found
    }


def test_the_index_of_words_is_made_where_it_is_wanted_and_answers(shop: World) -> None:
    query = "SELECT count(*) FROM pg_indexes WHERE schemaname = %s AND indexdef LIKE '%%USING gin%%'"
    views = f"{shop.group}_views"
    assert shop.fetch(query, views) == [(0,)]
    migrate(shop.url, None, shop.group, shop.projections, word_indexes=True)
    try:
        assert shop.fetch(query, views) == [(2,)]
        assert migrate(shop.url, None, shop.group, shop.projections, word_indexes=True) == []
    finally:
        dropped = migrate(shop.url, None, shop.group, shop.projections)
    assert len(dropped) == 2
    assert all("_words_" in line for line in dropped)
    assert shop.fetch(query, views) == [(0,)]


def test_of_an_index_made_over_rows_there_are_statistics_at_once(database_url: str) -> None:
    """Or a word with a typo's thousand forms would be expected in most rows, and all of them read."""
    with world(database_url) as shop:
        shop.given(random_stream(3, customers=20, products=20, orders=200))
        migrate(shop.url, None, shop.group, shop.projections, word_indexes=True)
        query = "SELECT tablename FROM pg_stats WHERE schemaname = %s AND tablename ~ '_words_' ORDER BY 1"
        views = [name for (name,) in shop.fetch(query, f"{shop.group}_views")]
        assert [name.split("__")[0] for name in views] == ["ix_customer_summary", "ix_order_overview"]

"""What q asks for, how one typo is told, and where a row's text holds what was found."""

from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projector.text import words
from read_api.search.breaker import Breaker
from read_api.search.highlights import LONGEST, highlights
from read_api.search.words import Phrase, Query, QueryError, Word, one_typo, read_query

SHORT = st.text("abcde", max_size=7)


def test_words_phrases_and_exclusions_are_told_apart() -> None:
    assert read_query('Red -"Old shoe" "big Hat" -x Café') == Query(
        (Word("red"), Phrase(("big", "hat")), Word("cafe", prefix=True)),
        (Phrase(("old", "shoe")), Phrase(("x",))),
        ("red", "cafe"),
    )


@pytest.mark.parametrize(
    ("q", "wanted"),
    [
        ("a b", (Word("a"), Word("b", True))),
        ("a-b", (Word("a"), Word("b", True))),
        ('a "b', (Word("a"), Phrase(("b",)))),
        ('a"b c"', (Word("a"), Phrase(("b", "c")))),
        ("a -b", (Word("a", True),)),
        ("a a", (Word("a"), Word("a", True))),
        ("- a", (Word("a", True),)),
        ("", ()),
        (" \t", ()),
    ],
)
def test_the_last_word_alone_is_a_prefix(q: str, wanted: tuple[Word | Phrase, ...]) -> None:
    assert read_query(q).wanted == wanted


@pytest.mark.parametrize("q", ["a" * 257, "a " * 13, "x" * 65, "-", '""', "…", "ﷺ" * 5])
def test_what_is_too_much_or_nothing_is_refused(q: str) -> None:
    with pytest.raises(QueryError):
        read_query(q)


@given(st.text(max_size=300))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    try:
        found = read_query(text)
    except QueryError:
        return
    asked = [w.text if isinstance(w, Word) else " ".join(w.words) for w in found.wanted]
    assert all(words(each) == each.split() for each in asked)


@given(SHORT, SHORT)
def test_one_typo_is_an_edit_distance_of_one_with_neighbours_swapped(a: str, b: str) -> None:
    edits = {a[:n] + a[n + 1 :] for n in range(len(a))}
    edits |= {a[:n] + c + a[n + 1 :] for n in range(len(a)) for c in "abcde"}
    edits |= {a[:n] + c + a[n:] for n in range(len(a) + 1) for c in "abcde"}
    edits |= {a[:n] + a[n + 1] + a[n] + a[n + 2 :] for n in range(len(a) - 1)}
    assert one_typo(a, b) == (b in edits - {a})


@given(st.text("abcxyzäß", min_size=5, max_size=9), st.text("abcxyz019", min_size=4, max_size=10))
def test_variants_are_the_words_that_one_typo_makes(text: str, other: str) -> None:
    (word,) = words(text)[:1] or ["castle"]
    variants = Word(word).variants()
    assert all(one_typo(word, variant) for variant in variants if variant)
    assert (other in variants) == one_typo(word, other)


def test_numbers_and_short_words_are_exact() -> None:
    assert Word("castle").forgiving
    assert not Word("cast").forgiving
    assert not Word("castle1").forgiving
    assert not Word("x" * 21).forgiving


@given(st.text(max_size=40), st.text(max_size=10))
def test_a_highlight_is_the_text_itself_with_marks(text: str, q: str) -> None:
    try:
        query = read_query(f"{q} {text[:30]}")
    except QueryError:
        return
    for shown in highlights(query, ["name"], {"name": text}).get("name", []):
        assert unescape(shown.replace("<em>", "").replace("</em>", "")) == text
        assert "<em>" in shown


def test_marks_are_around_whole_words_with_their_accents() -> None:
    query = read_query("chloe strasse")
    text = "CHLOE\u0301, Straße 1 <ﬁn>"
    shown = highlights(query, ["name"], {"name": text})
    assert shown == {"name": ["<em>CHLOE\u0301</em>, <em>Straße</em> 1 &lt;ﬁn&gt;"]}


def test_a_long_text_is_cut_around_what_was_found() -> None:
    (shown,) = highlights(read_query("red"), ["t"], {"t": "x " * 300 + "red" + " y" * 300})["t"]
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) == LONGEST + len("……<em></em>")


def test_the_breaker_lets_one_look_after_a_while() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    assert breaker.lets_through()
    breaker.failed()
    assert not breaker.lets_through()
    now = 5.0
    assert [breaker.lets_through() for _ in range(3)] == [True, False, False]
    breaker.failed()
    now = 9.9
    assert not breaker.lets_through()
    now = 10.0
    assert breaker.lets_through()
    breaker.worked()
    assert [breaker.lets_through() for _ in range(3)] == [True, True, True]

"""Which rows the words of `q` find, and in which order: against Elasticsearch and against Postgres."""

import pytest

from tests.integration.searching import Searched, order, orders, patient

__all__ = ["orders", "patient"]  # the fixtures

SYNTAX = [
    "*", "?", "re*", "r?d", "/r.d/", "red OR blue", "order_id:o1", "red^9", "red~", "'red':* | 'x'", "a & !b", "\\",
    "(red", "red\\'", "[a TO b]", "{}", '{"match_all":{}}', "%", "$1", "'; --", "<->", "😀", "-", '"', '-"', '""',
]  # fmt: skip


async def test_all_words_must_match_in_whatever_fields(orders: Searched) -> None:
    await orders.given(
        order("o1", "red shoe", customer_name="Ann Castle"),
        order("o2", "red hat", customer_name="Ann Castle"),
        order("o3", "red shoe", customer_name="Bob Stone"),
    )
    assert await orders.keys("shoe ann") == ["o1"]
    assert await orders.keys("red") == ["o1", "o2", "o3"]
    assert await orders.keys("ann bob") == []


async def test_case_accents_and_compatibility_forms_do_not_matter(orders: Searched) -> None:
    await orders.given(
        order("o1", customer_name="Chloé Müller"),
        order("o2", customer_name="ŁÓDŹ"),
        order("o3", customer_name="Straße"),
    )
    assert await orders.keys("CHLOE muller") == ["o1"]
    assert await orders.keys("chloé") == ["o1"]
    assert await orders.keys("chloe\u0301") == ["o1"]
    assert await orders.keys("lodz") == ["o2"]
    assert await orders.keys("STRASSE") == ["o3"]


async def test_the_last_word_is_also_a_prefix_and_only_the_last(orders: Searched) -> None:
    await orders.given(order("o1", "red", customer_name="Castle"), order("o2", "reddish", customer_name="Castilla"))
    assert await orders.keys("cas") == ["o1", "o2"]
    assert await orders.keys("c") == ["o1", "o2"]
    assert await orders.keys("castle") == ["o1"]
    assert await orders.keys("red cas") == ["o1"]
    assert await orders.keys("cas red") == []
    assert await orders.keys('"cas"') == []
    assert await orders.keys("castlemania") == []


@pytest.mark.parametrize("typo", ["chole", "chlpe", "chloee", "xhloe", "hcloe", "cchloe", "schloe", "chlöé", "CHLOA"])
async def test_one_typo_in_a_longer_word_is_forgiven(orders: Searched, typo: str) -> None:
    await orders.given(order("o1", customer_name="Chloe"), order("o2", customer_name="Clara"))
    assert await orders.keys(typo) == ["o1"]


async def test_two_typos_one_in_a_short_word_and_one_in_an_id_are_not_forgiven(orders: Searched) -> None:
    await orders.given(order("order-1234", "shoe", customer_name="Castle"), order("order-1235", "show"))
    assert await orders.keys("xxstle") == []
    assert await orders.keys("castlexy") == []
    assert await orders.keys("shoe") == ["order-1234"]
    assert await orders.keys("order-1234") == ["order-1234"]
    assert await orders.keys("order-1243") == []


async def test_a_phrase_is_found_as_it_is_in_one_value(orders: Searched) -> None:
    await orders.given(
        order("o1", "red shoe"), order("o2", "shoe red"), order("o3", "red", "shoe"), order("o4", "very red shoe"),
        order("o5", "red shoes"), order("o6", customer_name="red", customer_email="shoe"),
    )  # fmt: skip
    assert await orders.keys('"red shoe"') == ["o1", "o4"]
    assert await orders.keys('"RED  shoe') == ["o1", "o4"]
    assert set(await orders.keys("red shoe")) == {"o1", "o2", "o3", "o4", "o5", "o6"}
    assert await orders.keys('"red shoe" very') == ["o4"]


async def test_a_word_or_a_phrase_is_excluded(orders: Searched) -> None:
    await orders.given(order("o1", "red shoe"), order("o2", "red hat"), order("o3", "blue hat"), order("o4", "hat red"))
    assert await orders.keys("hat -red") == ["o3"]
    assert await orders.keys('-"red hat"') == ["o1", "o3", "o4"]
    assert await orders.keys('hat -"red hat" -blue') == ["o4"]
    assert await orders.keys("-red-hat") == ["o1", "o3", "o4"]
    assert await orders.keys("-re") == ["o1", "o2", "o3", "o4"]


async def test_a_full_id_finds_its_row_first(orders: Searched) -> None:
    await orders.given(
        order("a-1", "o-7", customer_name="o 7"), order("o-7"), order("o-70", customer_name="o 7"), order("o-71")
    )
    assert (await orders.keys("o-7"))[0] == "o-7"
    assert (await orders.keys("O-7"))[0] == "o-7"
    assert set(await orders.keys("o-7")) == {"a-1", "o-7", "o-70", "o-71"}


async def test_boosts_come_before_how_a_word_is_found_and_the_key_breaks_ties(orders: Searched) -> None:
    await orders.given(
        order("o1", carrier="Castle"),
        order("o2", "castle"),
        order("o3", customer_name="Castle"),
        order("castle"),
        order("o4", "castles"),
        order("o5", "cattle"),
        order("o6", "castle"),
    )
    found = await orders.find("castle")
    assert [(hit["row"]["order_id"], hit["score"]) for hit in found["data"]] == [
        ("castle", 10.0025), ("o3", 3), ("o2", 2), ("o6", 2), ("o1", 1), ("o4", 1), ("o5", 0.5),
    ]  # fmt: skip


async def test_what_looks_like_query_syntax_is_words(orders: Searched) -> None:
    await orders.given(order("o1", "red"), order("o2", "or"))
    for q in SYNTAX:
        answer = await orders.get(q)
        assert answer.status_code in (200, 400), (q, answer.text)
    assert await orders.keys("re*") == ["o1"]
    assert await orders.keys("red OR") == []

"""`Prejoin-Min-Position` and `Prefer`, as clients may write them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from read_api.freshness import Freshness, parse_positions, reached, read_wait


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (["wait=5"], 5),
        (["WAIT = 5"], 5),
        (['wait="5"'], 5),
        (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5"], 5),
        (['foo="a, wait=9; b", wait=5'], 5),
        (['foo; bar="x\\", wait=9", wait=5; baz'], 5),
        (["wait=5; x=1, handling=lenient"], 5),
        (["wait=5, wait=9"], 5),
        (["wait=31"], 30),
        (["wait=" + "9" * 5_000], 30),
        (["wait=0"], 0),
        (["wait=000005"], 5),
        (["wait"], None),
        (["wait="], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=soon"], None),
        (["wait=soon, wait=5"], None),
        (["waiting=5"], None),
        (["x=wait"], None),
        (["", " , ", "return=minimal"], None),
        ([", wait=5"], 5),
        ([], None),
    ],
    ids=lambda v: str(v)[:40],
)
def test_prefer_wait_is_read_as_rfc_7240_has_it(lines: list[str], seconds: int | None) -> None:
    assert read_wait(lines) == seconds


@given(st.lists(st.text(alphabet='wait=5;, "\\x\t', max_size=40), max_size=3))
def test_no_prefer_header_makes_reading_fail(lines: list[str]) -> None:
    assert read_wait(lines) in (None, *range(31))


def test_a_hostile_header_costs_no_time() -> None:
    started = time.perf_counter()
    for hostile in ("a" + "; " * 20_000 + "\x01", '"' * 40_001, "a=" + " " * 40_000, '"\\' * 20_000, "," * 40_000):
        read_wait([hostile])
    assert time.perf_counter() - started < 1


def test_positions_are_read_and_the_highest_of_a_partition_counts() -> None:
    assert parse_positions(["orders/0@12", " a.b-c_d/3@0 ", "orders/0@9"]) == {("orders", 0): 12, ("a.b-c_d", 3): 0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders",
        "orders/0",
        "orders@1",
        "orders/0@",
        "orders/0@-1",
        "orders/0@1.5",
        "/0@1",
        "a/b/0@1",
        "orders/0@" + "9" * 30,
        "o/٣@1",
        "é/0@1",
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should be positions"):
        parse_positions([text])


def test_positions_are_reached_when_each_is_applied_and_never_for_an_unknown_partition() -> None:
    applied = {("orders", 0): 12, ("payments", 0): 3}
    assert reached({("orders", 0): 12}, applied)
    assert not reached({("orders", 0): 13}, applied)
    assert not reached({("orders", 0): 12, ("payments", 0): 4}, applied)
    assert not reached({("orders", 1): 0}, applied)


def test_headers_that_cannot_be_told_yet_are_left_out() -> None:
    assert Freshness(None, None, []).headers() == {}

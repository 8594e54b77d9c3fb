"""Cursors: what goes in comes out, and nothing else is taken for one."""

import base64
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projector.declare.projections import load
from read_api.cursors import CursorError, decode, encode, query_digest
from read_api.resource import Resource
from read_api.statements import Condition

DAYS = Resource(load("projections").relation("sales_by_day"))
ORDERS = Resource(load("projections").relation("order_overview"))
BY_GROSS = (("gross", True),)
DIGEST = query_digest(DAYS, (), BY_GROSS)


def a_cursor(values: str = '["12.50","2026-01-01",null,"EUR"]') -> str:
    return encode(DIGEST, values)


def decoded(cursor: str) -> tuple[Any, ...]:
    return decode(cursor, DIGEST, DAYS.order(BY_GROSS))


def test_values_come_back_with_their_types_nulls_included() -> None:
    assert decoded(a_cursor()) == (Decimal("12.50"), date(2026, 1, 1), None, "EUR")
    digest = query_digest(ORDERS, (), (("placed_at", False),))
    cursor = encode(digest, '["0001-01-01T00:00:00.000001Z","o1"]')
    assert decode(cursor, digest, ORDERS.order((("placed_at", False),))) == (datetime(1, 1, 1, 0, 0, 0, 1, UTC), "o1")


def test_a_cursor_is_safe_in_a_url() -> None:
    cursor = a_cursor('["12.50","2026-01-01","ÿþ??>>","EUR"]')
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    "values",
    [
        '["12.50","2026-01-01",null]',  # one too few
        '["12.50","2026-01-01",null,"EUR","x"]',
        '["much","2026-01-01",null,"EUR"]',
        '["12.50","2026-02-30",null,"EUR"]',
        '[12.5,"2026-01-01",null,"EUR"]',
        '["12.50","2026-01-01",null,"\\u0000"]',
        '["12.50","2026-01-01",null,"\\ud800"]',
        '{"a":1}',
        "[" * 100_000,
        "nonsense",
        "",
    ],
    ids=lambda v: str(v)[:40],
)
def test_values_that_no_row_has_are_refused(values: str) -> None:
    with pytest.raises(CursorError):
        decoded(a_cursor(values))


def test_a_key_that_is_never_null_is_not_taken_as_null() -> None:
    digest = query_digest(ORDERS, (), ())
    with pytest.raises(CursorError):
        decode(encode(digest, "[null]"), digest, ORDERS.order(()))


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(DIGEST + raw).decode()))
def test_anything_else_is_refused_without_another_error(text: str) -> None:
    with pytest.raises(CursorError):
        decoded(text)


def test_a_cursor_is_bound_to_view_filters_and_sort_in_whatever_order_they_came() -> None:
    one, two = Condition("status", "eq", ("paid", "pending")), Condition("total", "gte", (Decimal(1),))
    bound = query_digest(ORDERS, (one, two), BY_GROSS)
    assert bound == query_digest(ORDERS, (two, Condition("status", "eq", ("pending", "paid"))), BY_GROSS)
    others = [
        query_digest(DAYS, (one, two), BY_GROSS),
        query_digest(ORDERS, (one,), BY_GROSS),
        query_digest(ORDERS, (Condition("status", "ne", ("paid", "pending")), two), BY_GROSS),
        query_digest(ORDERS, (one, two), (("gross", False),)),
        query_digest(ORDERS, (one, two), ()),
    ]
    assert bound not in others

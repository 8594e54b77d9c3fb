"""The document of a row: exact keywords that sort as values do, folded words, and the row as it is."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Boolean, Date, Integer

from projector.declare import Instant, Money, Search, String, View, WholeNumber
from projector.declare.projections import load
from projector.search.document import Document
from projector.search.sortable import number, sortable, whole_number

ORDER = {
    "order_id": "O-1:a",
    "status": "paid",
    "placed_at": "2026-01-02T03:04:05.5Z",
    "currency": "EUR",
    "total": "1050.00",
    "line_count": 2,
    "customer_id": "c1",
    "customer_name": "Chloé Łukasz",
    "customer_email": None,
    "customer_country": "FR",
    "customer_segment": None,
    "lines": [
        {"line": 1, "product_id": "p1", "product_name": "Red shoe", "category": "shoes", "quantity": 2,
         "unit_price": "500.00", "discount": "0.0125", "amount": "1000.00"},
        {"line": 2, "product_id": "p2", "product_name": None, "category": None, "quantity": 1,
         "unit_price": "50.00", "discount": "0", "amount": "50.00"},
    ],
    "payment_status": "captured",
    "paid_amount": "1050.00",
    "refunded_amount": "0.00",
    "stock_status": "none",
    "shipment_status": "none",
    "carrier": None,
    "dispatched_at": None,
    "delivered_at": None,
    "cancel_reason": None,
    "updated_at": "2026-01-02T03:04:06Z",
}  # fmt: skip


def order_overview() -> View:
    view = load("projections").relation("order_overview")
    assert isinstance(view, View)
    return view


def test_the_document_of_an_order() -> None:
    document = Document(order_overview(), "prejoin").of(ORDER)
    assert document["row"] is ORDER
    assert document["text"] == {
        "order_id": "o 1 a", "customer_name": "chloe lukasz", "lines": {"product_name": ["red shoe"]},
    }  # fmt: skip
    assert document["whole"] == {"order_id": "o-1:a", "customer_name": "chloe lukasz"}
    known = document["is"]
    assert (known["order_id"], known["status"]) == ("O-1:a", "paid")
    assert (known["placed_at"], known["updated_at"]) == ("2026-01-02T03:04:05.500000Z", "2026-01-02T03:04:06.000000Z")
    assert (known["total"], known["line_count"]) == ("p0000041050", "p0000012")
    assert known["lines"] == {
        "line": ["p0000011", "p0000012"], "product_id": ["p1", "p2"], "product_name": ["Red shoe"],
        "category": ["shoes"], "quantity": ["p0000012", "p0000011"], "unit_price": ["p000003500", "p00000250"],
        "discount": ["p0000010.0125", "p0000010"], "amount": ["p0000041000", "p00000250"],
    }  # fmt: skip
    assert not {"customer_email", "carrier", "dispatched_at"} & known.keys()


def test_names_follow_from_view_and_group() -> None:
    assert Document(order_overview(), "prejoin").index_name(3, 1) == "order_overview__g3_s1"
    assert Document(order_overview(), "other").index_name(3, 12) == "other.order_overview__g3_s12"
    assert (Document(order_overview(), "prejoin").alias, Document(order_overview(), "other").alias) == (
        "order_overview", "other.order_overview",
    )  # fmt: skip


def test_each_field_of_a_document_is_in_the_mapping() -> None:
    document = Document(order_overview(), "prejoin")

    def missing(value: Any, mapping: dict[str, Any], path: str) -> list[str]:
        if not isinstance(value, dict) or not mapping.get("enabled", True):
            return []
        inside = mapping.get("properties", {})
        return [f"{path}{n}" for n in value.keys() - inside.keys()] + [
            found for n in value.keys() & inside.keys() for found in missing(value[n], inside[n], f"{path}{n}.")
        ]

    whole = {name: "x" if value is None else value for name, value in ORDER.items()}
    whole |= dict.fromkeys(("dispatched_at", "delivered_at"), "2026-01-01T00:00:00Z")
    assert missing(document.of(whole), document.mapping, "") == []
    assert missing({"is": {"odd": "x"}}, document.mapping, "") == ["is.odd"]
    json.dumps(document.mapping)


def searched(**search: Any) -> Document:
    view = order_overview()
    view = View("v", path="v", key="order_id", query=view.query, search=Search(**search))
    assert view.problems == []
    return Document(view, "prejoin")


def test_what_is_asked_only_makes_no_other_index_and_what_documents_hold_does() -> None:
    one = searched(text={"order_id": 5}, facets=["status"])
    assert searched(text={"order_id": 1}, facets=["currency"]).digest == one.digest
    assert searched(text={"order_id": 5, "carrier": 1}, facets=["status"]).digest != one.digest


numbers = st.decimals(-(10**20), 10**20, allow_nan=False, places=6) | st.integers(-(10**40), 10**40).map(Decimal)


@given(numbers, numbers)
def test_numbers_sort_as_they_are_and_are_equal_where_they_are(one: Decimal, other: Decimal) -> None:
    assert (number(one) < number(other)) == (one < other)
    assert (number(one) == number(other)) == (one == other)


@given(st.integers(-(10**40), 10**40))
def test_whole_numbers_are_read_back(n: int) -> None:
    assert whole_number(sortable(WholeNumber, n)) == n


@pytest.mark.parametrize("same", [["0", "-0.00", 0, Decimal("0.0")], ["12.50", "12.5", Decimal("012.500")], [7, "7"]])
def test_a_number_has_one_form(same: list[Any]) -> None:
    assert len({sortable(Money, value) for value in same}) == 1


instants = st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30)))).filter(
    lambda at: 2 <= at.year <= 9998
)


@given(instants, instants)
def test_times_sort_as_instants(one: datetime, other: datetime) -> None:
    assert (sortable(Instant, one) < sortable(Instant, other)) == (one < other)


def test_a_time_has_one_form() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 500_000, UTC)
    assert sortable(Instant, at) == sortable(Instant, "2026-01-02T03:04:05.5Z") == "2026-01-02T03:04:05.500000Z"
    assert sortable(Instant, "0044-03-15T00:00:00Z") == sortable(Instant, datetime(44, 3, 15, tzinfo=UTC))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(texts, texts)
def test_texts_sort_byte_by_byte(one: str, other: str) -> None:
    keywords = [sortable(String, text).encode() for text in (one, other)]
    assert (keywords[0] < keywords[1]) == (one.encode() < other.encode())


def test_a_long_text_is_cut_to_what_the_index_takes() -> None:
    assert len(sortable(String, "\N{GRINNING FACE}" * 20_000).encode()) <= 32_766


def test_dates_and_booleans() -> None:
    assert sortable(Date(), date(2026, 1, 31)) == sortable(Date(), "2026-01-31") == "2026-01-31"
    assert [sortable(Boolean(), value) for value in (False, True)] == ["false", "true"]
    assert sortable(Integer(), 3) == "p0000013"

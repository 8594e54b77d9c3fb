"""What tests of views are written with: given these events, when this one comes, then this is the row."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from projector.testing import Views
from schemas.contract import Contract
from schemas.customers import CustomerNameChanged, CustomerRegistered
from schemas.orders import OrderPlaced
from tests.world import World

ANN = CustomerRegistered(customer_id="c1", name="Ann", email="a@b", country="DE")
RENAMED = CustomerNameChanged(customer_id="c1", name="Anne")


def order(order_id: str) -> Contract:
    line: dict[str, Any] = {"line": 1, "product_id": "p", "quantity": 2, "unit_price": Decimal("1.50")}
    told = {"order_id": order_id, "customer_id": "c1", "currency": "EUR", "lines": [line]}
    return OrderPlaced.model_validate(told | {"placed_at": datetime(2026, 1, 2, tzinfo=UTC)})


def test_a_rename_reaches_every_order_of_the_customer(views: Views) -> None:
    placed = {"customer_name": "Anne", "total": "3.00", "placed_at": "2026-01-02T00:00:00Z"}
    views.given(order("o1"), ANN, order("o2")).when(RENAMED).then("order_overview", {"o1": placed, "o2": placed})


def test_repeats_of_an_event_are_told_as_such(views: Views, of_the_shop: World) -> None:
    views.given(ANN, order("o1")).when(order("o2"), times=3).then("customer_summary", {"c1": {"orders": 2}})
    assert of_the_shop.fetch("SELECT next FROM positions WHERE topic = 'orders'") == [(5,)]  # all four came


def test_rows_of_several_key_columns_and_rows_that_are_not_there_are_told_too(views: Views) -> None:
    views.given(ANN).when(order("o1"))
    views.then("sales_by_day", {("2026-01-02", "DE", "EUR"): {"orders": 1}, ("2026-01-02", "FR", "EUR"): None})


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({"o1": {"customer_name": "Bea"}}, "order_overview o1: the row has\n  {'customer_name': 'Ann'}\nnot\n"),
        ({"o2": {"customer_name": "Ann"}}, "order_overview o2: the row has\n  None\nnot\n"),
        ({"o1": None}, "order_overview o1: the row has\n  {'order_id': 'o1', "),
    ],
)
def test_a_row_that_is_another_is_shown_beside_what_was_wanted(views: Views, rows: dict[Any, Any], told: str) -> None:
    with pytest.raises(AssertionError) as raised:
        views.given(ANN, order("o1")).then("order_overview", rows)
    assert str(raised.value).startswith(told)


def test_an_event_that_becomes_a_dead_letter_is_told(views: Views) -> None:
    with pytest.raises(AssertionError, match="a dead letter: orphan"):
        views.given().when(RENAMED)


def test_a_view_that_is_not_its_query_is_told_whichever_was_asked_for(views: Views, of_the_shop: World) -> None:
    views.given(ANN, order("o1"))
    of_the_shop.execute(f"UPDATE {of_the_shop.table('customer_summary')} SET name = 'Bea'")
    with pytest.raises(AssertionError, match=r"not what their queries say: .*customer_summary"):
        views.then("order_overview", {"o1": {"customer_name": "Ann"}})

"""The folds of the shop: given these events, when this one comes, then this is the state."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from projections.customers import Customer
from projections.orders import Line, Order, orders
from projections.payments import Payment
from projections.products import Product
from projections.shipments import Shipment
from projections.stock import Stock
from projector.apply.aggregates import Verdict
from projector.testing import given
from schemas import registry
from schemas.catalog import ProductAdded, ProductDiscontinued, ProductRenamed, ProductRepriced
from schemas.contract import Contract
from schemas.customers import (
    CustomerEmailChanged,
    CustomerErased,
    CustomerMoved,
    CustomerNameChanged,
    CustomerRegistered,
)
from schemas.inventory import StockReleased, StockReservationFailed, StockReserved
from schemas.orders import OrderCancelled, OrderPlaced
from schemas.payments import PaymentAuthorized, PaymentCaptured, PaymentFailed, PaymentRefunded
from schemas.shipping import ShipmentDelivered, ShipmentDispatched, ShipmentReturned
from tests import shop


def orphan(data: Contract) -> bool:
    return given().when(data).verdicts == [Verdict.ORPHAN, Verdict.ORPHAN]


def at(day: int) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC)


# Customers

REGISTERED = CustomerRegistered(customer_id="1", name="Ann", email="a@b", country="DE", segment="retail")
ANN = Customer("1", "Ann", "a@b", "DE", "retail")
BLANK = Customer("1", country="DE", erased=True)
ERASED = CustomerErased(customer_id="1")


def test_a_customer_is_registered() -> None:
    given().when(REGISTERED).then(ANN)


def test_registered_anew_replaces_all_and_absent_fields_are_null() -> None:
    anew = CustomerRegistered(customer_id="1", name="Bea", email="b@b", country="FR")
    given(REGISTERED).when(anew).then(Customer("1", "Bea", "b@b", "FR", None))


def test_a_customer_changes_name_email_and_country() -> None:
    given(REGISTERED).when(CustomerNameChanged(customer_id="1", name="Bea")).then(ANN.replace(name="Bea"))
    given(REGISTERED).when(CustomerEmailChanged(customer_id="1", email="n@b")).then(ANN.replace(email="n@b"))
    given(REGISTERED).when(CustomerMoved(customer_id="1", country="FR")).then(ANN.replace(country="FR"))


def test_an_erased_customer_keeps_id_and_country() -> None:
    given(REGISTERED).when(ERASED).then(BLANK)


def test_erasure_creates_a_customer_that_was_never_registered() -> None:
    given().when(ERASED).then(Customer("1", erased=True))


def test_an_erased_customers_country_goes_on_and_nothing_else_comes_back() -> None:
    given(REGISTERED, ERASED).when(CustomerNameChanged(customer_id="1", name="Bea")).then(BLANK)
    given(REGISTERED, ERASED).when(CustomerEmailChanged(customer_id="1", email="n@b")).then(BLANK)
    given(REGISTERED, ERASED).when(CustomerMoved(customer_id="1", country="FR")).then(BLANK.replace(country="FR"))
    given(ERASED).when(REGISTERED).then(BLANK)
    given(REGISTERED, ERASED).when(ERASED).then(BLANK)


# Products

ADDED = ProductAdded(product_id="1", name="Pen", category="office", brand="acme", price=Decimal("2.50"))
PEN = Product("1", "Pen", "office", Decimal("2.50"), "acme")


def test_a_product_is_added_renamed_repriced_and_discontinued() -> None:
    given().when(ADDED).then(PEN)
    given(ADDED).when(ProductRenamed(product_id="1", name="Quill")).then(PEN.replace(name="Quill"))
    given(ADDED).when(ProductRepriced(product_id="1", price=Decimal("3"))).then(PEN.replace(price=Decimal("3")))
    given(ADDED).when(ProductDiscontinued(product_id="1")).then(PEN.replace(discontinued=True))


def test_a_product_added_anew_stays_discontinued() -> None:
    anew = ProductAdded(product_id="1", name="Quill", category="antique", price=Decimal("9"))
    expected = Product("1", "Quill", "antique", Decimal("9"), None, discontinued=True)
    given(ADDED, ProductDiscontinued(product_id="1")).when(anew).then(expected)


# Orders


def placed(*lines: dict[str, Any], **changes: Any) -> OrderPlaced:
    plain = {"line": 1, "product_id": "p", "quantity": 1, "unit_price": Decimal("1.00")}
    head = {"order_id": "1", "customer_id": "c", "currency": "EUR", "placed_at": at(1)}
    numbered = [{**plain, "line": number, **line} for number, line in enumerate(lines or [{}], 1)]
    return OrderPlaced.model_validate({**head, "lines": numbered, **changes})


def order(*amounts: str, **changes: Any) -> Order:
    lines = tuple(Line(n, "p", 1, Decimal(a), Decimal(0), Decimal(a)) for n, a in enumerate(amounts or ["1.00"], 1))
    total = sum((line.amount for line in lines), Decimal("0.00"))
    return Order("1", "c", "EUR", at(1), lines, len(lines), len(lines), total).replace(**changes)


def test_an_order_is_placed() -> None:
    given().when(placed({}, {"unit_price": Decimal("2.50")})).then(order("1.00", "2.50"))


@pytest.mark.parametrize(
    ("quantity", "price", "discount", "amount"),
    [
        (3, "19.99", "0", "59.97"),
        (1, "0.05", "0.5", "0.02"),  # 0.025, half to even
        (1, "0.15", "0.5", "0.08"),  # 0.075
        (3, "0.01", "0.5", "0.02"),  # 0.015
        (1, "10.00", "0.3333", "6.67"),
        (7, "9.99", "1", "0.00"),
        (1_000_000, "9999999999999.99", "0.0001", "9998999999999990001.00"),
    ],
)
def test_the_amount_of_a_line_is_rounded_half_to_even_to_cents(
    quantity: int, price: str, discount: str, amount: str
) -> None:
    event = placed({"quantity": quantity, "unit_price": Decimal(price), "discount": Decimal(discount)})
    folded = orders.folds[OrderPlaced].function(None, event)
    assert isinstance(folded, Order)
    assert (folded.lines[0].amount, folded.total, folded.units) == (Decimal(amount), Decimal(amount), quantity)
    assert str(folded.total) == amount


def test_a_thousand_of_the_largest_lines_add_up_to_the_cent() -> None:
    largest = {"quantity": 1_000_000, "unit_price": Decimal("9999999999999.99")}
    folded = orders.folds[OrderPlaced].function(None, placed(*[largest] * 1_000))
    assert isinstance(folded, Order)
    assert str(folded.total) == "9999999999999990000000.00"


CANCELLED = OrderCancelled(order_id="1", reason="changed my mind")


def test_an_order_is_cancelled_for_good_and_the_latest_reason_counts() -> None:
    cancelled = order(cancelled=True, cancel_reason="changed my mind")
    given(placed()).when(CANCELLED).then(cancelled)
    later = OrderCancelled(order_id="1", reason="again")
    given(placed(), CANCELLED).when(later).then(cancelled.replace(cancel_reason="again"))


def test_an_order_placed_anew_replaces_all_and_stays_cancelled() -> None:
    anew = placed({"unit_price": Decimal("7.00")}, customer_id="d")
    expected = order("7.00", customer_id="d", cancelled=True, cancel_reason="changed my mind")
    given(placed({}, {}), CANCELLED).when(anew).then(expected)


# Payments


def payment(contract: type[Contract], amount: str = "5", currency: str = "EUR", order_id: str = "o") -> Contract:
    data = {"payment_id": "1", "order_id": order_id, "amount": Decimal(amount), "currency": currency}
    return contract.model_validate(data)


FAILED = PaymentFailed(payment_id="1", order_id="o", reason="no funds")


def test_captures_and_refunds_add_up_by_currency() -> None:
    captured = [payment(PaymentCaptured, "5"), payment(PaymentCaptured, "2.50", "USD")]
    expected = Payment("1", "o", captured={"EUR": Decimal("5.10"), "USD": Decimal("2.50")})
    given(*captured).when(payment(PaymentCaptured, "0.10")).then(expected)
    refunded = given(*captured, payment(PaymentCaptured, "0.10")).when(payment(PaymentRefunded, "1"))
    refunded.then(expected.replace(refunded={"EUR": Decimal("1.00")}))


def test_a_payment_is_authorized_once_and_for_all_even_if_it_fails_later() -> None:
    given(payment(PaymentAuthorized)).when(FAILED).then(Payment("1", "o", authorized=True, failed=True))
    given(FAILED).when(payment(PaymentAuthorized)).then(Payment("1", "o", authorized=True, failed=True))


def test_a_payment_belongs_to_the_order_that_its_first_event_names() -> None:
    late = payment(PaymentCaptured, "5", order_id="another")
    given(FAILED).when(late).then(Payment("1", "o", failed=True, captured={"EUR": Decimal("5.00")}))


# Shipments

DISPATCHED = ShipmentDispatched(shipment_id="1", order_id="o", carrier="dhl", dispatched_at=at(3))
SENT = Shipment("1", "o", "dhl", at(3))


def test_of_two_dispatches_the_earlier_counts_and_of_two_deliveries_the_later() -> None:
    given().when(DISPATCHED).then(SENT)
    earlier = ShipmentDispatched(shipment_id="1", order_id="x", carrier="ups", dispatched_at=at(2))
    given(DISPATCHED).when(earlier).then(Shipment("1", "o", "ups", at(2)))
    given(earlier).when(DISPATCHED).then(Shipment("1", "x", "ups", at(2)))
    fifth, fourth = (ShipmentDelivered(shipment_id="1", order_id="o", delivered_at=at(day)) for day in (5, 4))
    given(DISPATCHED, fifth).when(fourth).then(SENT.replace(delivered_at=at(5)))
    given(DISPATCHED, fourth).when(fifth).then(SENT.replace(delivered_at=at(5)))


def test_delivered_and_returned_undo_nothing_of_each_other() -> None:
    delivered = ShipmentDelivered(shipment_id="1", order_id="o", delivered_at=at(5))
    returned = ShipmentReturned(shipment_id="1", order_id="o", reason="broken")
    both = Shipment("1", "o", delivered_at=at(5), returned=True)
    given(delivered).when(returned).then(both)
    given(returned).when(delivered).then(both)


# Stock


def test_the_last_event_decides_on_the_stock() -> None:
    reserved = StockReserved(order_id="1", warehouse="w")
    failed = StockReservationFailed(order_id="1", reason="none left")
    released = StockReleased(order_id="1")
    given().when(reserved).then(Stock("1", "reserved"))
    given(reserved).when(failed).then(Stock("1", "failed"))
    given(failed).when(released).then(Stock("1", "released"))
    given(released).when(reserved).then(Stock("1", "reserved"))


# All of them


def data_of_all() -> Iterable[Contract]:
    yield from (REGISTERED, ERASED, CANCELLED, ADDED, FAILED, DISPATCHED, placed())
    yield from (payment(c) for c in (PaymentAuthorized, PaymentCaptured, PaymentRefunded))
    yield CustomerNameChanged(customer_id="1", name="x")
    yield CustomerEmailChanged(customer_id="1", email="x")
    yield CustomerMoved(customer_id="1", country="DE")
    yield ProductRenamed(product_id="1", name="x")
    yield ProductRepriced(product_id="1", price=Decimal(1))
    yield ProductDiscontinued(product_id="1")
    yield StockReserved(order_id="1", warehouse="w")
    yield StockReservationFailed(order_id="1", reason="x")
    yield StockReleased(order_id="1")
    yield ShipmentDelivered(shipment_id="1", order_id="o", delivered_at=at(1))
    yield ShipmentReturned(shipment_id="1", order_id="o", reason="x")


ORPHANS = {
    CustomerNameChanged,
    CustomerEmailChanged,
    CustomerMoved,
    ProductRenamed,
    ProductRepriced,
    ProductDiscontinued,
    OrderCancelled,
}


def test_only_what_the_contract_names_creates_an_aggregate() -> None:
    every = list(data_of_all())
    assert {type(data) for data in every} == {c for c in registry.newest.values() if c.topic in shop.TOPICS}
    assert {type(data) for data in every if orphan(data)} == ORPHANS


@pytest.mark.parametrize("data", list(data_of_all()), ids=lambda data: type(data).__name__)
def test_a_repeat_without_sequence_changes_nothing_either(data: Contract) -> None:
    by_topic: dict[str, list[Contract]] = {"orders": [placed()], "customers": [REGISTERED], "catalog": [ADDED]}
    creating = by_topic.get(data.topic, [])
    assert given(*creating, sequences=False).when(data, times=3).verdicts[1:] == [Verdict.DUPLICATE] * 2


# What these tests are written with


def test_a_state_that_is_another_is_shown_beside_what_was_wanted() -> None:
    with pytest.raises(AssertionError, match=r"the state is\n  Customer\(.*'Ann'.*\nnot\n  Customer\(.*'Bea'"):
        given().when(REGISTERED).then(ANN.replace(name="Bea"))


def test_a_repeat_that_would_count_again_is_told() -> None:
    told = given(REGISTERED).when(CustomerMoved(customer_id="1", country="FR"))
    told.verdicts[1] = Verdict.NEXT
    with pytest.raises(AssertionError, match="the event was judged next, next"):
        told.then(ANN.replace(country="FR"))


def test_events_of_another_aggregate_are_refused() -> None:
    with pytest.raises(AssertionError, match="ProductRenamed is of products 1, what is given of customers 1"):
        given(REGISTERED).when(ProductRenamed(product_id="1", name="x"))

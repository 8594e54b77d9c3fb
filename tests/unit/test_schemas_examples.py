"""Golden examples: each version of each type, and what it is decoded to."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from schemas import catalog, customers, inventory, orders, payments, registry, shipping
from schemas.contract import Contract
from tests import shop
from tests.unit.events import binary, decoded, example, refused, structured

EXPECTED: dict[str, Contract] = {
    "customers.CustomerRegistered": customers.CustomerRegistered(
        customer_id="c-1001", name="Ann Lee", email="ann.lee@example.com", country="DE", segment="BUILDING"
    ),
    "customers.CustomerNameChanged": customers.CustomerNameChanged(customer_id="c-1001", name="Anne Lee-Müller"),
    "customers.CustomerEmailChanged": customers.CustomerEmailChanged(customer_id="c-1001", email="anne@example.com"),
    "customers.CustomerMoved": customers.CustomerMoved(customer_id="c-1001", country="FR"),
    "customers.CustomerErased": customers.CustomerErased(customer_id="c-1001"),
    "catalog.ProductAdded": catalog.ProductAdded(
        product_id="p-7",
        name="Goldenrod lavender kettle",
        category="KETTLES",
        brand="Brand#13",
        price=Decimal("901.00"),
    ),
    "catalog.ProductRenamed": catalog.ProductRenamed(product_id="p-7", name="Goldenrod kettle, 2 l"),
    "catalog.ProductRepriced": catalog.ProductRepriced(product_id="p-7", price=Decimal("899.5")),
    "catalog.ProductDiscontinued": catalog.ProductDiscontinued(product_id="p-7"),
    "orders.OrderPlaced": orders.OrderPlaced(
        order_id="o-5001",
        customer_id="c-1001",
        currency="EUR",
        placed_at=datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC),
        lines=(orders.Line(line=1, product_id="p-7", quantity=3, unit_price=Decimal(901), discount=Decimal(0)),),
    ),
    "orders.OrderPlaced.v2": orders.OrderPlaced(
        order_id="o-5002",
        customer_id="c-1001",
        currency="EUR",
        placed_at=datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC),
        lines=(
            orders.Line(line=1, product_id="p-7", quantity=2, unit_price=Decimal(901), discount=Decimal("0.1")),
            orders.Line(line=2, product_id="p-8", quantity=1, unit_price=Decimal("12.5"), discount=Decimal(0)),
        ),
    ),
    "orders.OrderCancelled": orders.OrderCancelled(order_id="o-5001", reason="the customer changed their mind"),
    "payments.PaymentAuthorized": payments.PaymentAuthorized(
        payment_id="pay-1", order_id="o-5001", amount=Decimal(2703), currency="EUR"
    ),
    "payments.PaymentCaptured": payments.PaymentCaptured(
        payment_id="pay-1", order_id="o-5001", amount=Decimal(2703), currency="EUR"
    ),
    "payments.PaymentFailed": payments.PaymentFailed(payment_id="pay-2", order_id="o-5002", reason="card declined"),
    "payments.PaymentRefunded": payments.PaymentRefunded(
        payment_id="pay-1", order_id="o-5001", amount=Decimal(901), currency="EUR"
    ),
    "inventory.StockReserved": inventory.StockReserved(order_id="o-5001", warehouse="Leipzig"),
    "inventory.StockReservationFailed": inventory.StockReservationFailed(
        order_id="o-5002", reason="p-8 is out of stock"
    ),
    "inventory.StockReleased": inventory.StockReleased(order_id="o-5001"),
    "shipping.ShipmentDispatched": shipping.ShipmentDispatched(
        shipment_id="s-1", order_id="o-5001", carrier="RAIL", dispatched_at=datetime(2026, 3, 15, 6, tzinfo=UTC)
    ),
    "shipping.ShipmentDelivered": shipping.ShipmentDelivered(
        shipment_id="s-1", order_id="o-5001", delivered_at=datetime(2026, 3, 17, 14, 20, 0, 500_000, tzinfo=UTC)
    ),
    "shipping.ShipmentReturned": shipping.ShipmentReturned(shipment_id="s-1", order_id="o-5001", reason="damaged"),
}
WIRE_TYPES = sorted(contract.wire_type for contract in registry.contracts.values())


def test_every_version_of_every_type_is_expected_here() -> None:
    of_the_shop = {type_ for type_ in WIRE_TYPES if type_.partition(".")[0] in shop.TOPICS}
    assert set(EXPECTED) == of_the_shop
    assert registry.problems() == []


@pytest.mark.parametrize("wire_type", EXPECTED)
def test_a_golden_example_is_decoded_to_the_newest_version(wire_type: str) -> None:
    event = decoded(example(wire_type))
    assert event.data == EXPECTED[wire_type]
    assert type(event.data) is registry.newest[event.data.type]
    assert (event.type, event.source) == (wire_type, f"/{event.data.topic}")
    assert event.time == datetime(2026, 3, 14, 9, 26, 53, 589_793, tzinfo=UTC)


@pytest.mark.parametrize("wire_type", WIRE_TYPES)
def test_both_modes_give_the_same_event(wire_type: str) -> None:
    sent = example(wire_type)
    assert registry.decode(binary(sent)) == registry.decode(structured(sent))


@pytest.mark.parametrize("wire_type", WIRE_TYPES)
def test_what_is_encoded_is_decoded_to_the_same_event(wire_type: str) -> None:
    event = decoded(example(wire_type))
    sent = registry.to_cloudevent(
        event.data, id=event.id, source=event.source, subject="s", time=event.time, sequence=event.sequence
    )
    again = decoded(sent)
    assert (again.data, again.id, again.source, again.time, again.sequence) == (
        event.data,
        event.id,
        event.source,
        event.time,
        event.sequence,
    )
    assert sent["type"] == event.data.wire_type


@pytest.mark.parametrize("wire_type", WIRE_TYPES)
def test_each_required_field_is_missed_by_name_and_unknown_ones_are_ignored(wire_type: str) -> None:
    sent = example(wire_type)
    extended = sent | {"data": sent["data"] | {"new_field": {"deep": [1]}}, "traceparent": "00-ab", "new": None}
    assert decoded(extended) == decoded(sent)
    required = registry.json_schemas()[wire_type]["required"]
    assert set(required) <= set(sent["data"])
    for name in required:
        for without in (
            {key: value for key, value in sent["data"].items() if key != name},
            sent["data"] | {name: None},
        ):
            bad = refused(structured(sent | {"data": without}))
            assert (bad.reason, bad.detail.partition(":")[0]) == ("invalid", name)

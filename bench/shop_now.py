"""Events of the shop one by one, for measures that make their own."""

from typing import Any

import msgspec

from projector.publish import Message

TIME = "2026-01-01T00:00:00Z"


def event(kind: str, subject: str, number: int = 1, **data: Any) -> Message:
    """A CloudEvent without `sequence`."""
    topic = kind.partition(".")[0]
    told = {"specversion": "1.0", "id": f"{subject}-{kind}-{number}", "source": "//bench", "type": kind}
    return Message(
        topic, subject.encode(), msgspec.json.encode(told | {"subject": subject, "time": TIME, "data": data})
    )


def customer(key: str) -> Message:
    return event("customers.CustomerRegistered", key, customer_id=key, name="Ann", email="a@b.example", country="DE")


def product(key: str) -> Message:
    return event("catalog.ProductAdded", key, product_id=key, name="Cup", category="Cups", price="10.00")


def order(key: str, customer_id: str, products: list[str]) -> Message:
    lines = [{"line": n, "product_id": p, "quantity": 1, "unit_price": "10.00"} for n, p in enumerate(products, 1)]
    placed = {"order_id": key, "customer_id": customer_id, "currency": "EUR", "placed_at": TIME, "lines": lines}
    return event("orders.OrderPlaced.v2", key, **placed)


def follow_up(key: str, step: int) -> Message:
    """What happens to an order after it was placed, by step from 1 to 5."""
    payment = {"payment_id": f"{key}-p1", "order_id": key, "amount": "10.00", "currency": "EUR"}
    shipment = {"shipment_id": f"{key}-s1", "order_id": key}
    made = (
        ("payments.PaymentAuthorized", f"{key}-p1", payment),
        ("inventory.StockReserved", key, {"order_id": key, "warehouse": "north"}),
        ("payments.PaymentCaptured", f"{key}-p1", payment),
        ("shipping.ShipmentDispatched", f"{key}-s1", shipment | {"carrier": "DHL", "dispatched_at": TIME}),
        ("shipping.ShipmentDelivered", f"{key}-s1", shipment | {"delivered_at": TIME}),
    )
    kind, subject, data = made[step - 1]
    return event(kind, subject, **data)

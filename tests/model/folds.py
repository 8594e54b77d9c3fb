"""What an aggregate is after its applied events, as plain dictionaries (contract sections 3, 4 and 8)."""

from collections import Counter
from datetime import datetime
from typing import Any

from tests.model.events import Event
from tests.model.values import line_amount

State = dict[str, Any]


def latest_time(events: list[Event]) -> datetime | None:
    return max((event.time for event in events), default=None)


def customer(events: list[Event]) -> State:
    state: State = dict.fromkeys(["name", "email", "country", "segment"])
    for event in events:
        state.update({field: value for field, value in event.data.items() if field != "customer_id"})
    erased = any(event.name == "CustomerErased" for event in events)
    if erased:
        state.update(name=None, email=None, segment=None)
    return state | {"erased": erased, "updated_at": latest_time(events)}


def product(events: list[Event]) -> State:
    state: State = dict.fromkeys(["name", "category", "brand", "price"])
    for event in events:
        state.update({field: value for field, value in event.data.items() if field != "product_id"})
    return state | {"discontinued": any(event.name == "ProductDiscontinued" for event in events)}


def order(events: list[Event]) -> State:
    """Only orders that were placed have events."""
    state: State = {"cancelled": False, "cancel_reason": None}
    for event in events:
        if event.name == "OrderPlaced":
            state.update(event.data)
            state["lines"] = [line | _amount(line) for line in event.data["lines"]]
            state["total"] = sum(line["amount"] for line in state["lines"])
        else:
            state.update(cancelled=True, cancel_reason=event.data["reason"])
    return state


def _amount(line: dict[str, Any]) -> dict[str, int]:
    discount = line["discount"] or 0
    return {"discount": discount, "amount": line_amount(line["quantity"], line["unit_price"], discount)}


def payment(events: list[Event]) -> State:
    """Captures and refunds in cents by currency."""
    captured: Counter[str] = Counter()
    refunded: Counter[str] = Counter()
    for event in events:
        if event.name == "PaymentCaptured":
            captured[event.data["currency"]] += event.data["amount"]
        if event.name == "PaymentRefunded":
            refunded[event.data["currency"]] += event.data["amount"]
    return {
        "captured": captured,
        "refunded": refunded,
        "authorized": any(event.name == "PaymentAuthorized" for event in events),
        "failed": any(event.name == "PaymentFailed" for event in events),
    }


def stock(events: list[Event]) -> State:
    status = {"StockReserved": "reserved", "StockReservationFailed": "failed", "StockReleased": "released"}
    return {"status": status[events[-1].name]}


def shipment(events: list[Event]) -> State:
    """`dispatched`: time and carrier of its earliest dispatch, `delivered_at`: of its latest delivery, None without."""
    dispatches = [event for event in events if event.name == "ShipmentDispatched"]
    deliveries = [event.data["delivered_at"] for event in events if event.name == "ShipmentDelivered"]
    earliest = min(dispatches, key=lambda event: event.data["dispatched_at"], default=None)
    return {
        "dispatched": earliest and (earliest.data["dispatched_at"], earliest.data["carrier"]),
        "delivered_at": max(deliveries, default=None),
        "returned": any(event.name == "ShipmentReturned" for event in events),
    }

"""What payments, stock and shipments say about an order (contract section 4): statuses, sums, the latest time."""

from tests.model import folds
from tests.model.events import Event

Related = list[tuple[str, str, list[Event]]]


def facts(order: folds.State, own_events: list[Event], related: Related) -> folds.State:
    """`related`: kind, id and events of each payment, stock and shipment that belongs to the order."""
    stock_status = "none"
    payments, shipments = [], {}
    for kind, id, events in related:
        if kind == "payment":
            payments.append(folds.payment(events))
        elif kind == "shipment":
            shipments[id] = folds.shipment(events)
        else:
            stock_status = folds.stock(events)["status"]
    all_events = own_events + [event for _, _, events in related for event in events]
    found = {"stock_status": stock_status, "updated_at": folds.latest_time(all_events)}
    found |= _payment_facts(order["currency"], payments) | _shipment_facts(shipments)
    return found | {"status": _status(order | found)}


def _payment_facts(currency: str, payments: list[folds.State]) -> folds.State:
    captures = sum(payment["captured"][currency] for payment in payments)
    refunds = sum(payment["refunded"][currency] for payment in payments)
    if refunds >= captures > 0:
        status = "refunded"
    elif 0 < refunds < captures:
        status = "partially_refunded"
    elif captures > 0:
        status = "captured"
    elif any(payment["authorized"] for payment in payments):
        status = "authorized"
    elif any(payment["failed"] for payment in payments):
        status = "failed"
    else:
        status = "none"
    return {"captures": captures, "refunds": refunds, "payment_status": status}


def _shipment_facts(shipments: dict[str, folds.State]) -> folds.State:
    all_delivered = bool(shipments) and all(shipment["delivered_at"] for shipment in shipments.values())
    if not shipments:
        status = "none"
    elif any(shipment["returned"] for shipment in shipments.values()):
        status = "returned"
    else:
        status = "delivered" if all_delivered else "dispatched"
    dispatches = [(s["dispatched"][0], id, s["dispatched"][1]) for id, s in shipments.items() if s["dispatched"]]
    dispatched_at, _, carrier = min(dispatches, default=(None, None, None))
    return {
        "shipment_status": status,
        "carrier": carrier,
        "dispatched_at": dispatched_at,
        "delivered_at": max(s["delivered_at"] for s in shipments.values()) if all_delivered else None,
    }


def _status(order: folds.State) -> str:
    if order["cancelled"]:
        return "cancelled"
    shipped = {"returned": "returned", "delivered": "delivered", "dispatched": "shipped"}.get(order["shipment_status"])
    return shipped or ("paid" if order["captures"] >= order["total"] > 0 else "pending")

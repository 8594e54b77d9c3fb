"""The five views (contract section 4), each made whole from the folded aggregates."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tests.model import folds
from tests.model.events import Event
from tests.model.facts import Related, facts
from tests.model.values import discount_text, money_text, time_text

Row = dict[str, Any]
Rows = dict[tuple[Any, ...], Row]
Views = dict[str, Rows]

NOBODY: folds.State = {
    **dict.fromkeys(["name", "email", "country", "segment", "updated_at"]),
    "erased": False,
}
NOTHING: folds.State = {**dict.fromkeys(["name", "category", "brand", "price"]), "discontinued": False}


def all_views(aggregates: dict[tuple[str, str], list[Event]]) -> Views:
    """From the applied events of each aggregate, by (kind, id)."""

    def folded(kind: str, fold: Callable[[list[Event]], folds.State]) -> dict[str, folds.State]:
        return {id: fold(events) for (its_kind, id), events in aggregates.items() if its_kind == kind}

    customers = folded("customer", folds.customer)
    products = folded("product", folds.product)
    orders = folded("order", folds.order)
    related: dict[str, Related] = defaultdict(list)
    for (kind, id), events in aggregates.items():
        if kind in ("payment", "stock", "shipment"):
            related[events[0].data["order_id"]].append((kind, id, events))
    for order_id, order in orders.items():
        order |= facts(order, aggregates["order", order_id], related[order_id])
    return {
        "order_overview": {(id,): _order_overview(id, order, customers, products) for id, order in orders.items()},
        "customer_summary": _customer_summary(customers, orders),
        "fulfilment": {(id,): _fulfilment(id, order, customers) for id, order in orders.items()},
        "sales_by_day": _sales_by_day(customers, orders),
        "product_sales": _product_sales(products, orders),
    }


def _order_overview(
    order_id: str, order: folds.State, customers: dict[str, folds.State], products: dict[str, folds.State]
) -> Row:
    customer = customers.get(order["customer_id"], NOBODY)
    return {
        "order_id": order_id,
        "status": order["status"],
        "placed_at": time_text(order["placed_at"]),
        "currency": order["currency"],
        "total": money_text(order["total"]),
        "line_count": len(order["lines"]),
        "customer_id": order["customer_id"],
        **{f"customer_{field}": customer[field] for field in ("name", "email", "country", "segment")},
        "lines": [_line(line, products.get(line["product_id"], NOTHING)) for line in order["lines"]],
        "payment_status": order["payment_status"],
        "paid_amount": money_text(order["captures"]),
        "refunded_amount": money_text(order["refunds"]),
        "stock_status": order["stock_status"],
        "shipment_status": order["shipment_status"],
        "carrier": order["carrier"],
        "dispatched_at": time_text(order["dispatched_at"]),
        "delivered_at": time_text(order["delivered_at"]),
        "cancel_reason": order["cancel_reason"],
        "updated_at": time_text(order["updated_at"]),
    }


def _line(line: dict[str, Any], product: folds.State) -> Row:
    return {
        "line": line["line"],
        "product_id": line["product_id"],
        "product_name": product["name"],
        "category": product["category"],
        "quantity": line["quantity"],
        "unit_price": money_text(line["unit_price"]),
        "discount": discount_text(line["discount"]),
        "amount": money_text(line["amount"]),
    }


def _fulfilment(order_id: str, order: folds.State, customers: dict[str, folds.State]) -> Row:
    state, waiting_for = _state(order)
    return {
        "order_id": order_id,
        "state": state,
        "waiting_for": waiting_for,
        "since": time_text(order["updated_at"]),
        "customer_id": order["customer_id"],
        "customer_name": customers.get(order["customer_id"], NOBODY)["name"],
        "total": money_text(order["total"]),
        "currency": order["currency"],
        "updated_at": time_text(order["updated_at"]),
    }


def _state(order: folds.State) -> tuple[str, str | None]:
    reserved = order["stock_status"] == "reserved"
    broken = (
        order["cancelled"]
        or order["stock_status"] == "failed"
        or order["payment_status"] == "failed"
        or order["shipment_status"] == "returned"
    )
    held = reserved or order["captures"] > order["refunds"]
    if broken and held:
        return "compensating", "stock_release" if reserved else "refund"
    if broken:
        return "compensated", None
    if order["shipment_status"] == "delivered":
        return "done", None
    if order["shipment_status"] == "dispatched":
        return "in_transit", "delivery"
    if not reserved:
        return "awaiting_stock", "stock"
    if order["captures"] < order["total"]:
        return "awaiting_payment", "payment"
    return "awaiting_shipment", "shipment"


def _customer_summary(customers: dict[str, folds.State], orders: dict[str, folds.State]) -> Rows:
    rows = {}
    by_customer: dict[str, list[folds.State]] = defaultdict(list)
    for order in orders.values():
        by_customer[order["customer_id"]].append(order)
    for customer_id in customers.keys() | by_customer.keys():
        customer = customers.get(customer_id, NOBODY)
        own = by_customer.get(customer_id, [])
        kept = [order for order in own if not order["cancelled"]]
        placed = sorted(order["placed_at"] for order in own)
        rows[(customer_id,)] = {
            "customer_id": customer_id,
            **{field: customer[field] for field in ("name", "email", "country", "segment", "erased")},
            "orders": len(own),
            "open_orders": sum(order["status"] in ("pending", "paid", "shipped") for order in own),
            "cancelled_orders": len(own) - len(kept),
            "lifetime_value": _by_currency(
                (order["currency"], order["captures"] - order["refunds"])
                for order in own
                if order["captures"] > 0 or order["refunds"] > 0
            ),
            "loyalty_points": sum(order["total"] // 1000 for order in kept),
            "first_order_at": time_text(placed[0] if placed else None),
            "last_order_at": time_text(placed[-1] if placed else None),
            "updated_at": time_text(customer["updated_at"]),
        }
    return rows


def _sales_by_day(customers: dict[str, folds.State], orders: dict[str, folds.State]) -> Rows:
    groups: dict[tuple[str, str | None, str], list[folds.State]] = defaultdict(list)
    for order in orders.values():
        country = customers.get(order["customer_id"], NOBODY)["country"]
        groups[order["placed_at"].date().isoformat(), country, order["currency"]].append(order)
    rows: Rows = {}
    for key, group in groups.items():
        kept = [order for order in group if not order["cancelled"]]
        rows[key] = {
            **dict(zip(("day", "customer_country", "currency"), key, strict=True)),
            "orders": len(group),
            "cancelled_orders": len(group) - len(kept),
            "units": sum(line["quantity"] for order in kept for line in order["lines"]),
            "gross": money_text(sum(order["total"] for order in kept)),
            "refunded": money_text(sum(order["refunds"] for order in group)),
        }
    return rows


def _product_sales(products: dict[str, folds.State], orders: dict[str, folds.State]) -> Rows:
    referred = {line["product_id"] for order in orders.values() for line in order["lines"]}
    sold: dict[str, list[tuple[str, str, Row]]] = defaultdict(list)
    for order_id, order in orders.items():
        for line in order["lines"] if not order["cancelled"] else ():
            sold[line["product_id"]].append((order_id, order["currency"], line))
    rows: Rows = {}
    for product_id in products.keys() | referred:
        product = products.get(product_id, NOTHING)
        own = sold.get(product_id, [])
        rows[(product_id,)] = {
            "product_id": product_id,
            **{field: product[field] for field in ("name", "category", "brand")},
            "price": None if product["price"] is None else money_text(product["price"]),
            "discontinued": product["discontinued"],
            "orders": len({order_id for order_id, _, _ in own}),
            "units": sum(line["quantity"] for _, _, line in own),
            "revenue": _by_currency((currency, line["amount"]) for _, currency, line in own),
        }
    return rows


def _by_currency(amounts: Iterable[tuple[str, int]]) -> dict[str, str]:
    sums: Counter[str] = Counter()
    for currency, cents in amounts:
        sums[currency] += cents
    return {currency: money_text(cents) for currency, cents in sorted(sums.items())}

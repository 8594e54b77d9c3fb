"""One event to its own row and to the joined rows that it touches: by hand, in SQL, within the caller's transaction."""

from typing import Any

from bench.peers import tables

_PAYMENT = """
INSERT INTO payments AS p (payment_id, currency, order_id, authorized, failed, captured, refunded, updated_at)
VALUES (%(payment_id)s, %(currency)s, %(order_id)s, %(authorized)s, %(failed)s, %(captured)s, %(refunded)s, %(time)s)
ON CONFLICT (payment_id, currency) DO UPDATE SET authorized = p.authorized OR excluded.authorized,
  failed = p.failed OR excluded.failed, captured = p.captured + excluded.captured,
  refunded = p.refunded + excluded.refunded, updated_at = greatest(p.updated_at, excluded.updated_at)
"""
_SHIPMENT = """
INSERT INTO shipments AS s (shipment_id, order_id, carrier, dispatched_at, delivered_at, returned, updated_at)
VALUES (%(shipment_id)s, %(order_id)s, %(carrier)s, %(dispatched_at)s, %(delivered_at)s, %(returned)s, %(time)s)
ON CONFLICT (shipment_id) DO UPDATE SET returned = s.returned OR excluded.returned,
  carrier = CASE WHEN excluded.dispatched_at < s.dispatched_at OR s.dispatched_at IS NULL THEN excluded.carrier
    ELSE s.carrier END,
  dispatched_at = least(s.dispatched_at, excluded.dispatched_at),
  delivered_at = greatest(s.delivered_at, excluded.delivered_at),
  updated_at = greatest(s.updated_at, excluded.updated_at)
"""
_STOCK = """
INSERT INTO stock VALUES (%(order_id)s, %(status)s, %(time)s)
ON CONFLICT (order_id) DO UPDATE SET status = excluded.status,
  updated_at = greatest(stock.updated_at, excluded.updated_at)
"""
_ORDER = """
INSERT INTO orders (order_id, customer_id, currency, placed_at, total, line_count, updated_at)
VALUES (%(order_id)s, %(customer_id)s, %(currency)s, %(placed_at)s, %(total)s, %(line_count)s, %(time)s)
ON CONFLICT (order_id) DO UPDATE SET customer_id = excluded.customer_id, currency = excluded.currency,
  placed_at = excluded.placed_at, total = excluded.total, line_count = excluded.line_count,
  updated_at = greatest(orders.updated_at, excluded.updated_at)
"""
_LINE = """
INSERT INTO lines
VALUES (%(order_id)s, %(line)s, %(product_id)s, %(quantity)s, %(unit_price)s, %(discount)s, %(amount)s)
"""
_CUSTOMER = """
INSERT INTO customers VALUES (%(customer_id)s, %(name)s, %(email)s, %(country)s, %(segment)s)
ON CONFLICT (customer_id) DO UPDATE SET name = excluded.name, email = excluded.email, country = excluded.country,
  segment = excluded.segment
"""
_PRODUCT = """
INSERT INTO products VALUES (%(product_id)s, %(name)s, %(category)s)
ON CONFLICT (product_id) DO UPDATE SET name = excluded.name, category = excluded.category
"""
_OF_CUSTOMER = "WHERE customer_id = %(customer_id)s AND NOT erased"
STATEMENTS = {
    "CustomerRegistered": _CUSTOMER,
    "CustomerNameChanged": f"UPDATE customers SET name = %(name)s {_OF_CUSTOMER}",
    "CustomerEmailChanged": f"UPDATE customers SET email = %(email)s {_OF_CUSTOMER}",
    "CustomerMoved": "UPDATE customers SET country = %(country)s WHERE customer_id = %(customer_id)s",
    "CustomerErased": f"UPDATE customers SET name = NULL, email = NULL, segment = NULL, erased = true {_OF_CUSTOMER}",
    "ProductAdded": _PRODUCT,
    "ProductRenamed": "UPDATE products SET name = %(name)s WHERE product_id = %(product_id)s",
    "OrderPlaced": _ORDER,
    "OrderCancelled": "UPDATE orders SET cancelled = true, cancel_reason = %(reason)s, "
    "updated_at = greatest(updated_at, %(time)s) WHERE order_id = %(order_id)s",
    **dict.fromkeys(("PaymentAuthorized", "PaymentCaptured", "PaymentFailed", "PaymentRefunded"), _PAYMENT),
    **dict.fromkeys(("StockReserved", "StockReleased", "StockReservationFailed"), _STOCK),
    **dict.fromkeys(("ShipmentDispatched", "ShipmentDelivered", "ShipmentReturned"), _SHIPMENT),
}


def apply(cursor: Any, topic: str, event: dict[str, Any]) -> None:
    """Bring the event's own row up to date, then the joined rows that it touches."""
    name, data = event["type"].split(".")[1], event["data"]
    if name not in STATEMENTS:
        return  # prices and discontinued products are not shown
    values = {"time": event["time"], **data}
    if topic == "payments":
        amount = data.get("amount", "0")
        values |= {"authorized": name == "PaymentAuthorized", "failed": name == "PaymentFailed"}
        values |= {"captured": amount if name == "PaymentCaptured" else "0", "currency": data.get("currency", "")}
        values |= {"refunded": amount if name == "PaymentRefunded" else "0"}
    elif topic == "inventory":
        values["status"] = {"StockReserved": "reserved", "StockReleased": "released"}.get(name, "failed")
    elif topic == "shipping":
        values |= {n: data.get(n) for n in ("carrier", "dispatched_at", "delivered_at")}
        values["returned"] = name == "ShipmentReturned"
    elif name == "OrderPlaced":
        lines = tables.lines_of(data)
        values |= {"line_count": len(lines), "total": sum(line["amount"] for line in lines)}
        cursor.execute("DELETE FROM lines WHERE order_id = %(order_id)s", values)
        cursor.executemany(_LINE, lines)
    elif name == "CustomerRegistered":
        values.setdefault("segment", None)
    cursor.execute(STATEMENTS[name], values)
    if topic == "customers":
        keys = [k for (k,) in cursor.execute(tables.ORDERS_OF_CUSTOMERS, [[data["customer_id"]]])]
    elif topic == "catalog":
        keys = [k for (k,) in cursor.execute(tables.ORDERS_OF_PRODUCTS, [[data["product_id"]]])]
    else:
        keys = [data["order_id"]]
    if keys:
        cursor.execute(tables.REFRESH, {"keys": keys})

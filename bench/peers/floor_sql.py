"""The statements of `floor`: each takes the rows of a batch as one JSON parameter."""

_CUSTOMER = "customer_id text, name text, email text, country text, segment text"
_PRODUCT = "product_id text, name text, category text"
_ORDER = (
    "order_id text, customer_id text, currency text, placed_at timestamptz, total numeric, line_count bigint, "
    "updated_at timestamptz"
)
_LINE = (
    "order_id text, line bigint, product_id text, quantity bigint, unit_price numeric, discount numeric, amount numeric"
)
_PAYMENT = (
    "payment_id text, currency text, order_id text, authorized bool, failed bool, captured numeric, refunded numeric, "
    "updated_at timestamptz"
)
_STOCK = "order_id text, status text, updated_at timestamptz"
_SHIPMENT = (
    "shipment_id text, order_id text, carrier text, dispatched_at timestamptz, delivered_at timestamptz, "
    "returned bool, updated_at timestamptz"
)
_LATER = "updated_at = greatest(t.updated_at, excluded.updated_at)"


def _upsert(table: str, columns: str, key: str, update: str) -> str:
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    return (
        f"INSERT INTO {table} AS t ({names}) SELECT {names} FROM jsonb_to_recordset(%s::jsonb) AS r({columns}) "
        f"ON CONFLICT ({key}) DO UPDATE SET {update}"
    )


# In this order: what is placed before what is changed.
STATEMENTS = {
    "customers": _upsert("customers", _CUSTOMER, "customer_id", "name = excluded.name, email = excluded.email, "
        "country = excluded.country, segment = excluded.segment"),
    "customers changed": "UPDATE customers c SET country = coalesce(r.country, c.country), "
        "name = CASE WHEN NOT (c.erased OR r.erased) THEN coalesce(r.name, c.name) END, "
        "email = CASE WHEN NOT (c.erased OR r.erased) THEN coalesce(r.email, c.email) END, "
        "segment = CASE WHEN NOT (c.erased OR r.erased) THEN c.segment END, erased = c.erased OR r.erased "
        f"FROM (SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r({_CUSTOMER}, erased bool)) r "
        "WHERE c.customer_id = r.customer_id",
    "products": _upsert("products", _PRODUCT, "product_id", "name = excluded.name, category = excluded.category"),
    "products changed": "UPDATE products p SET name = r.name FROM jsonb_to_recordset(%s::jsonb) "
        "AS r(product_id text, name text) WHERE p.product_id = r.product_id",
    "orders": _upsert("orders", _ORDER, "order_id", "customer_id = excluded.customer_id, currency = excluded.currency, "
        f"placed_at = excluded.placed_at, total = excluded.total, line_count = excluded.line_count, {_LATER}"),
    "orders cancelled": "UPDATE orders o SET cancelled = true, cancel_reason = r.reason, "
        "updated_at = greatest(o.updated_at, r.updated_at) FROM jsonb_to_recordset(%s::jsonb) "
        "AS r(order_id text, reason text, updated_at timestamptz) WHERE o.order_id = r.order_id",
    "lines": _upsert("lines", _LINE, "order_id, line", "product_id = excluded.product_id, "
        "quantity = excluded.quantity, unit_price = excluded.unit_price, "
        "discount = excluded.discount, amount = excluded.amount"),
    "payments": _upsert("payments", _PAYMENT, "payment_id, currency", "authorized = t.authorized OR "
        "excluded.authorized, failed = t.failed OR excluded.failed, captured = t.captured + excluded.captured, "
        f"refunded = t.refunded + excluded.refunded, {_LATER}"),
    "stock": _upsert("stock", _STOCK, "order_id", f"status = excluded.status, {_LATER}"),
    "shipments": _upsert("shipments", _SHIPMENT, "shipment_id", "returned = t.returned OR excluded.returned, "
        "carrier = CASE WHEN excluded.dispatched_at < t.dispatched_at OR t.dispatched_at IS NULL THEN excluded.carrier "
        "ELSE t.carrier END, dispatched_at = least(t.dispatched_at, excluded.dispatched_at), "
        f"delivered_at = greatest(t.delivered_at, excluded.delivered_at), {_LATER}"),
}  # fmt: skip

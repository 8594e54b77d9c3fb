"""The tables that the hand-written peers keep: entities, the joined rows, positions. And how a row is refreshed."""

import os
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

DATABASE_URL = os.environ.get("PREJOIN_DATABASE_URL", "")
BROKERS = os.environ.get("PREJOIN_KAFKA_BROKERS", "")
SCHEMA = os.environ.get("PEER", "peer")  # of the tables; it serves as consumer group, too
PARTITIONS = [(t, p) for t in ("catalog", "customers", "inventory", "orders", "payments", "shipping") for p in range(4)]
OPTIONS = f"-c search_path={SCHEMA} -c timezone=UTC -c jit=off -c random_page_cost=1.1"

# `overview` is made by the bench, like the view's table, with its indexes.
TABLES = """
CREATE TABLE customers (customer_id text COLLATE "C" PRIMARY KEY, name text, email text, country text, segment text,
  erased bool NOT NULL DEFAULT false) WITH (fillfactor = 80);
CREATE TABLE products (product_id text COLLATE "C" PRIMARY KEY, name text, category text) WITH (fillfactor = 80);
CREATE TABLE orders (order_id text COLLATE "C" PRIMARY KEY, customer_id text COLLATE "C", currency text,
  placed_at timestamptz, total numeric(38, 2), line_count bigint, cancelled bool NOT NULL DEFAULT false,
  cancel_reason text, updated_at timestamptz) WITH (fillfactor = 80);
CREATE INDEX ON orders (customer_id);
CREATE TABLE lines (order_id text COLLATE "C", line bigint, product_id text COLLATE "C", quantity bigint,
  unit_price numeric(38, 2), discount numeric(5, 4), amount numeric(38, 2), PRIMARY KEY (order_id, line));
CREATE INDEX ON lines (product_id);
CREATE TABLE payments (payment_id text COLLATE "C", currency text COLLATE "C", order_id text COLLATE "C",
  authorized bool NOT NULL DEFAULT false, failed bool NOT NULL DEFAULT false,
  captured numeric(38, 2) NOT NULL DEFAULT 0, refunded numeric(38, 2) NOT NULL DEFAULT 0,
  updated_at timestamptz, PRIMARY KEY (payment_id, currency))
  WITH (fillfactor = 80);
CREATE INDEX ON payments (order_id);
CREATE TABLE stock (order_id text COLLATE "C" PRIMARY KEY, status text, updated_at timestamptz) WITH (fillfactor = 80);
CREATE TABLE shipments (shipment_id text COLLATE "C" PRIMARY KEY, order_id text COLLATE "C", carrier text,
  dispatched_at timestamptz, delivered_at timestamptz, returned bool NOT NULL DEFAULT false, updated_at timestamptz)
  WITH (fillfactor = 80);
CREATE INDEX ON shipments (order_id);
CREATE TABLE positions (topic text, partition int, next bigint, PRIMARY KEY (topic, partition));
"""

COLUMNS = [
    *("order_id", "status", "placed_at", "currency", "total", "line_count", "customer_id", "customer_name"),
    *("customer_email", "customer_country", "customer_segment", "lines", "payment_status", "paid_amount"),
    *("refunded_amount", "stock_status", "shipment_status", "carrier", "dispatched_at", "delivered_at"),
    *("cancel_reason", "updated_at", "_units"),
]

# The rows of some orders (:keys), as they should be; the keys are in each subquery: Postgres does not put them there.
_ROWS = """
SELECT o.order_id,
  CASE WHEN o.cancelled THEN 'cancelled' WHEN s.returned THEN 'returned' WHEN s.delivered THEN 'delivered'
    WHEN s.dispatched_at IS NOT NULL THEN 'shipped' WHEN o.total > 0 AND p.captured >= o.total THEN 'paid'
    ELSE 'pending' END,
  o.placed_at, o.currency, o.total, o.line_count, o.customer_id, c.name, c.email, c.country, c.segment, l.lines,
  CASE WHEN p.captured > 0 AND p.refunded >= p.captured THEN 'refunded'
    WHEN p.captured > 0 AND p.refunded > 0 THEN 'partially_refunded' WHEN p.captured > 0 THEN 'captured'
    WHEN p.authorized THEN 'authorized' WHEN p.failed THEN 'failed' ELSE 'none' END,
  coalesce(p.captured, 0), coalesce(p.refunded, 0), coalesce(k.status, 'none'),
  CASE WHEN s.order_id IS NULL THEN 'none' WHEN s.returned THEN 'returned' WHEN s.delivered THEN 'delivered'
    ELSE 'dispatched' END,
  s.carrier, s.dispatched_at, CASE WHEN s.delivered THEN s.delivered_at END, o.cancel_reason,
  greatest(o.updated_at, p.updated_at, k.updated_at, s.updated_at), l.units
FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id
LEFT JOIN (
  SELECT order_id, sum(quantity) AS units, jsonb_agg(jsonb_build_object('line', line, 'product_id', product_id,
    'product_name', products.name, 'category', category, 'quantity', quantity, 'unit_price', unit_price::text,
    'discount', trim_scale(discount)::text, 'amount', amount::text) ORDER BY line) AS lines
  FROM lines LEFT JOIN products USING (product_id) WHERE order_id = ANY(:keys) GROUP BY order_id
) l ON l.order_id = o.order_id
LEFT JOIN (
  SELECT p.order_id, bool_or(authorized) AS authorized, bool_or(failed) AS failed, max(p.updated_at) AS updated_at,
    coalesce(sum(captured) FILTER (WHERE p.currency = o.currency), 0) AS captured,
    coalesce(sum(refunded) FILTER (WHERE p.currency = o.currency), 0) AS refunded
  FROM payments p JOIN orders o USING (order_id) WHERE p.order_id = ANY(:keys) GROUP BY p.order_id
) p ON p.order_id = o.order_id
LEFT JOIN stock k ON k.order_id = o.order_id
LEFT JOIN (
  SELECT order_id, bool_or(returned) AS returned, bool_and(delivered_at IS NOT NULL) AS delivered,
    min(dispatched_at) AS dispatched_at, max(delivered_at) AS delivered_at, max(updated_at) AS updated_at,
    (array_agg(carrier ORDER BY dispatched_at, shipment_id) FILTER (WHERE dispatched_at IS NOT NULL))[1] AS carrier
  FROM shipments WHERE order_id = ANY(:keys) GROUP BY order_id
) s ON s.order_id = o.order_id
WHERE o.order_id = ANY(:keys)
"""
REFRESH = (
    f"INSERT INTO overview ({', '.join(COLUMNS)}) {_ROWS} ON CONFLICT (order_id) DO UPDATE SET "
    + ", ".join(f"{c} = excluded.{c}" for c in COLUMNS[1:])
).replace(":keys", "%(keys)s::text[]")

ORDERS_OF_CUSTOMERS = "SELECT order_id FROM orders WHERE customer_id = ANY(%s)"
ORDERS_OF_PRODUCTS = "SELECT DISTINCT order_id FROM lines WHERE product_id = ANY(%s)"
POSITION = (
    "INSERT INTO positions SELECT * FROM unnest(%s::text[], %s::int[], %s::bigint[]) "
    "ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next"
)


def lines_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of an OrderPlaced of either version, with their amounts."""
    told = data.get("lines") or [{"line": 1, **{n: data[n] for n in ("product_id", "quantity", "unit_price")}}]
    for line in told:
        line["discount"] = line.get("discount") or "0"
        amount = line["quantity"] * Decimal(line["unit_price"]) * (1 - Decimal(line["discount"]))
        line["amount"] = amount.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
        line["order_id"] = data["order_id"]
    return told

"""Rows of `order_overview` put into its table by COPY: customers and products are TPC-H's, as events tell them."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from bench.streams import MASTERS
from projector.store import outbox
from projector.tpch import events
from projector.tpch.dice import roll

SCALE = 0.02  # TPC-H's: 3,000 customers, 4,000 products
STATUSES = ["pending", "paid", "shipped", "delivered", "delivered", "delivered", "cancelled", "returned"]
CARRIERS = ["Skyline", "Bluewater", "Overland", "Postal"]
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = (
    *("order_id", "status", "placed_at", "currency", "total", "line_count", "customer_id", "customer_name"),
    *("customer_email", "customer_country", "customer_segment", "lines", "payment_status", "paid_amount"),
    *("refunded_amount", "stock_status", "shipment_status", "carrier", "updated_at", "_units"),
)


class Shop(NamedTuple):
    """Customers and products, each as its first event tells it."""

    customers: list[dict[str, Any]]
    products: list[dict[str, Any]]


@lru_cache(1)
def shop() -> Shop:
    """The same at each call."""
    found = Shop([], [])
    for message in takewhile(lambda m: m.topic in MASTERS, events(SCALE)):
        event = msgspec.json.decode(message.value)
        if event["type"] == "customers.CustomerRegistered":
            found.customers.append(event["data"])
        elif event["type"] == "catalog.ProductAdded":
            found.products.append(event["data"])
    return found


def rows(of: Shop, count: int) -> Iterator[tuple[Any, ...]]:
    """Orders of one to three lines, in the order of COLUMNS."""
    for n in range(count):
        customer = of.customers[roll(n, 1) % len(of.customers)]
        lines = [_line(of, n, number) for number in range(1, 2 + roll(n, 2) % 3)]
        total = f"{sum(float(line['amount']) for line in lines):.2f}"
        status = STATUSES[roll(n, 3) % len(STATUSES)]
        sent = status in ("shipped", "delivered", "returned")
        paid = status not in ("pending", "cancelled")
        placed = FIRST + timedelta(seconds=roll(n, 4) % (700 * 86_400))
        yield (
            *(f"o{n}", status, placed, "EUR", total, len(lines), customer["customer_id"], customer["name"]),
            *(customer["email"], customer["country"], customer.get("segment"), Jsonb(lines)),
            *("captured" if paid else "none", total if paid else "0.00", "0.00", "reserved" if paid else "none"),
            *({"shipped": "dispatched", "delivered": "delivered", "returned": "returned"}.get(status, "none"),),
            *(CARRIERS[roll(n, 5) % len(CARRIERS)] if sent else None, placed, sum(line["quantity"] for line in lines)),
        )


def _line(of: Shop, order: int, number: int) -> dict[str, Any]:
    product, quantity = of.products[roll(order, 10 + number) % len(of.products)], 1 + roll(order, 20 + number) % 5
    return {
        "line": number,
        "product_id": product["product_id"],
        "product_name": product["name"],
        "category": product["category"],
        "quantity": quantity,
        "unit_price": product["price"],
        "discount": "0",
        "amount": f"{quantity * float(product['price']):.2f}",
    }


def copy(connection: psycopg.Connection[Any], made: Iterator[tuple[Any, ...]]) -> None:
    names = ", ".join(COLUMNS)
    with connection.cursor().copy(f"COPY order_overview__g1 ({names}) FROM STDIN") as into:
        for row in made:
            into.write_row(row)


def add(connection: psycopg.Connection[Any], made: Sequence[tuple[Any, ...]]) -> float:
    """Add rows, and their keys to the outbox, as a batch does; returns the moment (monotonic) of the commit."""
    with connection.transaction(), connection.cursor() as cursor:
        copy(connection, iter(made))
        outbox.put(cursor, {"order_overview": [row[0] for row in made]})
    return time.monotonic()


def change(connection: psycopg.Connection[Any], round_: int) -> float:
    """Change a column of all rows, and put their keys into the outbox; returns the moment of the commit."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("UPDATE order_overview__g1 SET carrier = %s RETURNING order_id", [f"Carrier {round_}"])
        outbox.put(cursor, {"order_overview": [key for (key,) in cursor.fetchall()]})
    return time.monotonic()

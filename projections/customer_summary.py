"""Customers, each with what its orders add up to: one row for each known or referred to by an order."""

from sqlalchemy import cast, func, select

from projections.customers import customers
from projections.order_overview import order_overview
from projector.declare import (
    Rollup,
    Search,
    View,
    WholeNumber,
    by_currency,
    count,
    greatest,
    least,
    or_empty,
    total,
    whole,
)

o = order_overview.c

customer_orders = Rollup(
    "customer_orders",
    source=order_overview,
    by={"customer_id": o.customer_id, "currency": o.currency},
    measures={
        "orders": count(),
        "open_orders": count(where=o.status.in_(["pending", "paid", "shipped"])),
        "cancelled_orders": count(where=o.status == "cancelled"),
        "captured": total(o.paid_amount),
        "refunded": total(o.refunded_amount),
        # div, which is exact: a quotient is rounded to the scale of a very large total, and floor comes too late
        "loyalty_points": total(cast(func.div(o.total, 10), WholeNumber), where=o.status != "cancelled"),
        "first_order_at": least(o.placed_at),
        "last_order_at": greatest(o.placed_at),
    },
)

r = customer_orders.c

# By currency in the rollup, summed over currencies here: a customer has a handful of them, however many orders.
theirs = (
    select(
        r.customer_id,
        func.sum(r.orders).label("orders"),
        func.sum(r.open_orders).label("open_orders"),
        func.sum(r.cancelled_orders).label("cancelled_orders"),
        by_currency(r.currency, r.captured - r.refunded, where=(r.captured > 0) | (r.refunded > 0)).label(
            "lifetime_value"
        ),
        func.sum(r.loyalty_points).label("loyalty_points"),
        func.min(r.first_order_at).label("first_order_at"),
        func.max(r.last_order_at).label("last_order_at"),
    )
    .select_from(customer_orders.table)
    .group_by(r.customer_id)
    .subquery("theirs")
)


customer_summary = View(
    "customer_summary",
    path="customers",
    key="customer_id",
    query=select(
        func.coalesce(customers.c.customer_id, theirs.c.customer_id).label("customer_id"),
        customers.c.name,
        customers.c.email,
        customers.c.country,
        customers.c.segment,
        func.coalesce(customers.c.erased, False).label("erased"),
        whole(theirs.c.orders).label("orders"),
        whole(theirs.c.open_orders).label("open_orders"),
        whole(theirs.c.cancelled_orders).label("cancelled_orders"),
        or_empty(theirs.c.lifetime_value).label("lifetime_value"),
        whole(theirs.c.loyalty_points).label("loyalty_points"),
        theirs.c.first_order_at,
        theirs.c.last_order_at,
        customers.c.updated_at,
    ).select_from(customers.table.join(theirs, theirs.c.customer_id == customers.c.customer_id, full=True)),
    indexes=[("country",), ("-last_order_at",), ("-orders",), ("name",)],
    search=Search(
        text={"customer_id": 5, "name": 3, "email": 3},
        facets=["country", "segment", "erased"],
    ),
)

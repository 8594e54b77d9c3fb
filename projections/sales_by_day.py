"""Sales by the UTC day of the order, the customer's present country and the order's currency."""

from sqlalchemy import Date, cast, func

from projections.order_overview import order_overview
from projector.declare import Rollup, count, total

o = order_overview.c

sales_by_day = Rollup(
    "sales_by_day",
    path="sales-by-day",
    source=order_overview,
    by={
        "day": cast(func.timezone("UTC", o.placed_at), Date),
        "customer_country": o.customer_country,
        "currency": o.currency,
    },
    measures={
        "orders": count(),
        "cancelled_orders": count(where=o.status == "cancelled"),
        "units": total(o["_units"], where=o.status != "cancelled"),
        "gross": total(o.total, where=o.status != "cancelled"),
        "refunded": total(o.refunded_amount),
    },
    indexes=[("customer_country", "-day")],
)

"""What each placed order waits for on its way to the customer: computed from the order's own row."""

from sqlalchemy import and_, case, cast, or_, select

from projections.order_overview import order_overview
from projector.declare import String, View

o = order_overview.c

broken = or_(
    o.status == "cancelled", o.stock_status == "failed", o.payment_status == "failed", o.shipment_status == "returned"
)
held = or_(o.stock_status == "reserved", o.paid_amount > o.refunded_amount)
# Past those that are broken no shipment came back: what is left is none, dispatched or delivered.
state = case(
    (and_(broken, held), "compensating"),
    (broken, "compensated"),
    (o.shipment_status == "delivered", "done"),
    (o.dispatched_at.is_not(None), "in_transit"),
    (o.stock_status != "reserved", "awaiting_stock"),
    (o.paid_amount < o.total, "awaiting_payment"),
    else_="awaiting_shipment",
)
waiting_for = case(
    (and_(broken, o.stock_status == "reserved"), "stock_release"),
    (and_(broken, held), "refund"),
    (or_(broken, o.shipment_status == "delivered"), None),
    (o.dispatched_at.is_not(None), "delivery"),
    (o.stock_status != "reserved", "stock"),
    (o.paid_amount < o.total, "payment"),
    else_="shipment",
)

fulfilment = View(
    "fulfilment",
    path="fulfilment",
    key="order_id",
    virtual=True,
    query=select(
        o.order_id,
        cast(state, String).label("state"),
        cast(waiting_for, String).label("waiting_for"),
        o.updated_at.label("since"),
        o.customer_id,
        o.customer_name,
        o.total,
        o.currency,
        o.updated_at,
    ).select_from(order_overview.table),
    indexes=[("state", "since")],
)

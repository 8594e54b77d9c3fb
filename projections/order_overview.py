"""Orders, each with its customer, products, payments, stock and shipments: one row an order."""

from typing import Any

from sqlalchemy import ColumnElement, and_, case, cast, func, select

from projections.customers import customers
from projections.orders import orders
from projections.payments import payments
from projections.products import products
from projections.shipments import shipments
from projections.stock import stock
from projector.declare import Instant, Money, Search, String, View, first_of, list_of

line = orders.rows("lines")

lines = (
    select(
        line.order_id,
        list_of(
            line.line,
            line=line.line,
            product_id=line.product_id,
            product_name=products.c.name,
            category=products.c.category,
            quantity=line.quantity,
            unit_price=line.unit_price,
            discount=line.discount,
            amount=line.amount,
        ).label("lines"),
    )
    .select_from(line.order_id.table.outerjoin(products.table, products.c.product_id == line.product_id))
    .group_by(line.order_id)
    .subquery("lines")
)


def _in_the_orders_currency(amounts: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(cast(amounts.op("->>")(orders.c.currency), Money)), 0)


paid = (
    select(
        payments.c.order_id,
        _in_the_orders_currency(payments.c.captured).label("captured"),
        _in_the_orders_currency(payments.c.refunded).label("refunded"),
        func.bool_or(payments.c.authorized).label("authorized"),
        func.bool_or(payments.c.failed).label("failed"),
        func.max(payments.c.updated_at).label("updated_at"),
    )
    .select_from(payments.table.join(orders.table, orders.c.order_id == payments.c.order_id))
    .group_by(payments.c.order_id)
    .subquery("paid")
)

_delivered = shipments.c.delivered_at.is_not(None)
sent = (
    select(
        shipments.c.order_id,
        func.bool_or(shipments.c.returned).label("returned"),
        func.bool_and(_delivered).label("delivered"),
        func.min(shipments.c.dispatched_at).label("dispatched_at"),
        first_of(
            shipments.c.carrier,
            order_by=[shipments.c.dispatched_at, shipments.c.shipment_id],
            where=shipments.c.dispatched_at.is_not(None),
        ).label("carrier"),
        func.max(shipments.c.delivered_at).label("delivered_at"),
        func.max(shipments.c.updated_at).label("updated_at"),
    )
    .select_from(shipments.table)
    .group_by(shipments.c.order_id)
    .subquery("sent")
)

captured, refunded = func.coalesce(paid.c.captured, 0), func.coalesce(paid.c.refunded, 0)

status = case(
    (orders.c.cancelled, "cancelled"),
    (sent.c.returned, "returned"),
    (sent.c.delivered, "delivered"),
    (sent.c.dispatched_at.is_not(None), "shipped"),
    (and_(orders.c.total > 0, captured >= orders.c.total), "paid"),
    else_="pending",
)
payment_status = case(
    (and_(captured > 0, refunded >= captured), "refunded"),
    (and_(captured > 0, refunded > 0), "partially_refunded"),
    (captured > 0, "captured"),
    (paid.c.authorized, "authorized"),
    (paid.c.failed, "failed"),
    else_="none",
)
shipment_status = case(
    (sent.c.order_id.is_(None), "none"),
    (sent.c.returned, "returned"),
    (sent.c.delivered, "delivered"),
    else_="dispatched",
)

order_overview = View(
    "order_overview",
    path="orders",
    key="order_id",
    query=select(
        orders.c.order_id,
        cast(status, String).label("status"),
        orders.c.placed_at,
        orders.c.currency,
        orders.c.total,
        orders.c.line_count,
        orders.c.customer_id,
        customers.c.name.label("customer_name"),
        customers.c.email.label("customer_email"),
        customers.c.country.label("customer_country"),
        customers.c.segment.label("customer_segment"),
        lines.c.lines,
        cast(payment_status, String).label("payment_status"),
        cast(captured, Money).label("paid_amount"),
        cast(refunded, Money).label("refunded_amount"),
        func.coalesce(stock.c.status, "none", type_=String).label("stock_status"),
        cast(shipment_status, String).label("shipment_status"),
        sent.c.carrier,
        sent.c.dispatched_at,
        case((sent.c.delivered, sent.c.delivered_at)).label("delivered_at"),
        orders.c.cancel_reason,
        func.greatest(
            orders.c.updated_at, paid.c.updated_at, stock.c.updated_at, sent.c.updated_at, type_=Instant
        ).label("updated_at"),
        orders.c.units.label("_units"),
    ).select_from(
        orders.table.outerjoin(customers.table, customers.c.customer_id == orders.c.customer_id)
        .outerjoin(lines, lines.c.order_id == orders.c.order_id)
        .outerjoin(paid, paid.c.order_id == orders.c.order_id)
        .outerjoin(stock.table, stock.c.order_id == orders.c.order_id)
        .outerjoin(sent, sent.c.order_id == orders.c.order_id)
    ),
    indexes=[
        ("-placed_at",),
        ("status", "-placed_at"),
        ("customer_id", "-placed_at"),
        ("customer_country", "-placed_at"),
    ],
    search=Search(
        text={
            "order_id": 5,
            "customer_name": 3,
            "customer_email": 3,
            "lines.product_name": 2,
            "carrier": 1,
            "cancel_reason": 1,
        },
        facets=[
            "status",
            "payment_status",
            "shipment_status",
            "customer_country",
            "customer_segment",
            "currency",
            "lines.category",
        ],
    ),
)

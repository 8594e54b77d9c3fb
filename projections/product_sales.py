"""Products, each with its sales: one row for each known or referred to by an order. Cancelled orders count nothing."""

from sqlalchemy import func, not_, select

from projections.orders import orders
from projections.products import products
from projector.declare import Rollup, View, by_currency, count, or_empty, total, whole

line = orders.rows("lines")

# One row for each product of an order, so that an order with two lines of a product counts once.
order_products = View(
    "order_products",
    key=("order_id", "product_id"),
    query=select(
        line.order_id,
        line.product_id,
        orders.c.currency,
        orders.c.cancelled,
        whole(func.sum(line.quantity)).label("units"),
        func.sum(line.amount).label("revenue"),
    )
    .select_from(line.order_id.table.join(orders.table, orders.c.order_id == line.order_id))
    .group_by(line.order_id, line.product_id, orders.c.currency, orders.c.cancelled),
)

p = order_products.c

product_orders = Rollup(
    "product_orders",
    source=order_products,
    by={"product_id": p.product_id, "currency": p.currency},
    measures={
        "orders": count(where=not_(p.cancelled)),
        "units": total(p.units, where=not_(p.cancelled)),
        "revenue": total(p.revenue, where=not_(p.cancelled)),
    },
)

r = product_orders.c

sold = (
    select(
        r.product_id,
        func.sum(r.orders).label("orders"),
        func.sum(r.units).label("units"),
        by_currency(r.currency, r.revenue, where=r.orders > 0).label("revenue"),
    )
    .select_from(product_orders.table)
    .group_by(r.product_id)
    .subquery("sold")
)

product_sales = View(
    "product_sales",
    path="products",
    key="product_id",
    query=select(
        func.coalesce(products.c.product_id, sold.c.product_id).label("product_id"),
        products.c.name,
        products.c.category,
        products.c.brand,
        products.c.price,
        func.coalesce(products.c.discontinued, False).label("discontinued"),
        whole(sold.c.orders).label("orders"),
        whole(sold.c.units).label("units"),
        or_empty(sold.c.revenue).label("revenue"),
    ).select_from(products.table.join(sold, sold.c.product_id == products.c.product_id, full=True)),
    indexes=[("category",), ("-orders",), ("-units",)],
)

"""One view of the shop, `order_overview`, and the entities that it joins: what the peers of `ingest` build, too."""

from projections.customers import customers
from projections.order_overview import order_overview
from projections.orders import orders
from projections.payments import payments
from projections.products import products
from projections.shipments import shipments
from projections.stock import stock
from schemas import registry

__all__ = ["customers", "order_overview", "orders", "payments", "products", "registry", "shipments", "stock"]

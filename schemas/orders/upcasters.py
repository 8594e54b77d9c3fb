"""Orders: from each version to the next."""

from schemas.orders import v1, v2
from schemas.registry import upcaster


@upcaster(v1.OrderPlaced, v2.OrderPlaced)
def order_of_one_line(old: v1.OrderPlaced) -> v2.OrderPlaced:
    """Make the product of an order of version 1 its only line, number 1, without discount."""
    return v2.OrderPlaced(
        order_id=old.order_id,
        customer_id=old.customer_id,
        currency=old.currency,
        placed_at=old.placed_at,
        lines=(v2.Line(line=1, product_id=old.product_id, quantity=old.quantity, unit_price=old.unit_price),),
    )

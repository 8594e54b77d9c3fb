"""An order, as its own service tells it."""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated

from sqlalchemy import Numeric

from projector.declare import Entity, State
from schemas.orders import OrderCancelled, OrderPlaced

CENT = Decimal("0.01")


class Line(State, frozen=True):
    """One line; `amount` is quantity × unit price × (1 - discount), rounded half-even to cents."""

    line: int
    product_id: str
    quantity: int
    unit_price: Decimal
    discount: Annotated[Decimal, Numeric(5, 4)]
    amount: Decimal


class Order(State, frozen=True):
    """One order; `total` is the sum of its lines' amounts, `units` of their quantities."""

    order_id: str
    customer_id: str
    currency: str
    placed_at: datetime
    lines: tuple[Line, ...]
    line_count: int
    units: int
    total: Decimal
    cancelled: bool = False
    cancel_reason: str | None = None


orders = Entity(
    "orders",
    state=Order,
    key="order_id",
    topic="orders",
    children={"lines": Line},
    indexes=["customer_id", "lines.product_id"],
)


@orders.on(OrderPlaced)
def placed(order: Order | None, event: OrderPlaced) -> Order:
    """Placed, or placed anew: all that the event carries replaces what was; cancelled stays."""
    lines = tuple(
        Line(
            line=line.line,
            product_id=line.product_id,
            quantity=line.quantity,
            unit_price=line.unit_price,
            discount=line.discount,
            amount=(line.quantity * line.unit_price * (1 - line.discount)).quantize(CENT, ROUND_HALF_EVEN),
        )
        for line in event.lines
    )
    return Order(
        order_id=event.order_id,
        customer_id=event.customer_id,
        currency=event.currency,
        placed_at=event.placed_at,
        lines=lines,
        line_count=len(lines),
        units=sum(line.quantity for line in lines),
        total=sum((line.amount for line in lines), Decimal("0.00")),
        cancelled=order is not None and order.cancelled,
        cancel_reason=order.cancel_reason if order else None,
    )


@orders.on(OrderCancelled)
def cancelled(order: Order, event: OrderCancelled) -> Order:
    """Cancelled for good; the latest reason counts."""
    return order.replace(cancelled=True, cancel_reason=event.reason)

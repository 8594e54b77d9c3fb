"""Orders, version 1."""

from schemas.contract import Contract, Currency, Id, Money, Prose, Quantity, Time


class OrderPlaced(Contract, type="orders.OrderPlaced"):
    """A customer ordered some of one product."""

    order_id: Id
    customer_id: Id
    product_id: Id
    quantity: Quantity
    unit_price: Money
    currency: Currency
    placed_at: Time


class OrderCancelled(Contract, type="orders.OrderCancelled"):
    """An order is off; it stays so."""

    order_id: Id
    reason: Prose

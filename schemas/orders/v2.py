"""Orders, version 2: an order has lines."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.contract import Contract, Currency, Discount, Id, LineNumber, Money, Part, Quantity, Time, sorted_by_line


class Line(Part):
    """Some of one product, at a price, less a discount (a share from 0 to 1)."""

    line: LineNumber
    product_id: Id
    quantity: Quantity
    unit_price: Money
    discount: Discount = Decimal(0)


# `min_length` would call lines that are all wrong too few as well; sorted_by_line sees to it.
_AT_MOST_1000 = Field(max_length=1_000, json_schema_extra={"minItems": 1})


class OrderPlaced(Contract, type="orders.OrderPlaced", version=2):
    """A customer ordered some products; told again, it replaces all that it carries. Lines come in order of `line`."""

    order_id: Id
    customer_id: Id
    currency: Currency
    placed_at: Time
    lines: Annotated[tuple[Line, ...], _AT_MOST_1000, AfterValidator(sorted_by_line)]

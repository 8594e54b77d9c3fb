"""Orders: TPC-H's orders with their lines, and what payment, stock and shipping make of them.

| TPC-H | events |
| --- | --- |
| order date | OrderPlaced; version 1 if it has one line and was placed before the order service knew version 2 |
| extended price / quantity | the unit price |
| order status | when the payment is captured: F at once, P half of it, O mostly when goods leave |
| ship mode | the carrier; what goes with one carrier is one shipment |
| ship date, receipt date | ShipmentDispatched, ShipmentDelivered: the latest of the shipment's lines |
| return flag R | some of those shipments come back and are refunded |
| commit date | the reason of a return: late, or not |
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec

from projector.tpch.calendar import DAY, HOUR, MINUTE, day_number, stamp
from projector.tpch.dice import roll
from projector.tpch.steps import Step
from projector.tpch.words import CARRIERS, WAREHOUSES, money

VERSION_2_SINCE = day_number(date(1993, 1, 1)) * DAY


class Line(msgspec.Struct, gc=False):
    """A line item: `price` of one in cents, `discount` in percent, dates in days since 1970."""

    part: int
    quantity: int
    price: int
    discount: int
    returned: bool
    ship: int
    commit: int
    receipt: int
    mode: str

    @property
    def amount(self) -> int:
        """Cents, rounded half-even, as the contract says."""
        cents, rest = divmod(self.quantity * self.price * (100 - self.discount), 100)
        return cents + (rest > 50 or (rest == 50 and cents % 2))


class Order(msgspec.Struct):
    """An order as TPC-H tells it; `key` decides its fate, `placed` is in seconds since 1970, `status` F, O or P.

    `total` follows from the lines, in cents. An order that version 1 can tell has no discount: it is in the price.
    """

    key: int
    id: str
    customer: str
    currency: str
    status: str
    placed: int
    lines: list[Line]
    total: int = 0

    def __post_init__(self) -> None:
        if self.is_version_1:
            line = self.lines[0]
            line.price, line.discount = line.price * (100 - line.discount) // 100, 0
        self.total = sum([line.amount for line in self.lines])

    @property
    def is_version_1(self) -> bool:
        """Tell whether OrderPlaced is published in version 1."""
        return len(self.lines) == 1 and self.placed < VERSION_2_SINCE


def time_of_day(key: int) -> int:
    """Tell when on its day order `key` is placed, in seconds."""
    return roll(key, 50) % DAY


def story(order: Order) -> list[Step]:
    """Tell all that happens to the order, its payments, its stock and its shipments; 19 of 20 orders fare well."""
    fate = roll(order.key, 51) % 1_000
    steps = [_placed(order)]
    if fate < 12:
        steps += _out_of_stock(order)
    elif fate < 24:
        steps += _declined(order)
    elif fate < 50:
        steps += _cancelled(order)
    else:
        if fate < 62:  # the first card is refused, the second works
            steps.append(_payment_failed(order, 1, order.placed + MINUTE, "insufficient funds"))
        steps += _fulfilled(order, payment=2 if fate < 62 else 1)
    return steps


def _placed(order: Order) -> Step:
    data: dict[str, Any] = {"order_id": order.id, "customer_id": order.customer}
    if order.is_version_1:
        line = order.lines[0]
        data |= {"product_id": f"p{line.part}", "quantity": line.quantity, "unit_price": money(line.price)}
        data |= {"currency": order.currency, "placed_at": stamp(order.placed)}
        return Step(order.placed, "orders.OrderPlaced", order.id, data)
    data |= {"currency": order.currency, "placed_at": stamp(order.placed)}
    data["lines"] = [_line(number, line) for number, line in enumerate(order.lines, 1)]
    return Step(order.placed, "orders.OrderPlaced.v2", order.id, data)


def _line(number: int, line: Line) -> dict[str, Any]:
    price = money(line.price)
    data: dict[str, Any] = {
        "line": number,
        "product_id": f"p{line.part}",
        "quantity": line.quantity,
        "unit_price": price,
    }
    if line.discount:
        data["discount"] = money(line.discount)
    return data


def _out_of_stock(order: Order) -> Iterator[Step]:
    paid, after = order.placed + 2 * MINUTE, order.placed + 5 * MINUTE
    yield _authorized(order, 1, paid)
    yield _captured(order, 1, paid + 1, order.total)
    yield Step(after, "inventory.StockReservationFailed", order.id, {"order_id": order.id, "reason": "out of stock"})
    yield _order_cancelled(order, after + HOUR, "out of stock")
    if roll(order.key, 53) % 4:  # the others wait for their refund
        yield _refunded(order, 1, after + 2 * DAY, order.total)


def _declined(order: Order) -> Iterator[Step]:
    yield _reserved(order)
    yield _payment_failed(order, 1, order.placed + 2 * MINUTE, "card declined")
    if roll(order.key, 54) % 4:
        yield _order_cancelled(order, order.placed + DAY, "not paid")
    if roll(order.key, 55) % 4:  # the others wait for the release of their stock
        yield _released(order, order.placed + DAY + MINUTE)


def _cancelled(order: Order) -> Iterator[Step]:
    after = order.placed + HOUR + roll(order.key, 56) % (20 * HOUR)
    yield _reserved(order)
    yield _authorized(order, 1, order.placed + 2 * MINUTE)
    yield _order_cancelled(order, after, "changed their mind")
    if roll(order.key, 57) % 5:
        yield _released(order, after + 3 * MINUTE)
    if order.status == "F":
        yield _captured(order, 1, order.placed + 3 * MINUTE, order.total)
        yield _refunded(order, 1, after + DAY, order.total)


def _fulfilled(order: Order, payment: int) -> Iterator[Step]:
    yield _reserved(order)
    yield _authorized(order, payment, order.placed + 2 * MINUTE)
    at_once, leaving = order.placed + 3 * MINUTE, min(line.ship for line in order.lines) * DAY + 7 * HOUR
    first = order.total * _percent_at_once(order) // 100
    if first:
        yield _captured(order, payment, at_once, first)
    if first < order.total:
        yield _captured(order, payment, max(at_once + 1, leaving), order.total - first)
    for number, (carrier, lines) in enumerate(_shipments(order).items(), 1):
        yield from _shipped(order, f"{order.id}-s{number}", carrier, lines, payment)


def _percent_at_once(order: Order) -> int:
    if order.status == "O":
        return 100 if roll(order.key, 58) % 4 == 0 else 0
    return 100 if order.status == "F" else 50


def _shipments(order: Order) -> dict[str, list[Line]]:
    shipments: dict[str, list[Line]] = {}
    for line in order.lines:
        shipments.setdefault(CARRIERS[line.mode], []).append(line)
    return shipments


def _shipped(order: Order, shipment: str, carrier: str, lines: list[Line], payment: int) -> Iterator[Step]:
    hour = 8 * HOUR + roll(order.key, 59) % (10 * HOUR)
    dispatched = max([line.ship for line in lines]) * DAY + hour
    delivered = max(dispatched // DAY + 1, max([line.receipt for line in lines])) * DAY + hour
    ids = {"shipment_id": shipment, "order_id": order.id}
    data = {**ids, "carrier": carrier, "dispatched_at": stamp(dispatched)}
    yield Step(dispatched + MINUTE, "shipping.ShipmentDispatched", shipment, data)
    yield Step(delivered + MINUTE, "shipping.ShipmentDelivered", shipment, {**ids, "delivered_at": stamp(delivered)})
    back = [line for line in lines if line.returned]
    if back and roll(order.key, 60) % 8 == 0:
        reason = "arrived late" if any(line.receipt > line.commit for line in back) else "not as expected"
        returned = delivered + (2 + roll(order.key, 61) % 12) * DAY
        yield Step(returned, "shipping.ShipmentReturned", shipment, {**ids, "reason": reason})
        if amount := sum(line.amount for line in back):
            yield _refunded(order, payment, returned + 2 * DAY, amount)


def _reserved(order: Order) -> Step:
    data = {"order_id": order.id, "warehouse": WAREHOUSES[order.key % len(WAREHOUSES)]}
    return Step(order.placed + MINUTE, "inventory.StockReserved", order.id, data)


def _released(order: Order, at: int) -> Step:
    return Step(at, "inventory.StockReleased", order.id, {"order_id": order.id})


def _order_cancelled(order: Order, at: int, reason: str) -> Step:
    return Step(at, "orders.OrderCancelled", order.id, {"order_id": order.id, "reason": reason})


def _authorized(order: Order, number: int, at: int) -> Step:
    return _payment(order, "Authorized", number, at, _money(order, order.total))


def _captured(order: Order, number: int, at: int, cents: int) -> Step:
    return _payment(order, "Captured", number, at, _money(order, cents))


def _refunded(order: Order, number: int, at: int, cents: int) -> Step:
    return _payment(order, "Refunded", number, at, _money(order, cents))


def _payment_failed(order: Order, number: int, at: int, reason: str) -> Step:
    return _payment(order, "Failed", number, at, {"reason": reason})


def _money(order: Order, cents: int) -> dict[str, str]:
    return {"amount": money(cents), "currency": order.currency}


def _payment(order: Order, what: str, number: int, at: int, data: dict[str, str]) -> Step:
    payment = f"{order.id}-p{number}"
    return Step(at, f"payments.Payment{what}", payment, {"payment_id": payment, "order_id": order.id, **data})

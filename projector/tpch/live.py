"""The shop today: new orders of existing customers, what becomes of them, now and then a new name or price."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from time import monotonic

from projector.publish.message import Message
from projector.tpch import customers, products
from projector.tpch.calendar import DAY, END, FIRST_ORDER
from projector.tpch.orders import Line, Order, story
from projector.tpch.steps import Step, numbered, record
from projector.tpch.timeline import EVENTS_PER_SCALE
from projector.tpch.words import CARRIERS, NATIONS, email, money, new_product_name, person, retail_price

IN_FLIGHT = 150
_CHANGES = 0.02  # of all events
_NOW = ("placed_at", "dispatched_at", "delivered_at")


def shop_clock(scale: float, rate: float, seconds: Callable[[], float] = monotonic) -> Callable[[], datetime]:
    """A clock that goes on where the history ends, so fast that `rate` events a second are as dense as those in it.

    `seconds` is what it is driven by.
    """
    speed, began = rate * (END - FIRST_ORDER) / (EVENTS_PER_SCALE * scale), seconds()
    return lambda: datetime.fromtimestamp(END + speed * (seconds() - began), UTC)


def live_events(scale: float, clock: Callable[[], datetime], seed: int = 0) -> Iterator[Message]:
    """Tell without end what happens now in the shop whose history is `events(scale)`; an event's time is `clock()`.

    Same seed and same clock, same events; another start is another set of orders. About IN_FLIGHT of them
    are under way. Changes of customers and products have no `sequence`: they do not know
    how many a former run has published.
    """
    chance, run = Random(f"{scale} {seed}"), int(clock().timestamp() * 1000)  # noqa: S311 - not for secrets
    under_way: list[Iterator[tuple[Step, int]]] = []
    placed = changed = 0
    while True:
        now = clock().astimezone(UTC)
        if chance.random() < _CHANGES:
            changed += 1
            yield _message(_change(scale, chance), f"live-{run}-{changed}", now, None)
        elif chance.random() < 1 - len(under_way) / IN_FLIGHT:
            placed += 1
            under_way.append(numbered(story(_order(scale, chance, run, placed, int(now.timestamp())))))
            yield from _go_on(under_way, len(under_way) - 1, now)
        else:
            yield from _go_on(under_way, chance.randrange(len(under_way)), now)


def _go_on(under_way: list[Iterator[tuple[Step, int]]], number: int, now: datetime) -> Iterator[Message]:
    """Tell an order's next step, or take it off the list."""
    if (told := next(under_way[number], None)) is None:
        under_way[number] = under_way[-1]
        under_way.pop()
    else:
        step, sequence = told
        yield _message(step, f"{step.subject}-{sequence}", now, sequence)


def _message(step: Step, event_id: str, now: datetime, sequence: int | None) -> Message:
    time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    step.data |= dict.fromkeys(step.data.keys() & _NOW, time)
    told = record(step, event_id, time, sequence)
    return Message(told.topic, told.key, told.value)


def _order(scale: float, chance: Random, run: int, number: int, now: int) -> Order:
    key = chance.getrandbits(63)  # decides its fate
    customer = 1 + chance.randrange(customers.count(scale))
    while customers.is_erased(customer):
        customer = 1 + chance.randrange(customers.count(scale))
    currency = chance.choice(NATIONS)[1]
    lines = [_line(scale, chance, now // DAY) for _ in range(chance.randint(1, 5))]
    return Order(key, f"o{run}-{number}", f"c{customer}", currency, chance.choice("FFO"), now, lines)


def _line(scale: float, chance: Random, today: int) -> Line:
    part, ship = 1 + chance.randrange(products.count(scale)), today + chance.randint(1, 3)
    receipt = ship + chance.randint(1, 5)
    late = receipt - chance.randint(-1, 3)
    mode = chance.choice(list(CARRIERS))
    price, discount = retail_price(part), chance.randrange(11)
    return Line(part, chance.randint(1, 9), price, discount, chance.random() < 0.1, ship, late, receipt, mode)


def _change(scale: float, chance: Random) -> Step:
    customer, product = 1 + chance.randrange(customers.count(scale)), 1 + chance.randrange(products.count(scale))
    version = chance.randrange(1_000)
    ids, name = {"customer_id": f"c{customer}"}, person(customer, version)
    what, data = chance.choice(
        [
            ("customers.CustomerNameChanged", {**ids, "name": name}),
            ("customers.CustomerEmailChanged", {**ids, "email": email(name, customer)}),
            ("customers.CustomerMoved", {**ids, "country": NATIONS[version % 25][0]}),
            ("catalog.ProductRenamed", {"product_id": f"p{product}", "name": new_product_name(product, version)}),
            ("catalog.ProductRepriced", {"product_id": f"p{product}", "price": money(retail_price(product) + version)}),
        ]
    )
    return Step(0, what, data.get("customer_id") or data["product_id"], data)

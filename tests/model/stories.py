"""Realistic histories: customers, products and orders that go through their lives, from a seed."""

import random
from collections.abc import Iterator, Sequence

from tests.model.expand import CloudEvent, Step, expand

DETAILS = 10**15


def random_history(
    seed: int,
    *,
    customers: int = 5,
    products: int = 6,
    orders: int = 20,
    sequencing: str = "by_aggregate",
    unknown: float = 0.1,
    first: int = 0,
    changes: int = 4,
    all_along: bool = False,
) -> list[CloudEvent]:
    """Each aggregate's events in order. `unknown`: the share of customers and products that never appear.

    Ids are numbered from `first`; a customer or product has fewer than `changes` changes after it appeared;
    `all_along`: it may appear at any time, else most are there before the orders.
    """
    rng = random.Random(seed)
    lives = [_customer(rng, first + n, changes) for n in range(customers) if rng.random() >= unknown]
    lives += [_product(rng, first + n, changes) for n in range(products) if rng.random() >= unknown]
    lives += [_order(rng, first + n, range(first, first + customers)) for n in range(orders)]
    if all_along:
        rng.shuffle(lives)
    known = range(first, first + products)
    return expand(_shuffled(rng, lives), sequencing=sequencing, orphans=True, products=known)


def _shuffled(rng: random.Random, lives: list[list[Step]]) -> Iterator[Step]:
    """Lives begin one after another and overlap."""
    alive: list[list[Step]] = []
    waiting = [list(reversed(life)) for life in reversed(lives)]
    while alive or waiting:
        if waiting and (not alive or rng.random() < 0.3):
            alive.append(waiting.pop())
        at = rng.randrange(len(alive))
        yield alive[at].pop()
        if not alive[at]:
            del alive[at]


def _customer(rng: random.Random, id: int, changes: int) -> list[Step]:
    kinds = ["NameChanged", "EmailChanged", "Moved", "Moved", "Registered"]
    names = ["Registered", *rng.choices(kinds, k=rng.randrange(changes))]
    if rng.random() < 0.15:
        names.insert(rng.randrange(len(names) + 1), "Erased")
    if names[0] == "Erased" and rng.random() < 0.5:
        names.remove("Registered")
    return [Step(f"customers.Customer{name}", id, 0, rng.randrange(DETAILS)) for name in names]


def _product(rng: random.Random, id: int, changes: int) -> list[Step]:
    kinds, weights = ["Renamed", "Repriced", "Discontinued", "Added"], [4, 4, 1, 1]
    names = ["Added", *rng.choices(kinds, weights, k=rng.randrange(changes))]
    return [Step(f"catalog.Product{name}", id, 0, rng.randrange(DETAILS)) for name in names]


def _order(rng: random.Random, id: int, customers: Sequence[int]) -> list[Step]:
    def step(type: str, own: int = id, ref: int = id) -> Step:
        return Step(type, own, ref, rng.randrange(DETAILS))

    customer = rng.choice(customers)
    steps = [step(rng.choice(["orders.OrderPlaced", "orders.OrderPlaced.v2"]), ref=customer)]
    if rng.random() < 0.9:
        steps.append(step(rng.choice(["inventory.StockReserved"] * 4 + ["inventory.StockReservationFailed"])))
    for payment in range(rng.choice([0, 1, 1, 1, 2])):
        names = rng.choice(PAYMENTS)
        steps += [step(f"payments.Payment{name}", 2 * id + payment) for name in names]
    for shipment in range(rng.choice([0, 0, 1, 1, 2])):
        names = rng.choice(SHIPMENTS)
        steps += [step(f"shipping.Shipment{name}", 2 * id + shipment) for name in names]
    if rng.random() < 0.15:
        steps.append(step("orders.OrderCancelled"))
    if rng.random() < 0.15:
        steps.append(step("inventory.StockReleased"))
    if rng.random() < 0.1:
        steps.append(step("orders.OrderPlaced.v2", ref=rng.choice(customers)))
    if rng.random() < 0.1:  # names another order: without effect on where the payment belongs
        steps.append(step("payments.PaymentRefunded", 2 * id, id + 1))
    return _jumbled(rng, steps)


def _jumbled(rng: random.Random, steps: list[Step]) -> list[Step]:
    """Some services are ahead of others; each keeps its own order."""
    topics = [step.type.partition(".")[0] for step in steps]
    if rng.random() < 0.5:
        rng.shuffle(topics)
    queues = {topic: iter([step for step in steps if step.type.startswith(f"{topic}.")]) for topic in topics}
    return [next(queues[topic]) for topic in topics]


PAYMENTS = [
    ["Authorized"],
    ["Authorized", "Captured"],
    ["Authorized", "Captured"],
    ["Captured", "Captured"],
    ["Authorized", "Failed"],
    ["Failed"],
    ["Authorized", "Captured", "Refunded"],
    ["Captured", "Refunded", "Refunded"],
    ["Refunded"],
    ["Failed", "Authorized", "Captured"],
]
SHIPMENTS = [
    ["Dispatched"],
    ["Dispatched", "Delivered"],
    ["Dispatched", "Delivered"],
    ["Dispatched", "Dispatched", "Delivered", "Delivered"],
    ["Dispatched", "Delivered", "Returned"],
    ["Dispatched", "Returned"],
    ["Delivered"],
    ["Returned"],
]

"""Streams in which everything that can race does: renames and moves against orders of the same few customers."""

import random

from tests.model import Record
from tests.model.expand import Step, expand
from tests.model.histories import interleave, partitioned

CUSTOMERS, PRODUCTS = 4, 3
DETAILS = 10**9


def racing(seed: int, rounds: int, partitions: int) -> list[Record]:
    """In each round a customer is renamed and moved (which moves its orders among the groups of `sales_by_day`), a
    product is renamed, and orders of both are placed or cancelled; six records, whose topics overtake each other.
    """
    rng = random.Random(seed)
    steps = []
    for number in range(rounds):
        customer, product = rng.randrange(CUSTOMERS), rng.randrange(PRODUCTS)
        steps += [
            Step("customers.CustomerNameChanged", customer, 0, rng.randrange(DETAILS)),
            Step("orders.OrderPlaced.v2", 2 * number, customer, rng.randrange(DETAILS)),
            Step("customers.CustomerMoved", customer, 0, rng.randrange(DETAILS)),
            Step("orders.OrderPlaced", 2 * number + 1, rng.randrange(CUSTOMERS), rng.randrange(DETAILS)),
            Step("catalog.ProductRenamed", product, 0, rng.randrange(DETAILS)),
            Step("orders.OrderCancelled", rng.randrange(2 * number + 1), 0, rng.randrange(DETAILS)),
        ]
    events = expand(steps, products=PRODUCTS)
    return interleave(partitioned(events, partitions), rng.randrange)

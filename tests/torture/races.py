"""Streams in which everything that can race does: renames and moves against orders of the same few customers."""

import random

from tests.model import Record
from tests.model.expand import Step, expand
from tests.model.histories import interleave, partitioned

CUSTOMERS, PRODUCTS = 4, 3
SHIFT = 250  # rounds after which a customer and a product give way to new ones
DETAILS = 10**9


def racing(seed: int, rounds: int, partitions: int) -> list[Record]:
    """In each round a customer is renamed and moved (which moves its orders among the groups of `sales_by_day`), a
    product is renamed, and orders of both are placed, paid, placed anew (in another currency, of another customer) or
    cancelled; eight records, whose topics overtake each other. Now and then a customer is erased.
    """
    rng = random.Random(seed)
    steps = []
    for number in range(rounds):
        since = number // SHIFT
        customer, product = since + rng.randrange(CUSTOMERS), since + rng.randrange(PRODUCTS)
        order = 2 * number
        steps += [
            Step("customers.CustomerNameChanged", customer, 0, rng.randrange(DETAILS)),
            Step("orders.OrderPlaced.v2", order, customer, rng.randrange(DETAILS)),
            Step("customers.CustomerMoved", customer, 0, rng.randrange(DETAILS)),
            Step("orders.OrderPlaced", order + 1, since + rng.randrange(CUSTOMERS), rng.randrange(DETAILS)),
            Step("catalog.ProductRenamed", product, 0, rng.randrange(DETAILS)),
            Step("payments.PaymentCaptured", order, order, rng.randrange(DETAILS)),
            Step("orders.OrderPlaced.v2", rng.randrange(order + 1), customer, rng.randrange(DETAILS)),
            Step("orders.OrderCancelled", rng.randrange(order + 1), 0, rng.randrange(DETAILS)),
        ]
        if number % SHIFT == SHIFT // 2:
            steps.append(Step("customers.CustomerErased", since))
    events = expand(steps, products=range(rounds // SHIFT + PRODUCTS))
    return interleave(partitioned(events, partitions), rng.randrange)

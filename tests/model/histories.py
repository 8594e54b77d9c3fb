"""Hypothesis strategies of histories and of record streams, and all that makes them, under one name.

@given(record_streams())
def test_…(records): Model().apply_all(records).views()

records = partitioned(interleave(with_repeats(random_history(7), pick), pick))  # pick = random.Random(7).randrange
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from tests.model.expand import FIELDS, SEQUENCING, CloudEvent, Step, cloud_event, expand
from tests.model.poison import break_event, with_poison
from tests.model.record import Record
from tests.model.stories import random_history
from tests.model.streams import (
    Item,
    Pick,
    Raw,
    encoded,
    interleave,
    partitioned,
    with_gaps_and_late,
    with_repeats,
)

__all__ = [
    "CloudEvent",
    "Item",
    "Pick",
    "Raw",
    "Shop",
    "Step",
    "break_event",
    "cloud_event",
    "encoded",
    "expand",
    "histories",
    "interleave",
    "partitioned",
    "random_history",
    "random_stream",
    "record_streams",
    "together",
    "with_gaps_and_late",
    "with_poison",
    "with_repeats",
]

_SERVICES = {
    "Customer": "customers",
    "Product": "catalog",
    "Order": "orders",
    "Payment": "payments",
    "Stock": "inventory",
    "Shipment": "shipping",
}
_TYPES = ["orders.OrderPlaced.v2", "customers.CustomerRegistered", "catalog.ProductAdded", "orders.OrderPlaced"]
_TYPES += [f"payments.Payment{name}" for name in ("Authorized", "Captured", "Refunded", "Captured")]
_TYPES += [f"{topic}.{name}" for start, topic in _SERVICES.items() for name in FIELDS if name.startswith(start)]


@st.composite
def histories(draw: st.DrawFn, *, max_steps: int = 25, ids: int = 2) -> list[CloudEvent]:
    """A few events on very few ids; with and without orphans, `sequence` in all, none or some."""
    number = st.integers(0, ids - 1)
    step = st.builds(Step, st.sampled_from(_TYPES), number, number, st.integers(0, 10**9))
    steps = draw(st.lists(step, max_size=max_steps))
    sequencing, orphans = draw(st.sampled_from(SEQUENCING)), draw(st.booleans())
    return expand(steps, sequencing=sequencing, orphans=orphans, products=range(ids))


@st.composite
def record_streams(
    draw: st.DrawFn, *, max_steps: int = 25, ids: int = 2, partitions: int = 2, poison: bool = True
) -> list[Record]:
    """All that may happen to a small history on its way, as records."""

    def pick(n: int) -> int:
        return draw(st.integers(0, n - 1))

    return _stream(draw(histories(max_steps=max_steps, ids=ids)), pick, partitions, poison)


def random_stream(
    seed: int, *, customers: int = 5, products: int = 6, orders: int = 20, partitions: int = 2, poison: bool = True
) -> list[Record]:
    """The same of a realistic history of any size, from a seed: some 9 records an order."""
    rng = random.Random(seed)
    sequencing = SEQUENCING[seed % len(SEQUENCING)]
    events = random_history(seed, customers=customers, products=products, orders=orders, sequencing=sequencing)
    return _stream(events, rng.randrange, partitions, poison)


class Shop(NamedTuple):
    """One of the shops of a long stream. The shares are of its records, and come out somewhere near."""

    seed: int
    first: int  # its ids are numbered from here
    customers: int
    products: int
    orders: int
    partitions: int
    repeats: float
    poison: float

    def records(self) -> list[Record]:
        """Its customers and products come, are renamed, moved and erased all along; the busier, the more often."""
        rng = random.Random(f"shop {self.seed}")
        sequencing = SEQUENCING[self.seed % len(SEQUENCING)]
        changes = 4 + self.orders // (4 * (self.customers + self.products))
        events = random_history(
            self.seed, customers=self.customers, products=self.products, orders=self.orders, sequencing=sequencing,
            first=self.first, changes=changes, all_along=True,
        )  # fmt: skip
        items = with_gaps_and_late(events, rng.randrange, self.poison)
        items = with_repeats(items, rng.randrange, 2 * self.repeats)
        return partitioned(with_poison(items, rng.randrange, 2 * self.poison), self.partitions)


def together(shops: Sequence[Sequence[Record]], rng: random.Random) -> list[Record]:
    """The shops one after another, but overlapping: in each, some partitions are ahead by up to a whole shop."""
    placed = []
    begin = 0
    for records in shops:
        ahead: dict[tuple[str, int], int] = {}
        for number, record in enumerate(records):
            lead = ahead.setdefault(record[:2], rng.choice([0, rng.randrange(len(records))]))
            placed.append((begin + number - lead, len(placed), record))
        begin += len(records)
    return [record for _, _, record in sorted(placed)]


def _stream(events: list[CloudEvent], pick: Pick, partitions: int, poison: bool) -> list[Record]:
    items = with_repeats(with_gaps_and_late(events, pick), pick)
    if poison:
        items = with_poison(items, pick)
    return interleave(partitioned(interleave(items, pick), partitions), pick)

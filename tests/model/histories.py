"""Hypothesis strategies of histories and of record streams, and all that makes them, under one name.

@given(record_streams())
def test_…(records): Model().apply_all(records).views()

records = partitioned(interleave(with_repeats(random_history(7), pick), pick))  # pick = random.Random(7).randrange
"""

import random

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
    return expand(steps, sequencing=draw(st.sampled_from(SEQUENCING)), orphans=draw(st.booleans()), products=ids)


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


def _stream(events: list[CloudEvent], pick: Pick, partitions: int, poison: bool) -> list[Record]:
    items = with_repeats(with_gaps_and_late(events, pick), pick)
    if poison:
        items = with_poison(items, pick)
    return interleave(partitioned(interleave(items, pick), partitions), pick)

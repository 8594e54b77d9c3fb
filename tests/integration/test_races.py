"""Two appliers at the same time: whichever batch comes first, no row is stale afterwards. And that the lock does it."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

import psycopg
import pytest

from projector.apply.applier import Applier
from projector.apply.batch import Chunk, TopicPartition
from tests.model import Model, Record
from tests.model.histories import CloudEvent, cloud_event
from tests.world import World

ROUNDS, WITHOUT = 300, 60
MANY = 20_000
NO_LOCK = "SELECT %(group)s::text"


@pytest.fixture
def shop(of_the_shop: World) -> World:
    of_the_shop.clear()
    return of_the_shop


def registered(customer: str) -> CloudEvent:
    data = {"customer_id": customer, "name": "Ann", "email": "a@b", "country": "DE"}
    return cloud_event("customers.CustomerRegistered", **data)


def renamed(customer: str) -> CloudEvent:
    return cloud_event("customers.CustomerNameChanged", customer_id=customer, name=f"Bea, once {customer}")


def moved(customer: str) -> CloudEvent:
    return cloud_event("customers.CustomerMoved", customer_id=customer, country="FR")


def added(product: str) -> CloudEvent:
    return cloud_event("catalog.ProductAdded", product_id=product, name="Pen", category="office", price="1")


def product_renamed(product: str) -> CloudEvent:
    return cloud_event("catalog.ProductRenamed", product_id=product, name=f"Pencil {product}")


def placed(order: str, customer: str, product: str = "p", currency: str = "EUR") -> CloudEvent:
    data: dict[str, Any] = {"product_id": product, "quantity": 2, "unit_price": "5.00", "currency": currency}
    at = "2026-01-01T00:00:00Z"
    return cloud_event("orders.OrderPlaced", order_id=order, customer_id=customer, placed_at=at, **data)


def paid(order: str) -> CloudEvent:
    amount = {"amount": "10.00", "currency": "EUR"}
    return cloud_event("payments.PaymentCaptured", payment_id=f"pay{order}", order_id=order, **amount)


class Race(NamedTuple):
    """What is there before a round, and what the two apply in it at the same time; no later round mends it."""

    before: Callable[[int], list[CloudEvent]]
    one: Callable[[int], list[CloudEvent]]
    other: Callable[[int], list[CloudEvent]]
    fan_out: int = MANY


RACES = {
    "a customer is renamed, its order placed": Race(
        lambda i: [registered(f"c{i}")],
        lambda i: [renamed(f"c{i}")],
        lambda i: [placed(f"o{i}", f"c{i}")],
    ),
    "a product is renamed, an order of it placed": Race(
        lambda i: [added(f"p{i}")],
        lambda i: [product_renamed(f"p{i}")],
        lambda i: [placed(f"o{i}", "c", f"p{i}")],
    ),
    "a customer moves, its orders are counted": Race(
        lambda i: [registered(f"c{i}"), placed(f"a{i}", f"c{i}")],
        lambda i: [moved(f"c{i}")],
        lambda i: [placed(f"b{i}", f"c{i}")],
    ),
    "a customer moves, its order is placed anew in another currency": Race(
        lambda i: [registered(f"c{i}"), placed(f"o{i}", f"c{i}")],
        lambda i: [moved(f"c{i}")],
        lambda i: [placed(f"o{i}", f"c{i}", currency="USD")],
    ),
    "a customer moves, another's order becomes its own": Race(
        lambda i: [registered(f"c{i}"), registered(f"d{i}"), placed(f"o{i}", f"c{i}")],
        lambda i: [moved(f"d{i}"), renamed(f"c{i}")],
        lambda i: [placed(f"o{i}", f"d{i}")],
    ),
    "an order is placed, its payment captured": Race(
        lambda i: [],
        lambda i: [paid(f"o{i}")],
        lambda i: [placed(f"o{i}", "c")],
    ),
    "a customer is renamed, its product too, and most of its orders wait": Race(
        lambda i: [registered(f"c{i}"), added(f"p{i}"), *(placed(f"o{i}-{n}", f"c{i}", f"p{i}") for n in range(5))],
        lambda i: [renamed(f"c{i}"), moved(f"c{i}")],
        lambda i: [product_renamed(f"p{i}"), placed(f"o{i}-5", f"c{i}", f"p{i}"), paid(f"o{i}-3")],
        fan_out=2,
    ),
}


class Feed:
    """One applier with partitions of its own, and what it was given."""

    def __init__(self, applier: Applier, partition: int) -> None:
        self.applier, self.partition, self.records = applier, partition, list[Record]()
        self._next = Counter[str]()

    def give(self, events: list[CloudEvent]) -> None:
        chunks: dict[str, list[Record]] = {}
        starts = dict(self._next)
        for event in events:
            topic = event["type"].partition(".")[0]
            value = json.dumps(event).encode()
            chunks.setdefault(topic, []).append(Record(topic, self.partition, self._next[topic], None, value))
            self._next[topic] += 1
        work = [
            Chunk(TopicPartition(topic, self.partition), starts.get(topic), self._next[topic], records)
            for topic, records in chunks.items()
        ]
        assert self.applier.apply(work).refused == {}
        self.records += [record for chunk in work for record in chunk.records]


def run(shop: World, race: Race, rounds: int, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The rounds, in each of which both begin together; what the model says of all that was applied."""
    with closing(Applier(shop.url, shop.group, shop.projections, dead_letter_limit=1.0)) as another:
        first, *both = Feed(shop.applier, 0), Feed(shop.applier, 1), Feed(another, 2)
        first.give([event for i in range(rounds) for event in race.before(i)])
        monkeypatch.setattr("projector.apply.plan.FAN_OUT", race.fan_out)
        barrier = threading.Barrier(2, timeout=60)

        def work(feed: Feed, events_of: Callable[[int], list[CloudEvent]]) -> None:
            try:
                for i in range(rounds):
                    barrier.wait()
                    feed.give(events_of(i))
                    if race.fan_out < MANY:
                        feed.applier.drain()
            except BaseException:
                barrier.abort()  # nobody waits for one that has failed
                raise

        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(work, *each) for each in zip(both, (race.one, race.other), strict=True)]
        errors = [error for each in done if (error := each.exception()) is not None]
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        assert errors == []
    while shop.applier.drain():
        pass
    return Model().apply_all(record for feed in (first, *both) for record in feed.records)


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
def test_two_appliers_at_once_leave_no_row_stale(shop: World, monkeypatch: pytest.MonkeyPatch, race: Race) -> None:
    model = run(shop, race, ROUNDS, monkeypatch)
    assert shop.views() == model.views()
    assert shop.drift() == []


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
def test_without_the_lock_each_of_these_races_is_lost(shop: World, monkeypatch: pytest.MonkeyPatch, race: Race) -> None:
    monkeypatch.setattr("projector.apply.applier.LOCK", NO_LOCK)
    try:
        model = run(shop, race, WITHOUT, monkeypatch)
    except psycopg.errors.DeadlockDetected:
        return
    assert shop.views() != model.views()
    assert shop.drift() != []

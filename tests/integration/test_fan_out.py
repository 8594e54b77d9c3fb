"""A change that reaches more rows than one transaction should hold the lock for: the rest waits in `pending`."""

import random
from typing import Any

import pytest

from projector.apply.batch import Outcome
from tests.model import Model, Record
from tests.model.histories import CloudEvent, cloud_event, partitioned, random_stream
from tests.torture.races import racing
from tests.world import World

ORDERS = 50


@pytest.fixture
def shop(of_the_shop: World, monkeypatch: pytest.MonkeyPatch) -> World:
    of_the_shop.clear()
    monkeypatch.setattr("projector.apply.plan.FAN_OUT", 10)
    return of_the_shop


def placed(number: int, day: str = "2026-01-01") -> CloudEvent:
    product = {"product_id": f"p{number % 3}", "quantity": 1 + number % 4}
    data: dict[str, Any] = {**product, "unit_price": "9.99", "currency": "EUR"}
    at = f"{day}T00:{number:02}:00Z"
    return cloud_event("orders.OrderPlaced", order_id=f"o{number}", customer_id="c1", placed_at=at, **data)


FIRST: list[CloudEvent] = [
    cloud_event("customers.CustomerRegistered", customer_id="c1", name="Ann", email="a@b", country="DE"),
    *(placed(number) for number in range(ORDERS)),
]
RENAMED = cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Bea")
MOVED = cloud_event("customers.CustomerMoved", customer_id="c1", country="FR")


class History:
    """One after the other in partitions of their own topics, for the shop and for the model."""

    def __init__(self, shop: World) -> None:
        self.shop, self.events, self.records = shop, list[CloudEvent](), list[Record]()

    def tell(self, *events: CloudEvent, batch: int = 5_000) -> Outcome:
        self.events += events
        records = partitioned(self.events, partitions=1, binary=False)
        told = self.shop.given(records[len(self.records) :], batch)
        self.records = records
        return told

    def model(self) -> Model:
        return Model().apply_all(self.records)


def pending(shop: World) -> int:
    return sum(n for (n,) in shop.fetch("SELECT pending FROM pending_count"))


def drain(shop: World) -> list[int]:
    """What was left after each portion."""
    left = [shop.applier.drain()]
    while left[-1]:
        assert len(left) < 1_000
        left.append(shop.applier.drain())
    return left


def names(shop: World) -> list[str]:
    return [row["customer_name"] for row in shop.view("order_overview").values()]


def test_a_rename_refreshes_as_many_rows_as_one_transaction_may_and_the_rest_portion_by_portion(shop: World) -> None:
    history = History(shop)
    history.tell(*FIRST)
    drain(shop)
    told = history.tell(RENAMED)
    assert (names(shop).count("Bea"), pending(shop)) == (10, ORDERS - 10)
    assert told.pending
    left = drain(shop)
    assert left == sorted(left, reverse=True)
    assert len(left) >= (ORDERS - 10) / 10  # portions are bounded, too
    assert names(shop) == ["Bea"] * ORDERS
    assert shop.views() == history.model().views()


def test_batches_go_on_while_keys_wait(shop: World) -> None:
    history = History(shop)
    history.tell(*FIRST)
    drain(shop)
    history.tell(RENAMED, MOVED)
    waiting = pending(shop)
    for number in (3, ORDERS - 1, ORDERS + 1):
        history.tell(
            cloud_event("orders.OrderCancelled", order_id=f"o{number}", reason="changed"), placed(number, "2026-01-02")
        )
        shop.applier.drain()
    history.tell(cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Cid"))
    assert waiting > 0
    drain(shop)
    assert shop.views() == history.model().views()
    assert shop.drift() == []


def test_a_country_that_changes_moves_its_orders_between_the_groups_of_a_rollup(shop: World) -> None:
    history = History(shop)
    history.tell(*FIRST)
    drain(shop)
    history.tell(MOVED)
    groups = {key[1]: row["orders"] for key, row in shop.view("sales_by_day").items()}
    assert groups == {"DE": ORDERS - 10, "FR": 10}  # what a reader sees meanwhile adds up
    drain(shop)
    assert {key[1]: row["orders"] for key, row in shop.view("sales_by_day").items()} == {"FR": ORDERS}
    assert shop.views() == history.model().views()


def test_an_event_of_one_row_is_seen_at_once_however_much_waits(shop: World) -> None:
    """Rows of what changed itself come before those that it reaches."""
    history = History(shop)
    history.tell(*FIRST)
    drain(shop)
    history.tell(RENAMED, cloud_event("orders.OrderCancelled", order_id="o49", reason="changed"))
    row = shop.view("order_overview")[("o49",)]
    assert (row["status"], row["customer_name"]) == ("cancelled", "Bea")


def test_verify_waits_for_pending_keys_and_finds_nothing(shop: World) -> None:
    history = History(shop)
    history.tell(*FIRST)
    assert pending(shop) > 0
    assert shop.drift() == []
    assert pending(shop) == 0


@pytest.mark.parametrize("seed", range(2))
def test_a_long_history_ends_as_without_a_limit(shop: World, seed: int) -> None:
    records = random_stream(seed, customers=2, products=2, orders=40)
    shop.given(records, batch=150)
    drain(shop)
    model = Model().apply_all(records)
    assert shop.views() == model.views()
    assert shop.drift() == []


def paid(number: int) -> CloudEvent:
    data = {"payment_id": f"pay{number}", "order_id": f"o{number}", "amount": "9.99", "currency": "EUR"}
    return cloud_event("payments.PaymentCaptured", **data)


def parts(shop: World) -> dict[str, set[str] | None]:
    """What of each order waits; None is the whole row."""
    found: dict[str, set[str] | None] = {}
    for key, waiting in shop.fetch("SELECT unnest(keys), parts FROM pending WHERE relation = 'order_overview'"):
        before = found.get(key, set())
        found[key] = None if waiting is None or before is None else {*before, *waiting}
    return found


def test_parts_of_a_row_that_wait_add_up(shop: World) -> None:
    history = History(shop)
    history.tell(*FIRST)
    drain(shop)
    history.tell(RENAMED)
    assert list(parts(shop).values()) == [{"customers"}] * (ORDERS - 10)
    history.tell(cloud_event("catalog.ProductAdded", product_id="p1", name="Pen", category="office", price="1"))
    assert {"customers", "lines"} in parts(shop).values()
    history.tell(*(paid(number) for number in range(ORDERS)))
    assert {"customers", "lines", "paid"} in parts(shop).values()
    history.tell(MOVED, cloud_event("catalog.ProductRenamed", product_id="p1", name="Pencil"))
    drain(shop)
    assert shop.views() == history.model().views()
    assert shop.drift() == []


@pytest.mark.parametrize("whole_first", [True, False])
def test_a_part_and_the_whole_of_a_row_are_the_whole(shop: World, whole_first: bool) -> None:
    history = History(shop)
    history.tell(*FIRST)
    drain(shop)
    anew = [placed(number, "2026-02-03") for number in range(ORDERS)]
    for events in [anew, [RENAMED]] if whole_first else [[RENAMED], anew]:
        history.tell(*events)
    assert list(parts(shop).values()).count(None) == ORDERS - 10
    drain(shop)
    assert shop.views() == history.model().views()
    assert shop.drift() == []


ANOTHERS = {"order_id": "o49", "customer_id": "c2", "placed_at": "2026-01-05T00:00:00Z", "currency": "USD"}
MEANWHILE: dict[str, list[CloudEvent]] = {
    "the order becomes another customer's": [
        cloud_event("orders.OrderPlaced", **ANOTHERS, product_id="p9", quantity=1, unit_price="1.00"),
        cloud_event("customers.CustomerRegistered", customer_id="c2", name="Dan", email="d@d", country="IT"),
    ],
    "the customer is erased, and registered anew": [
        cloud_event("customers.CustomerErased", customer_id="c1"),
        FIRST[0] | {"id": "anew"},
    ],
    "what is renamed has no row yet": [paid(ORDERS), paid(ORDERS + 1), placed(ORDERS)],
    "the order is sent": [
        cloud_event(
            "shipping.ShipmentDispatched", shipment_id="s1", order_id="o49", carrier="dhl",
            dispatched_at="2026-01-06T00:00:00Z",
        ),
        cloud_event("inventory.StockReserved", order_id="o48", warehouse="w"),
    ],
    "the same keys are found again": [RENAMED | {"id": "2"}, MOVED | {"id": "2"}, RENAMED | {"id": "3"}],
}  # fmt: skip


@pytest.mark.parametrize("events", MEANWHILE.values(), ids=MEANWHILE)
@pytest.mark.parametrize("drained", [0, 1])
def test_what_happens_to_a_row_while_parts_of_it_wait(shop: World, events: list[CloudEvent], drained: int) -> None:
    history = History(shop)
    history.tell(*FIRST)
    drain(shop)
    history.tell(RENAMED, MOVED)
    for event in events:
        assert "o49" in parts(shop) or "o48" in parts(shop)
        history.tell(event)
        for _ in range(drained):
            shop.applier.drain()
    drain(shop)
    assert shop.views() == history.model().views()
    assert shop.drift() == []


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_while_parts_wait_the_rows_end_as_the_model_has_them(shop: World, seed: int) -> None:
    rng = random.Random(seed)
    records = racing(seed, 60, 2)
    at, waited = 0, 0
    while at < len(records):
        following = at + rng.choice([1, 3, 10, 40])
        shop.given(records[at:following])
        at = following
        waited += pending(shop) > 0
        for _ in range(rng.choice([0, 0, 0, 1, 3])):
            shop.applier.drain()
        if rng.randrange(10) == 0:
            assert shop.drift() == []
    assert waited > 10
    drain(shop)
    assert shop.views() == Model().apply_all(records).views()
    assert shop.drift() == []

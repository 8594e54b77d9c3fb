"""A change that reaches more rows than one transaction should hold the lock for: the rest waits in `pending`."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.model import Model, Record
from tests.model.histories import CloudEvent, cloud_event, partitioned, random_stream
from tests.world import World, clear, world

ORDERS = 50


@pytest.fixture(scope="module")
def of_the_shop(database_url: str) -> Iterator[World]:
    with world(database_url) as made:
        yield made


@pytest.fixture
def shop(of_the_shop: World, monkeypatch: pytest.MonkeyPatch) -> World:
    clear(of_the_shop)
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

    def tell(self, *events: CloudEvent, batch: int = 5_000) -> None:
        self.events += events
        records = partitioned(self.events, partitions=1, binary=False)
        self.shop.given(records[len(self.records) :], batch)
        self.records = records

    def model(self) -> Model:
        return Model().apply_all(self.records)


def pending(shop: World) -> int:
    return sum(n for _, n in shop.fetch("SELECT relation, count(*) FROM pending GROUP BY relation"))


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
    history.tell(RENAMED)
    assert (names(shop).count("Bea"), pending(shop)) == (10, ORDERS - 10)
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

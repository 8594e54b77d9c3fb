"""Rollups at their edges: groups that begin, end and change hands, extremes that leave, null groups, currencies."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.model import Model
from tests.model.histories import CloudEvent, cloud_event, partitioned
from tests.shelf import book, shelf
from tests.world import World


@pytest.fixture
def shop(of_the_shop: World) -> World:
    of_the_shop.clear()
    return of_the_shop


@pytest.fixture(scope="module")
def books(database_url: str) -> Iterator[World]:
    made = World(database_url, shelf())
    yield made
    made.drop()


def registered(customer: str, country: str) -> CloudEvent:
    return cloud_event("customers.CustomerRegistered", customer_id=customer, name="Ann", email="a@b", country=country)


def placed(order: str, customer: str = "c1", day: int = 1, currency: str = "EUR", product: str = "p1") -> CloudEvent:
    head = {
        "order_id": order,
        "customer_id": customer,
        "placed_at": f"2026-01-{day:02}T10:00:00Z",
        "currency": currency,
    }
    return cloud_event("orders.OrderPlaced", **head, product_id=product, quantity=2, unit_price="12.50")


def tell(shop: World, *batches: list[CloudEvent]) -> dict[str, Any]:
    """Each list in a batch of its own; the views, which are the model's."""
    records = partitioned([event for batch in batches for event in batch], partitions=1, binary=False)
    at = 0
    for batch in batches:
        shop.given(records[at : at + len(batch)])
        at += len(batch)
    views = shop.views()
    assert views == Model().apply_all(records).views()
    return views


def test_a_group_that_ends_has_no_row(shop: World) -> None:
    views = tell(shop, [placed("o1", day=1), placed("o2", day=2)], [placed("o1", day=3)])
    assert {day for day, *_ in views["sales_by_day"]} == {"2026-01-02", "2026-01-03"}
    assert shop.fetch(f"SELECT count(*) FROM {shop.table('sales_by_day')} WHERE _rows = 0") == [(0,)]
    assert shop.drift() == []


def test_all_groups_may_end_and_begin_again(shop: World) -> None:
    views = tell(shop, [placed("o1", day=1)], [placed("o1", day=2)], [placed("o1", day=1) | {"id": "again"}])
    assert list(views["sales_by_day"]) == [("2026-01-01", None, "EUR")]


def test_null_is_a_group_of_its_own_until_the_country_is_known(shop: World) -> None:
    events = [placed("o1"), placed("o2", customer="c2"), placed("o3", customer="c2")]
    shop.given(partitioned(events, partitions=1))
    assert {key: row["orders"] for key, row in shop.view("sales_by_day").items()} == {("2026-01-01", None, "EUR"): 3}
    shop.clear()
    views = tell(shop, events, [registered("c2", "DE")], [registered("c1", "DE")])
    assert {key: row["orders"] for key, row in views["sales_by_day"].items()} == {("2026-01-01", "DE", "EUR"): 3}


def test_an_order_that_moves_takes_its_share_with_it(shop: World) -> None:
    first = [registered("c1", "DE"), registered("c2", "FR"), placed("o1"), placed("o2")]
    views = tell(shop, first, [placed("o2", customer="c2", day=2, currency="USD", product="p2")])
    orders = {key[0]: row["orders"] for key, row in views["customer_summary"].items()}
    assert orders == {"c1": 1, "c2": 1}
    assert {key[0]: row["revenue"] for key, row in views["product_sales"].items()} == {
        "p1": {"EUR": "25.00"},
        "p2": {"USD": "25.00"},
    }


def extremes(views: dict[str, Any], customer: str) -> tuple[Any, Any]:
    row = views["customer_summary"][(customer,)]
    return row["first_order_at"], row["last_order_at"]


@pytest.mark.parametrize(
    ("moved", "first", "last"),
    [
        (placed("o1", day=4), 3, 5),  # the least leaves, another is the least
        (placed("o5", day=2), 1, 3),  # the greatest leaves
        (placed("o1", day=9), 3, 9),  # the least becomes the greatest
        (placed("o3", day=4), 1, 5),  # neither
        (placed("o1", customer="c2"), 3, 5),
        (placed("o5", customer="c2"), 1, 3),
        (placed("o1", day=1, currency="USD"), 1, 5),
    ],
)
def test_the_first_and_the_last_order_follow_when_the_extreme_leaves(
    shop: World, moved: CloudEvent, first: int, last: int
) -> None:
    views = tell(shop, [placed("o1", day=1), placed("o3", day=3), placed("o5", day=5)], [moved])
    assert extremes(views, "c1") == (f"2026-01-{first:02}T10:00:00Z", f"2026-01-{last:02}T10:00:00Z")


def test_two_orders_that_swap_places_in_one_batch(shop: World) -> None:
    first = [placed("o1", customer="c1", day=1), placed("o2", customer="c2", day=2)]
    views = tell(shop, first, [placed("o1", customer="c2", day=2), placed("o2", customer="c1", day=1)])
    assert extremes(views, "c1") == ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z")
    assert extremes(views, "c2") == ("2026-01-02T10:00:00Z", "2026-01-02T10:00:00Z")


def test_a_customer_without_orders_has_no_first_nor_last_and_zeros(shop: World) -> None:
    views = tell(shop, [registered("c1", "DE"), placed("o1")], [placed("o1", customer="c2")])
    assert extremes(views, "c1") == (None, None)
    assert views["customer_summary"][("c1",)]["orders"] == 0
    assert ("c1",) in views["customer_summary"]


def test_a_customer_only_ever_referred_to_is_gone_with_the_last_order(shop: World) -> None:
    views = tell(shop, [placed("o1")], [placed("o1", customer="c2")])
    assert set(views["customer_summary"]) == {("c2",)}


def paid(order: str, amount: str, currency: str) -> CloudEvent:
    payment = {"payment_id": f"{order}-{currency}", "order_id": order, "amount": amount, "currency": currency}
    return cloud_event("payments.PaymentCaptured", **payment)


def test_each_currency_adds_up_for_itself(shop: World) -> None:
    events = [placed("o1"), placed("o2", currency="USD"), placed("o3", currency="JPY")]
    captures = [paid("o1", "25", "EUR"), paid("o2", "10", "USD"), paid("o2", "99", "EUR")]
    views = tell(shop, events, captures, [paid("o1", "0.01", "EUR") | {"id": "another"}])
    assert views["customer_summary"][("c1",)]["lifetime_value"] == {"EUR": "25.01", "USD": "10.00"}
    assert {key[2]: row["gross"] for key, row in views["sales_by_day"].items()} == dict.fromkeys(
        ["EUR", "USD", "JPY"], "25.00"
    )


def test_only_groups_that_changed_are_told_in_the_change_feed(shop: World) -> None:
    tell(shop, [placed("o1", day=1), placed("o2", day=2)])
    shop.execute("TRUNCATE changes")
    shop.given(partitioned([placed("o1", day=1), placed("o2", day=2), placed("o1", day=3)], partitions=1)[2:])
    told = shop.fetch("SELECT upserted, deleted FROM changes WHERE relation = 'sales_by_day'")
    assert told == [(['["2026-01-03", null, "EUR"]'], ['["2026-01-01", null, "EUR"]'])]


def test_random_moves_between_groups_with_null_keys_and_null_extremes(books: World) -> None:
    """`bought_at` may be null: such a book is counted and is no extreme."""
    books.clear()
    rng = random.Random(3)
    for _ in range(25):
        batch = []
        for _ in range(rng.randrange(1, 5)):
            at = rng.choice([None, *(f"2026-01-0{n}T00:00:00Z" for n in range(1, 5))])
            shelf_ = rng.choice([None, "s1", "s2"])
            batch.append(book(f"b{rng.randrange(6)}", shelf=shelf_, pages=rng.choice([100, 400]), bought_at=at))
        books.given(batch)
        expected = books.fetch(
            "SELECT shelf, count(*), count(*) FILTER (WHERE pages > 300), sum(pages), sum(price),"
            " min(bought_at), max(bought_at) FROM books GROUP BY shelf ORDER BY shelf"
        )
        stored = "SELECT shelf, books, long_books, pages, price, first_bought_at, last_bought_at FROM by_shelf__g1"
        assert books.fetch(f"{stored} ORDER BY shelf") == expected
    assert books.drift() == []

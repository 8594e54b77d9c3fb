"""`verify`: drift put in by hand is found to the row and column, and `repair` mends exactly that."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Date, Numeric
from sqlalchemy.types import BigInteger, Text

from projector.declare.view import Relation
from projector.errors import OutOfDate
from projector.operate.verify import Difference, Verifier
from tests.model import Model
from tests.model.histories import cloud_event, partitioned, random_stream
from tests.shelf import book, shelf
from tests.world import World

STORED = [
    "order_overview",
    "customer_orders",
    "customer_summary",
    "order_products",
    "product_orders",
    "product_sales",
    "sales_by_day",
]
RECORDS = random_stream(2, customers=4, products=4, orders=25, poison=False)


@pytest.fixture
def shop(of_the_shop: World) -> World:
    of_the_shop.clear()
    of_the_shop.given(RECORDS)
    return of_the_shop


@pytest.fixture(scope="module")
def books(database_url: str) -> Iterator[World]:
    made = World(database_url, shelf())
    yield made
    made.drop()


class Drift:
    """What may go wrong in one table; each method returns the difference that verify should tell."""

    def __init__(self, shop: World, name: str) -> None:
        self.shop, self.relation = shop, shop.projections.relation(name)
        self.table, self.key = shop.table(name), ", ".join(self.relation.key)
        rows = shop.fetch(f"SELECT jsonb_build_array({self.key}) FROM {self.table} ORDER BY 1")
        self.keys = [key for (key,) in rows]

    def change(self, key: list[Any]) -> Difference:
        column, value = _changeable(self.relation)
        self.shop.execute(f"UPDATE {self.table} SET {column} = {value} WHERE {self._is}", *self._as(key))
        return Difference(self.relation.name, key, "different", [column])

    def delete(self, key: list[Any]) -> Difference:
        self.shop.execute(f"DELETE FROM {self.table} WHERE {self._is}", *self._as(key))
        return Difference(self.relation.name, key, "missing", [])

    def add(self) -> Difference:
        first, *rest = self.relation.key
        new = "1999-01-01" if isinstance(self.relation.table.c[first].type, Date) else "a new one"
        columns = [c.name for c in self.relation.table.c]
        values = [f"'{new}'" if name == first else name for name in columns]
        copy = f"SELECT {', '.join(values)} FROM {self.table} WHERE {self._is}"
        self.shop.execute(f"INSERT INTO {self.table} ({', '.join(columns)}) {copy}", *self._as(self.keys[0]))
        return Difference(self.relation.name, [new, *self.keys[0][1:]][: 1 + len(rest)], "extra", [])

    @property
    def _is(self) -> str:
        return " AND ".join(f"{k}::text IS NOT DISTINCT FROM %s" for k in self.relation.key)

    @staticmethod
    def _as(key: list[Any]) -> list[str | None]:
        return [None if part is None else str(part) for part in key]


def _changeable(relation: Relation) -> tuple[str, str]:
    """A column beside the key, and another value for it."""
    for column in relation.table.c:
        if column.name not in relation.key and isinstance(column.type, Numeric | BigInteger):
            return column.name, f"coalesce({column.name}, 0) + 1"
        if column.name not in relation.key and isinstance(column.type, Text):
            return column.name, f"coalesce({column.name}, '') || '!'"
    raise AssertionError(f"{relation.name} has no column to change")


def versions(shop: World, drift: Drift) -> dict[str, str]:
    """Which transaction wrote each row."""
    return dict(shop.fetch(f"SELECT jsonb_build_array({drift.key})::text, xmin::text FROM {drift.table}"))


def told(shop: World, drift: Drift) -> dict[str, tuple[list[Any], list[Any]]]:
    """The keys that the change feed tells to be there, and to be gone, by relation."""

    def keys(texts: list[str]) -> list[Any]:
        return sorted((json.loads(text) if len(drift.relation.key) > 1 else [text] for text in texts), key=str)

    feed = shop.fetch("SELECT relation, upserted, deleted FROM changes")
    return {name: (keys(upserted), keys(deleted)) for name, upserted, deleted in feed}


def in_order(differences: list[Difference]) -> list[Difference]:
    return sorted(differences, key=lambda d: (d.view, str(d.key)))


@pytest.mark.parametrize("name", STORED)
def test_drift_of_every_kind_is_found_and_exactly_that_is_mended(shop: World, name: str) -> None:
    drift = Drift(shop, name)
    whole = shop.fetch(f"SELECT * FROM {drift.table} ORDER BY {drift.key}")
    before = versions(shop, drift)
    expected = [drift.change(drift.keys[1]), drift.delete(drift.keys[2]), drift.add()]
    assert in_order(shop.drift()) == in_order(expected)

    shop.execute("TRUNCATE changes")
    (found,) = shop.verify(name, repair=True)
    assert (found.different, found.repaired) == (3, 3)
    feed = {name: ([difference.key for difference in expected[:2]], [expected[2].key])}
    assert told(shop, drift) == (feed if drift.relation.path else {})
    assert shop.verify(name)[0].differences == []
    assert shop.fetch(f"SELECT * FROM {drift.table} ORDER BY {drift.key}") == whole
    after = versions(shop, drift)
    assert sum(after[key] != before[key] for key in before) == 2


def test_rows_with_null_in_their_key_drift_and_are_mended_too(shop: World) -> None:
    shop.clear()
    shop.given([record for record in RECORDS if record.topic != "customers"])
    drift = Drift(shop, "sales_by_day")
    unknown = [key for key in drift.keys if key[1] is None]
    assert len(unknown) >= 2
    expected = [drift.change(unknown[0]), drift.delete(unknown[1])]
    assert in_order(shop.drift()) == in_order(expected)
    shop.verify(repair=True)
    assert shop.drift() == []


def test_a_null_in_the_first_key_column_is_compared_and_mended(books: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projector.operate.verify.RANGE", 1)
    books.clear()
    books.given([book(f"b{n}", shelf=[None, "s1", "s2", "s3"][n % 4]) for n in range(8)])
    drift = Drift(books, "by_shelf")
    assert sorted(drift.keys, key=str) == [["s1"], ["s2"], ["s3"], [None]]
    expected = [drift.change([None]), drift.delete(["s2"])]
    assert in_order(books.drift()) == in_order(expected)
    books.verify(repair=True)
    assert books.drift() == []
    books.execute("DELETE FROM by_shelf__g1 WHERE shelf IS NULL")
    assert books.drift() == [Difference("by_shelf", [None], "missing", [])]
    books.verify(repair=True)
    assert books.drift() == []


def test_each_column_that_differs_is_named(shop: World) -> None:
    ((key,),) = shop.fetch("SELECT order_id FROM order_overview__g1 ORDER BY 1 LIMIT 1")
    shop.execute(
        "UPDATE order_overview__g1 SET status = '?', total = -1, lines = '[]', updated_at = NULL WHERE order_id = %s",
        key,
    )
    assert shop.drift() == [
        Difference("order_overview", [key], "different", ["status", "total", "lines", "updated_at"])
    ]


def test_a_view_is_measured_by_the_entities_alone_so_drift_is_told_where_it_is(shop: World) -> None:
    shop.execute("UPDATE order_overview__g1 SET status = 'pending', total = total + 100")
    assert {d.view for d in shop.drift()} == {"order_overview"}
    shop.verify("order_overview", repair=True)
    assert shop.views() == Model().apply_all(RECORDS).views()


def test_a_table_emptied_by_accident_is_filled_again(shop: World) -> None:
    before = shop.views()
    shop.execute("TRUNCATE order_overview__g1, sales_by_day__g1, customer_orders__g1, customer_summary__g1")
    kinds = {(d.view, d.kind) for d in shop.drift()}
    assert kinds == {(n, "missing") for n in ("order_overview", "sales_by_day", "customer_orders", "customer_summary")}
    shop.verify(repair=True)
    assert shop.views() == before


def test_ranges_cover_every_row_once(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projector.operate.verify.RANGE", 3)
    drift = Drift(shop, "order_overview")
    expected = [drift.delete(drift.keys[-1]), drift.add(), drift.change(drift.keys[3])]
    verified = {found.view: found for found in shop.verify()}
    assert in_order(verified["order_overview"].differences) == in_order(expected)
    for name, found in verified.items():
        ((rows,),) = shop.fetch(f"SELECT count(*) FROM {shop.table(name)}")
        assert found.rows == rows, name


def test_no_more_differences_are_listed_than_anyone_reads_and_all_are_counted_and_mended(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.operate.verify.TOLD", 5)
    monkeypatch.setattr("projector.operate.verify.RANGE", 10)
    shop.execute("UPDATE order_overview__g1 SET total = -1")
    ((rows,),) = shop.fetch("SELECT count(*) FROM order_overview__g1")
    (found,) = shop.verify("order_overview", repair=True)
    assert (len(found.differences), found.different, found.repaired) == (5, rows, rows)
    assert shop.verify("order_overview")[0].different == 0


def test_a_virtual_view_has_no_rows_of_its_own_to_drift(shop: World) -> None:
    (found,) = shop.verify("fulfilment")
    assert (found.rows, found.differences) == (len(shop.view("order_overview")), [])


def test_progress_is_told_as_rows_are_compared(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projector.operate.verify.RANGE", 10)
    told: list[tuple[str, int]] = []
    with closing(Verifier(shop.url, shop.group, shop.projections)) as verifier:
        found = verifier.verify(shop.projections.relation("order_overview"), progress=lambda *at: told.append(at))
    assert told[-1] == ("order_overview", found.rows)
    assert [rows for _, rows in told] == sorted(rows for _, rows in told)
    assert len(told) >= 3


def test_a_group_that_was_not_migrated_says_so(shop: World) -> None:
    with closing(Verifier(shop.url, "nowhere", shop.projections)) as verifier, pytest.raises(OutOfDate):
        verifier.verify(shop.projections.relation("order_overview"))


def test_rows_that_change_meanwhile_are_no_drift(shop: World) -> None:
    """An applier goes on renaming, moving and cancelling while every view is compared, and some drift is mended."""
    shop.clear()
    stop, failures = threading.Event(), list[BaseException]()
    first = [
        cloud_event("customers.CustomerRegistered", customer_id=f"c{n}", name="Ann", email="a@b", country="DE")
        for n in range(3)
    ]
    places = [_placed(n, 0) for n in range(30)]

    def work() -> None:
        events, done = [*first, *places], 0
        try:
            while not stop.is_set():
                records = partitioned(events, partitions=1, binary=False)
                shop.given(records[done:])
                done, n = len(records), len(events)
                events.append(cloud_event("customers.CustomerNameChanged", customer_id=f"c{n % 3}", name=f"name {n}"))
                events.append(
                    cloud_event(
                        "customers.CustomerMoved",
                        customer_id=f"c{n % 3}",
                        country=["DE", "FR"][n % 2],
                        time=f"2026-01-01T00:00:{n % 60:02}Z",
                    )
                )
                events.append(_placed(n % 30, n))
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(3):
            assert shop.drift() == []
        shop.execute("UPDATE order_overview__g1 SET total = total + 1 WHERE order_id IN ('o1', 'o2')")
        shop.verify("order_overview", repair=True)
    finally:
        stop.set()
        thread.join()
    assert failures == []
    found = {d.view for d in shop.drift()}
    assert found <= {"customer_orders", "customer_summary", "sales_by_day"}  # moved by rows that had drifted
    shop.verify(repair=True)
    assert shop.drift() == []


def _placed(number: int, version: int) -> dict[str, Any]:
    head = {"order_id": f"o{number}", "customer_id": f"c{(number + version) % 3}", "currency": "EUR"}
    at = f"2026-01-{1 + version % 5:02}T00:00:00.{version:06}Z"
    return cloud_event(
        "orders.OrderPlaced", **head, placed_at=at, product_id="p1", quantity=1 + version % 3, unit_price="9.99"
    )

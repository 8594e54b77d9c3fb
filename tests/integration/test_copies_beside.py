"""Copies beside all else that goes on: what a switch must take along, and what must not come between."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from projector.apply.batch import Chunk
from projector.apply.loading import Loading
from projector.declare.view import Relation
from projector.errors import OutOfDate, PrejoinError
from projector.history.log import Look
from projector.ingest.ledger import Ledger
from projector.operate.copied_views import _Making
from projector.operate.copying import Copying, CopyStep
from projector.operate.erase import erase_one
from projector.operate.rebuild import Rebuild, Step
from projector.operate.settling import Settling
from projector.store.migrate import migrate
from projector.store.names import copy_group
from tests.history import Past
from tests.model import Model, Record
from tests.model.histories import CloudEvent, cloud_event, random_stream
from tests.traces import tables_with
from tests.world import World, world

NAME = "Zora Quimby"
REGISTERED = cloud_event(
    "customers.CustomerRegistered", customer_id="c1", name=NAME, email="z@q", country="DE", segment="s"
)
ERASED = cloud_event("customers.CustomerErased", customer_id="c1")


@pytest.fixture
def shop(database_url: str, read_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("projector.operate.loading.BATCH", 60)
    monkeypatch.setattr("projector.operate.switching.BATCH", 40)
    with world(database_url, read_url=read_database_url) as made:
        yield made


def from_events(shop: World, past: Past, **options: Any) -> Copying:
    return Copying(shop.url, shop.group, shop.projections, past, **options)


def records(*events: CloudEvent) -> list[Record]:
    found: list[Record] = []
    for event in events:
        topic = event["type"].partition(".")[0]
        offset = sum(record.topic == topic for record in found)
        found.append(Record(topic, 0, offset, b"k", json.dumps(event).encode(), (), 0))
    return found


def order(n: int, customer: str = "c1") -> CloudEvent:
    data = {"order_id": f"o{n}", "customer_id": customer, "currency": "EUR", "placed_at": "2026-01-01T00:00:00Z"}
    return cloud_event("orders.OrderPlaced", **data, product_id="p1", quantity=1, unit_price="5.00")


def test_an_erasure_that_the_copy_has_read_ahead_of_the_group_counts_for_all_that_is_kept(shop: World) -> None:
    log = records(REGISTERED, order(1), ERASED)
    shop.given(log[:2])
    from_events(shop, Past(log)).run()
    assert shop.fetch("SELECT entity, key FROM erasures") == [("customers", "c1")]
    while shop.applier.drain():
        pass
    assert tables_with(shop, NAME) == set()


def test_what_is_kept_tells_how_far_it_was_applied_and_not_how_far_the_copy_is(shop: World) -> None:
    log = records(REGISTERED, order(1), order(2))
    shop.given(log[:2])
    from_events(shop, Past(log)).run()
    kept = shop.fetch("SELECT positions FROM generations WHERE state = 'kept' AND relation = 'order_overview'")
    assert kept == [(["customers/0@0", "orders/0@0"],)]


def test_who_is_erased_right_before_a_snapshot_is_kept_is_blank_in_it(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = records(REGISTERED, order(1))
    shop.given(log)
    settle, calls = Settling.erasures, []

    def settled(*arguments: Any) -> None:
        settle(*arguments)
        calls.append(1)
        if len(calls) == 2:
            erase_one(shop.url, shop.group, shop.projections, "customer", "c1")

    monkeypatch.setattr(Settling, "erasures", settled)
    from_events(shop, Past(log), until=datetime(2030, 1, 1, tzinfo=UTC), name="then").run()
    assert len(calls) > 1
    assert tables_with(shop, NAME) == set()


def test_entities_that_were_replaced_and_are_still_there_are_blanked_with_the_rest(shop: World) -> None:
    bad = cloud_event("customers.CustomerNameChanged", customer_id="c1", name=NAME * 100)
    log = records(bad, REGISTERED, order(1))
    shop.given(log)
    with shop.connect() as reader, reader.transaction():
        reader.execute("SELECT FROM orders")
        from_events(shop, Past(log)).run()
    assert shop.fetch("SELECT state FROM copies") == [("replaced",)]
    erase_one(shop.url, shop.group, shop.projections, "customer", "c1")
    assert tables_with(shop, NAME) == set()


def test_a_half_made_copy_does_not_keep_who_is_erased_meanwhile(shop: World) -> None:
    bad = cloud_event("customers.CustomerNameChanged", customer_id="c1", name=NAME * 100)
    renamed = cloud_event("customers.CustomerNameChanged", customer_id="c1", name=NAME)
    log = records(REGISTERED, bad, renamed, order(1))
    shop.given(log)

    def step(step: CopyStep) -> None:
        if step.phase == "building" and step.done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        from_events(shop, Past(log)).run(step)
    erase_one(shop.url, shop.group, shop.projections, "customer", "c1")
    assert tables_with(shop, NAME) == set()
    from_events(shop, Past(log)).run()
    assert tables_with(shop, NAME) == set()
    assert shop.drift() == []


@pytest.mark.parametrize("by", ["command", "event"])
def test_who_is_erased_while_a_view_of_a_copy_is_made_is_blank_in_it(
    shop: World, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view's rows hold the name and are seen by nobody yet: the erasure finds the copy's entities alone."""
    log = records(REGISTERED, order(1), ERASED)
    shop.given(log[:2])
    past, make = Past(log[:2]), _Making._make

    def made(making: _Making, cursor: psycopg.Cursor[Any], relation: Relation) -> None:
        make(making, cursor, relation)
        if relation.name == "order_overview" and by == "event":
            shop.given(log[2:])
            past.records.append(log[2])
        elif relation.name == "order_overview":
            erase_one(shop.url, shop.group, shop.projections, "customer", "c1")

    monkeypatch.setattr(_Making, "_make", made)
    kept = {} if by == "event" else {"until": datetime(2030, 1, 1, tzinfo=UTC), "name": "then"}
    from_events(shop, past, **kept).run()
    assert tables_with(shop, NAME) == set()
    assert shop.drift() == []


def test_an_interrupted_rebuild_from_entities_is_given_up_by_the_switch(shop: World) -> None:
    log = random_stream(3, customers=5, products=5, orders=20)
    shop.given(log[:-20])

    def step(step: Step) -> None:
        if step.phase == "indexing":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Rebuild(shop.url, shop.group, shop.projections, shop.projections.relations).run(step)
    from_events(shop, Past(log[:-10])).run()
    assert shop.fetch("SELECT relation FROM generations WHERE state = 'building'") == []
    shop.given(log[-10:])
    assert shop.fetch("SELECT id FROM captured") == []
    assert shop.drift() == []


@dataclass
class Counting(Past):
    """A log that has been looked at too often."""

    asked: int = 0

    def look(self) -> Look:
        self.asked += 1
        if self.asked > 60:
            raise InterruptedError
        return super().look()


def test_a_topic_that_is_gone_from_the_log_ends_a_rebuild_and_is_named(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FEW", "MOST"):
        monkeypatch.setattr(f"projector.operate.switching.{name}", 3)
    log = random_stream(3, customers=5, products=5, orders=20)
    shop.given(log)
    served = shop.generations()
    with pytest.raises(PrejoinError, match=r"payments/\d is applied further than its log reaches"):
        from_events(shop, Counting([r for r in log if r.topic != "payments"])).run()
    assert shop.generations() == served


@dataclass
class Overtaken(Past):
    """A log of which somebody else loads the first chunk of orders meanwhile."""

    url: str = ""
    world: World | None = None

    def read(self, positions: Any, ends: Any) -> Iterator[Chunk]:
        for chunk in super().read(positions, ends):
            if chunk.partition.topic == "orders" and chunk.start == 0 and self.world is not None:
                shop, self.world = self.world, None
                ((copy,),) = shop.fetch("SELECT id FROM copies")
                own = copy_group(shop.group, copy)
                with closing(Loading(shop.url, own, shop.projections, "deadletter", [chunk.partition])) as other:
                    other.apply([chunk])
            yield chunk


def test_who_finds_that_another_loads_the_same_partition_says_so_and_keeps_nothing(shop: World) -> None:
    log = random_stream(3, customers=5, products=5, orders=40)
    shop.given(log)
    past, until = Overtaken(log, size=10, world=shop), datetime(2040, 1, 1, tzinfo=UTC)
    with pytest.raises(PrejoinError, match=r"^orders/\d is being loaded by somebody else"):
        from_events(shop, past, until=until, name="then").run()
    assert shop.fetch("SELECT state FROM copies") == [("building",)]
    from_events(shop, past, until=until, name="then").run()
    snapshot = "SELECT generation FROM generations WHERE (state, relation) = ('snapshot', 'order_overview')"
    ((generation,),) = shop.fetch(snapshot)
    assert shop.fetch(f"SELECT count(*) FROM order_overview__g{generation}") == [
        (len(Model().apply_all(log).views()["order_overview"]),)
    ]


def test_a_release_that_the_database_is_not_migrated_to_makes_no_copy(shop: World) -> None:
    shop.execute("UPDATE projection_group SET declarations = 'of a newer release'")
    with pytest.raises(OutOfDate, match=r"run `prejoin migrate` with the newer release"):
        from_events(shop, Past(records(REGISTERED))).run()
    assert shop.fetch("SELECT id FROM copies") == []


def test_a_snapshot_outlives_a_migration_that_changes_its_views(shop: World) -> None:
    log = records(REGISTERED, order(1))
    shop.given(log)
    from_events(shop, Past(log), until=datetime(2030, 1, 1, tzinfo=UTC), name="then").run()
    shop.execute("UPDATE generations SET digest = 'of another definition' WHERE state = 'live'")
    migrate(shop.url, None, shop.group, shop.projections)
    ((generation,),) = shop.fetch(
        "SELECT generation FROM generations WHERE (state, relation) = ('snapshot', 'order_overview')"
    )
    assert shop.fetch(f"SELECT order_id FROM order_overview__g{generation}") == [("o1",)]


def test_keys_that_wait_in_a_generation_that_is_built_do_not_hold_as_of_back(shop: World) -> None:
    async def pending() -> bool:
        ledger = Ledger(shop.url, shop.group, "w")
        try:
            return (await ledger.read()).pending
        finally:
            await ledger.close()

    waiting = "INSERT INTO pending (relation, generation, keys) VALUES ('order_overview', %s, '{o1}')"
    shop.execute(waiting, 2)
    assert not asyncio.run(pending())
    shop.execute(waiting, 1)
    assert asyncio.run(pending())

"""Snapshots: of each aggregate the events up to the first that is later, beside what is served."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from projector.apply.batch import TopicPartition
from projector.errors import PrejoinError
from projector.operate.copying import Copying, CopyStep
from projector.operate.erase import erase_one
from projector.operate.snapshots import drop_snapshots, snapshots
from projector.store.names import copy_group, generation_name
from tests.history import Past
from tests.model import Model, Record
from tests.model.events import RejectedError, decode
from tests.model.histories import cloud_event, encoded, random_stream
from tests.world import Rows, World, world

PERSONAL = {
    "customer_summary": ["name", "email", "segment"],
    "order_overview": ["customer_name", "customer_email", "customer_segment"],
    "fulfilment": ["customer_name"],
}


@pytest.fixture
def shop(database_url: str, read_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("projector.operate.loading.BATCH", 60)
    with world(database_url, read_url=read_database_url) as made:
        yield made


def snapshot(shop: World, records: list[Record], until: datetime, name: str = "then") -> Copying:
    return Copying(shop.url, shop.group, shop.projections, Past(records), until=until, name=name)


def up_to(records: list[Record], until: datetime) -> list[Record]:
    """The records, without those of an aggregate that are at or behind its first later one."""
    past, found = set[tuple[str, str]](), []
    for record in records:
        try:
            event = decode(record)
        except RejectedError:
            continue
        aggregate = event.aggregate, event.aggregate_id
        if event.time > until:
            past.add(aggregate)
        if aggregate not in past:
            found.append(record)
    return found


def times(records: list[Record]) -> list[datetime]:
    found = []
    for record in records:
        try:
            found.append(decode(record).time)
        except RejectedError:
            continue
    return sorted(found)


def expected(records: list[Record], until: datetime) -> dict[str, Rows]:
    """The model's views as of then, with those blank who were erased later."""
    views = Model().apply_all(up_to(records, until)).views()
    now = Model().apply_all(records).views()["customer_summary"]
    erased = {key[0] for key, row in now.items() if row["erased"]}
    for view, columns in PERSONAL.items():
        for row in views[view].values():
            if row["customer_id"] in erased:
                row.update(dict.fromkeys(columns))
                if view == "customer_summary" and row["updated_at"] is not None:  # known then
                    row["erased"] = True
    return views


def views(shop: World, name: str) -> dict[str, Rows]:
    ((generations,),) = shop.fetch("SELECT generations FROM copies WHERE name = %s", name)
    found = {}
    served = shop.table
    try:
        shop.table = lambda view: generation_name(view, generations[view])  # type: ignore[method-assign]
        found = shop.views()
    finally:
        shop.table = served  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_snapshot_is_the_model_as_of_then_and_nothing_that_is_served_changes(shop: World, seed: int) -> None:
    records = random_stream(seed, customers=8, products=8, orders=40)
    shop.given(records, 100)
    before = shop.views(), shop.fetch("SELECT * FROM served ORDER BY 1")
    for n, share in enumerate((0.3, 0.7)):
        until = times(records)[int(len(records) * share * 0.7)]
        snapshot(shop, records, until, f"then-{n}").run()
        for view, rows in expected(records, until).items():
            assert views(shop, f"then-{n}")[view] == rows, view
    assert (shop.views(), shop.fetch("SELECT * FROM served ORDER BY 1")) == before
    assert shop.drift() == []
    told = snapshots(shop.url, shop.group)
    assert [row["name"] for row in told] == ["then-0", "then-1"]
    assert all(row["bytes"] > 0 for row in told)


def test_interrupted_it_goes_on_and_what_was_dropped_is_gone(shop: World) -> None:
    records = random_stream(9, customers=8, products=8, orders=40)
    shop.given(records, 100)
    until = times(records)[len(records) // 3]

    def step(step: CopyStep) -> None:
        if (step.phase, step.done) in (("replaying", step.total), ("building", 3)) and steps.count(step.phase) < 1:
            steps.append(step.phase)
            raise RuntimeError

    steps: list[str] = []
    for _ in range(2):
        with pytest.raises(RuntimeError):
            snapshot(shop, records, until).run(step)
    assert [(row["name"], row["half_made"]) for row in snapshots(shop.url, shop.group)] == [("then", True)]
    with pytest.raises(PrejoinError, match="the snapshot then is half made"):
        Copying(shop.url, shop.group, shop.projections, Past(records)).run()
    copy = snapshot(shop, records, until).run(step)
    assert [(row["name"], row["half_made"]) for row in snapshots(shop.url, shop.group)] == [("then", False)]
    assert views(shop, "then") == expected(records, until)
    with pytest.raises(PrejoinError, match=r"there is a snapshot then already: .* another --name"):
        snapshot(shop, records, until).run()
    own = copy_group(shop.group, copy.id)
    with pytest.raises(PrejoinError, match="there is no snapshot 'now'"):
        drop_snapshots(shop.url, shop.group, shop.projections, ["now"])
    steps.clear()
    with pytest.raises(RuntimeError):
        snapshot(shop, records, until, "given up").run(step)
    assert drop_snapshots(shop.url, shop.group, shop.projections, ["given up"]) == ["given up"]
    assert drop_snapshots(shop.url, shop.group, shop.projections, ["then"]) == ["then"]
    assert shop.fetch("SELECT FROM pg_namespace WHERE nspname LIKE %s", own + "%") == []
    assert shop.fetch("SELECT FROM copies") == []
    assert shop.fetch("SELECT FROM generations WHERE state <> 'live'") == []


def test_who_is_erased_later_is_erased_in_the_snapshot_too(shop: World) -> None:
    records = random_stream(2, customers=6, products=6, orders=30)
    shop.given(records)
    snapshot(shop, records, times(records)[-1]).run()
    named = [key for (key,), row in views(shop, "then")["customer_summary"].items() if row["name"]]
    by_command, by_event = named[:2]
    erase_one(shop.url, shop.group, shop.projections, "customer", by_command)
    erased = encoded(cloud_event("customers.CustomerErased", customer_id=by_event), by_event.encode())
    at = shop.applier.positions()[TopicPartition("customers", 0)]
    shop.given([Record("customers", 0, at, *erased[1:])])
    for name in ("then", None):
        found = views(shop, name) if name else shop.views()
        for view, columns in PERSONAL.items():
            theirs = [row for row in found[view].values() if row["customer_id"] in (by_command, by_event)]
            assert theirs
            assert all(row[column] is None for row in theirs for column in columns)

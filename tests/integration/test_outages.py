"""Rebuilds whose sessions Postgres ends at each step: they go on by themselves, and what is served stays."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from projector.operate.copying import Copying
from projector.operate.rebuild import Rebuild
from projector.outages import through_outages
from tests.history import Past
from tests.model import Model, Record
from tests.model.histories import random_stream
from tests.world import World, world

_END = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name LIKE 'prejoin%%' AND datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def shop(database_url: str, read_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("projector.outages.FIRST_WAIT", 0.01)
    monkeypatch.setattr("projector.operate.filling.RANGE", 7)
    monkeypatch.setattr("projector.operate.loading.BATCH", 60)
    with world(database_url, read_url=read_database_url) as made:
        yield made


def from_events(shop: World, records: list[Record], **options: Any) -> Copying:
    return Copying(shop.url, shop.group, shop.projections, Past(records), **options)


def from_entities(shop: World, records: list[Record]) -> Rebuild:
    return Rebuild(shop.url, shop.group, shop.projections, shop.projections.relations)


def snapshot(shop: World, records: list[Record]) -> Copying:
    return from_events(shop, records, until=datetime(2030, 1, 1, tzinfo=UTC), name="then")


def by_processes(shop: World, records: list[Record]) -> Copying:
    return from_events(shop, records, jobs=2)


Making = Callable[[World, list[Record]], Copying | Rebuild]


@pytest.mark.parametrize("making", [by_processes, snapshot, from_entities])
def test_its_sessions_ended_at_each_step_it_goes_on_and_what_is_served_stays(
    shop: World, making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    if making is by_processes:
        monkeypatch.setattr("projector.operate.loading.FEW", 0)
    records = random_stream(5, customers=8, products=8, orders=40)
    shop.given(records, 100)
    shop.applier.close()
    before = shop.generations()
    said, seen = list[str](), set[Any]()

    def step(step: Any) -> None:
        if step.phase != "done" and step not in seen:
            seen.add(step)
            assert shop.generations() == before
            assert shop.fetch(_END)[0][0] > 0

    run = making(shop, records)
    through_outages(run.run, step, said.append)
    assert len(seen) >= 8
    assert len(said) > 3
    assert {line.rpartition(": ")[2] for line in said} <= {
        f"{why}; trying again, for 120 s at most"
        for why in (
            "terminating connection due to administrator command",
            "server closed the connection unexpectedly",
            "the connection is closed",
        )
    }
    assert (shop.generations() == before) is (making is snapshot)
    assert shop.views() == Model().apply_all(records).views()
    assert shop.drift() == []
    assert shop.fetch("SELECT state FROM copies") == ([("snapshot",)] if making is snapshot else [])
    assert shop.fetch("SELECT FROM generations WHERE state IN ('building', 'copy')") == []


@pytest.mark.parametrize(
    ("making", "last"), [(from_events, "_switch_to"), (snapshot, "_keep"), (from_entities, "_switch")]
)
def test_where_the_answer_to_the_last_commit_is_lost_it_is_not_made_again(
    shop: World, making: Making, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = random_stream(3, customers=5, products=5, orders=20)
    shop.given(records)
    run, lost = making(shop, records), list[str]()
    doing = getattr(run, last)

    def losing(*arguments: Any) -> Any:
        doing(*arguments)
        lost.append("once")
        if len(lost) > 1:
            pytest.fail("it was made again")
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(run, last, losing)
    made = through_outages(run.run, lambda step: None, lambda line: None)
    told = made if isinstance(made, dict) else made.generations
    assert set(told.values()) == {2}
    assert shop.fetch("SELECT max(generation) FROM generations") == [(2,)]
    if making is not snapshot:
        assert shop.generations() == told
    assert shop.views() == Model().apply_all(records).views()

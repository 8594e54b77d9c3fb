"""Rebuilds from the log, beside what is served: interrupted, raced, with what was replayed and purged in its place."""

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from projector.apply.batch import Chunk, TopicPartition
from projector.errors import PrejoinError
from projector.history.kafka import KafkaHistory
from projector.ingest.positions import TopicReplaced
from projector.operate.copying import Copying, CopyStep
from projector.operate.replay import NotReplayed, Replayer
from projector.operate.status import current_status
from projector.store.names import copy_group
from tests.history import Past
from tests.integration.shop_in_kafka import PARTITIONS, fresh_topics, publish
from tests.model import Model, Record
from tests.model.histories import random_stream
from tests.world import World, world


@pytest.fixture
def shop(database_url: str, read_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("projector.operate.loading.BATCH", 60)
    monkeypatch.setattr("projector.operate.switching.BATCH", 40)
    monkeypatch.setattr("projector.operate.switching.FEW", 20)
    monkeypatch.setattr("projector.operate.switching.MOST", 20)
    with world(database_url, read_url=read_database_url) as made:
        yield made


def from_events(shop: World, past: Past, **options: Any) -> Copying:
    return Copying(shop.url, shop.group, shop.projections, past, **options)


def agree(shop: World, model: Model) -> None:
    while shop.applier.drain():
        pass
    expected = model.views()
    for name, rows in shop.views().items():
        assert rows == expected[name], name
    assert shop.drift() == []
    letters = [(letter.topic, letter.partition, letter.offset, letter.reason) for letter in model.dead_letters]
    assert shop.dead_letters() == sorted(letters)


def entities(shop: World) -> dict[str, list[Any]]:
    tables = [t for e in shop.projections.entities for t in (e.table, *(c.table for c in e.children))]
    return {
        t.name: shop.fetch(f"SELECT * FROM {t.name} ORDER BY {', '.join(c.name for c in t.primary_key)}")
        for t in tables
    }


def journals(shop: World) -> list[Any]:
    records = 'SELECT entity, aggregate, topic, partition, "offset" FROM journal_records ORDER BY 1, 2, n'
    bases = "SELECT entity, aggregate, base - 'state', records FROM journals ORDER BY 1, 2"
    return [shop.fetch(bases), shop.fetch(records)]


@pytest.mark.parametrize("seed", range(4))
def test_the_copy_is_what_the_live_path_made_to_the_last_hidden_column(shop: World, seed: int) -> None:
    # one partition: a bad record may be in another one than the aggregate that it names, and then either may come first
    records = random_stream(seed, customers=8, products=8, orders=40, partitions=1)
    shop.given(records, 70)
    positions = "SELECT topic, partition, next FROM positions ORDER BY 1, 2"
    before = entities(shop), journals(shop), shop.fetch(positions)
    run = from_events(shop, Past(records))
    run.run()
    assert (entities(shop), journals(shop), shop.fetch(positions)) == before
    agree(shop, Model().apply_all(records))
    assert run.notes == []


@pytest.mark.parametrize("seed", range(3))
def test_while_records_come_at_each_step_nothing_is_lost_or_applied_twice(shop: World, seed: int) -> None:
    records = random_stream(seed, customers=8, products=8, orders=60)
    half = len(records) // 2
    coming = [records[at : at + 15] for at in range(half, len(records), 15)]
    past = Past(records[:half])
    shop.given(past.records, 100)

    def step(_: CopyStep) -> None:
        if coming:
            past.records += coming[0]
            shop.given(coming.pop(0))

    from_events(shop, past).run(step)
    agree(shop, Model().apply_all(past.records))
    for batch in coming:
        past.records += batch
        shop.given(batch)
    agree(shop, Model().apply_all(records))


@pytest.mark.parametrize("seed", range(3))
def test_interrupted_at_every_step_it_goes_on_and_what_is_served_stays(shop: World, seed: int) -> None:
    records = random_stream(seed, customers=6, products=6, orders=30)
    shop.given(records, 100)
    served = shop.generations()
    rng, runs = random.Random(seed), 0

    def step(step: CopyStep) -> None:
        if step.phase != "done" and rng.random() < 0.3:
            raise InterruptedError

    while True:
        runs += 1
        try:
            from_events(shop, Past(records)).run(step)
        except InterruptedError:
            assert shop.generations() == served
        else:
            break
    assert runs > 1
    agree(shop, Model().apply_all(records))
    assert shop.fetch("SELECT id FROM copies") == []


def test_what_was_replayed_and_purged_is_so_in_the_copy(shop: World) -> None:
    records = random_stream(5, customers=8, products=8, orders=60)
    shop.given(records, 80)
    model = Model().apply_all(records)
    rng, replayer = random.Random(5), Replayer(shop.applier)
    for letter, topic, partition, offset in shop.fetch(
        'SELECT id, topic, partition, "offset" FROM dead_letters ORDER BY id'
    ):
        if rng.random() < 0.3:
            continue
        try:
            replayer.replay(letter)
            model.replay(topic, partition, offset)
        except NotReplayed:
            if rng.random() < 0.5:
                replayer.purge([letter])
    states = 'SELECT id, topic, partition, "offset", reason, state FROM dead_letters ORDER BY id'
    letters, before = shop.fetch(states), entities(shop)
    assert {state for *_, state in letters} == {"open", "replayed", "purged"}
    from_events(shop, Past(records)).run()
    assert shop.fetch(states) == letters
    after = entities(shop)
    assert {n: [r[:-4] for r in rows] for n, rows in after.items()} == {
        n: [r[:-4] for r in rows] for n, rows in before.items()
    }
    assert shop.drift() == []


def without_its_beginning(shop: World) -> Past:
    """All of it is applied, but orders/0 begins at offset 5 by now."""
    records = random_stream(1, customers=5, products=5, orders=20)
    shop.given(records)
    gone = TopicPartition("orders", 0)
    return Past([r for r in records if (r.topic, r.partition) != gone or r.offset >= 5], begins={gone: 5})


def build_of_what_is_left(shop: World, past: Past) -> None:
    """Refused, and done where that is allowed."""
    with pytest.raises(PrejoinError, match=r"orders/0 at offset 5.*--allow-truncated"):
        from_events(shop, past).run()
    run = from_events(shop, past, allow_truncated=True)
    run.run()
    assert run.notes == ["built from what is left of the log: orders/0 at offset 5"]
    assert shop.drift() == []


def test_a_log_without_its_beginning_is_refused_and_taken_where_that_is_allowed(shop: World) -> None:
    past = without_its_beginning(shop)
    build_of_what_is_left(shop, past)
    expected = Model().apply_all(past.records).views()
    assert shop.views()["customer_summary"] == expected["customer_summary"]


def test_a_second_run_is_refused_and_one_given_up_leaves_nothing(shop: World) -> None:
    records = random_stream(2, customers=5, products=5, orders=20)
    shop.given(records)

    def second(step: CopyStep) -> None:
        if step.phase == "building" and step.done == 2:
            with pytest.raises(PrejoinError, match=r"is being rebuilt already, by .* since"):
                from_events(shop, Past(records)).run()
            raise InterruptedError

    with pytest.raises(InterruptedError):
        from_events(shop, Past(records)).run(second)
    told = current_status(shop.url, shop.group, shop.projections)
    assert {(v["rebuild"]["phase"], v["rebuild"]["rows"], v["rebuild"]["expected"]) for v in told["views"]} == {
        ("building", 2, 8)
    }
    before = tables(shop)
    from_events(shop, Past(records)).abort()
    assert shop.fetch("SELECT * FROM copies") == []
    assert not [t for t in tables(shop) if "$" in t[0]]
    assert {t for t in before if "$" not in t[0]} >= tables(shop)
    agree(shop, Model().apply_all(records))


def tables(shop: World) -> set[Any]:
    return set(shop.fetch("SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE %s", f"{shop.group}%"))


def test_views_before_are_kept_until_they_are_dropped_and_entities_while_they_are_read(shop: World) -> None:
    records = random_stream(3, customers=5, products=5, orders=20)
    shop.given(records)
    with shop.connect() as reader, reader.transaction():
        reader.execute("SELECT FROM orders")
        from_events(shop, Past(records)).run()
        ((copy,),) = shop.fetch("SELECT id FROM copies WHERE state = 'replaced'")
        assert shop.fetch("SELECT generation FROM generations WHERE relation = 'order_overview' ORDER BY 1") == [
            (1,),
            (2,),
        ]
    from_events(shop, Past(records)).run()
    assert shop.fetch("SELECT * FROM copies") == []
    assert shop.fetch("SELECT generation FROM generations WHERE relation = 'order_overview' ORDER BY 1") == [(2,), (3,)]
    dropped = from_events(shop, Past(records)).drop_old()
    assert "order_overview__g2" in dropped
    assert not [t for t in tables(shop) if "$" in t[0]]
    agree(shop, Model().apply_all(records))
    assert copy_group(shop.group, copy) not in {schema for schema, _ in tables(shop)}


@dataclass
class Broken(Past):
    """A log that breaks off behind the first chunk of one topic."""

    topic: str = "orders"

    def read(self, positions: Any, ends: Any) -> Iterator[Chunk]:
        for chunk in super().read(positions, ends):
            if chunk.start and chunk.partition.topic == self.topic:
                raise PrejoinError("the log breaks off")
            yield chunk


def test_by_several_processes_of_which_one_fails_and_then_by_others(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.operate.loading.FEW", 0)
    records = random_stream(4, customers=8, products=8, orders=60)
    with pytest.raises(PrejoinError, match=r"^the log breaks off$"):
        from_events(shop, Broken(records, size=5), jobs=2).run()
    assert multiprocessing.active_children() == []
    told: list[CopyStep] = []
    from_events(shop, Past(records), jobs=3).run(told.append)
    agree(shop, Model().apply_all(records))
    assert told[0].phase == "replaying"
    assert [(step.done, step.total) for step in told if step.phase == "replaying"][-1] == (len(records), len(records))


async def test_a_topic_that_was_made_again_is_not_read_on_by_a_half_made_copy(shop: World, kafka_brokers: str) -> None:
    records = random_stream(6, customers=5, products=5, orders=20, partitions=PARTITIONS)
    log = KafkaHistory([kafka_brokers], shop.projections.topics)

    def run(told: Callable[[CopyStep], None] = lambda step: None) -> None:
        Copying(shop.url, shop.group, shop.projections, log).run(told)

    for last in ("replaying", "building"):
        await in_fresh_topics(kafka_brokers, shop, records)

        def interrupt(step: CopyStep, last: str = last) -> None:
            if step.phase == last:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            await asyncio.to_thread(run, interrupt)
        await in_fresh_topics(kafka_brokers, shop, records)
        with pytest.raises(
            TopicReplaced, match=r"^catalog, .* since this copy was begun .*--from-events --abort`, then"
        ):
            await asyncio.to_thread(run)
        assert shop.fetch("SELECT DISTINCT generation FROM served") == [(1,)]
        Copying(shop.url, shop.group, shop.projections, log).abort()
    await asyncio.to_thread(run)
    agree(shop, Model().apply_all(records))
    there = await asyncio.to_thread(log.look)
    assert dict(shop.fetch("SELECT DISTINCT topic, topic_id FROM positions")) == there.ids

    await in_fresh_topics(kafka_brokers, shop, records)
    with pytest.raises(PrejoinError, match=r"catalog was made again since it was applied.*--allow-truncated"):
        await asyncio.to_thread(run)


async def in_fresh_topics(brokers: str, shop: World, records: list[Record]) -> None:
    async with fresh_topics(brokers, shop.projections.topics):
        await publish(brokers, records)


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_partition_that_is_added_while_a_copy_is_made_is_told(shop: World, interrupted: bool) -> None:
    records = random_stream(1, customers=5, products=5, orders=20)
    one = {tp for tp in Past(records).look().ends if tp.partition == 0}
    past = Past([r for r in records if TopicPartition(r.topic, r.partition) in one])

    def grow(step: CopyStep) -> None:
        if step.phase == "building" and len(past.records) < len(records):
            past.records = records
            if interrupted:
                raise InterruptedError

    run = from_events(shop, past)
    if interrupted:
        with pytest.raises(InterruptedError):
            run.run(grow)
        run = from_events(shop, past)
    run.run(grow)
    assert [note.partition(" was added since this copy was begun: ")[0] for note in run.notes] == [
        f"{tp.topic}/{tp.partition}" for tp in sorted(past.look().ends.keys() - one)
    ]
    positions = shop.fetch("SELECT topic, partition, next FROM positions")
    assert {TopicPartition(*tp): next_ for *tp, next_ in positions} == past.look().ends
    assert shop.drift() == []


def test_a_copy_that_was_registered_and_no_more_begins_where_the_log_does(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = without_its_beginning(shop)
    with monkeypatch.context() as patched:
        patched.setattr("projector.operate.copying.copies.prepare", interrupt)
        with pytest.raises(InterruptedError):
            from_events(shop, past, allow_truncated=True).run()
    build_of_what_is_left(shop, past)


def interrupt(*_: Any) -> None:
    raise InterruptedError

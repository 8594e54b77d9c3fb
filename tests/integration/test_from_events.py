"""Rebuilds from the log, beside what is served: interrupted, raced, with what was replayed and purged in its place."""

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest
from msgspec import defstruct
from sqlalchemy import REAL, Boolean, Date, Float, Integer, Numeric, SmallInteger, Uuid

from projector.apply.batch import Chunk, TopicPartition
from projector.apply.loading import exact
from projector.declare import Entity, State
from projector.declare.projections import load
from projector.errors import DeclarationError, PrejoinError
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
from tests.shelf import BookAdded, book, make_list, projections, shelf
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


def test_what_postgres_refuses_is_the_same_dead_letter_in_a_copy(database_url: str) -> None:
    made = World(database_url, shelf())
    try:
        records = [book(f"b{n}", offset=n, pages=10**n, bought_at="2026-01-01T00:00:00.5+02:00") for n in range(25)]
        made.given(records)
        before = entities(made)
        assert [pages for _, _, _, pages, *_ in before["books"]] == [10**n for n in sorted(range(19), key=str)]
        assert [offset for _, _, offset, _ in made.dead_letters()] == list(range(19, 25))
        letters = made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1')
        from_events(made, Past(records)).run()
        assert entities(made) == before
        assert made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1') == letters
    finally:
        made.drop()


def test_a_text_too_long_for_an_index_is_the_same_dead_letter_in_a_copy_that_has_none_yet(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.operate.loading.BATCH", 4)
    noise = random.Random(1).randbytes(9_000).hex()
    made = World(database_url, shelf(lambda books: [make_list(books, "book_id")], indexes=["title"]))
    try:
        titles = [noise[:n] for n in (500, 900, 2_400, 4_000, 6_000, 18_000)] + ["x" * n for n in (5_000, 100_000)]
        titles += ["é" * 700 + noise[:n] for n in (1_000, 6_000)]
        records = [book(f"b{n}", offset=n, title=title) for n, title in enumerate([*titles, "short"])]
        records += [book("b0", offset=len(records), title=noise), book("b0", offset=len(records) + 1, title="new")]
        records.append(book("b99", offset=len(records), title="x" * 700 + "\0"))
        made.given(records, batch=1)
        letters = made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1')
        assert {5, 11, 13} <= {offset for offset, *_ in letters} <= {3, 4, 5, 9, 11, 13}
        assert {detail for *_, detail in letters} == {
            f"Postgres refuses it: SQLSTATE {code}" for code in (54000, "22P05")
        }
        before = entities(made)
        from_events(made, Past(records, size=1)).run()
        assert entities(made) == before
        assert made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1') == letters
        assert made.fetch("SELECT indexname FROM pg_indexes WHERE indexname = 'ix_books_title'") == [
            ("ix_books_title",)
        ]
    finally:
        made.drop()


def test_a_text_too_long_for_the_index_of_a_view_ends_a_copy_with_the_columns_named(database_url: str) -> None:
    made = World(database_url, shelf(lambda books: [make_list(books, indexes=[("shelf", "-title")])], indexes=[]))
    try:
        records = [book("b1", offset=0), book("b2", offset=1, title=random.Random(1).randbytes(9_000).hex())]
        assert made.given(records).dead_letters == {"unstorable": 1}
        before = made.views()
        with pytest.raises(DeclarationError, match=r"^book_list__g2 \(shelf, title DESC, book_id\): a text .*--abort"):
            from_events(made, Past(records)).run()
        from_events(made, Past(records)).abort()
        assert made.views() == before
    finally:
        made.drop()


Columns = list[tuple[Any, list[Any]]]
IN_TEXT: Columns = [  # annotation, and values of which the first one fits
    (Annotated[int, Integer()], [5, 2**31, 2**40]),
    (Annotated[int, SmallInteger()] | None, [5, 2**20, None]),
    (Annotated[float, Float()], [1.5, 1e300]),
    (Annotated[float, REAL()], [1.5, 1e300]),
    (Annotated[str, Uuid(as_uuid=False)], ["00000000-0000-0000-0000-000000000001", "none"]),
    (Annotated[str, Date()], ["2026-01-01", "2026-02-30"]),
    (Annotated[str, Numeric(38, 2)], ["7.10", "1e99"]),
    (Annotated[str, Boolean()], ["true", "no", "perhaps"]),
]
IN_BINARY: Columns = [
    (str, ["a", "a\0b", 5, True]),
    (int | None, [1, None, 10**30, "7", "x", True, 1.5, Decimal(2)]),
    (bool, [True, False, 1, 5, "yes", "x"]),
    (Decimal, [Decimal("1.50"), 7, True, 1.5, Decimal("1e99")]),
    (datetime, [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1), date(2026, 1, 1), 5]),
    (date, [date.min, "today?", datetime(2026, 1, 1, 23, tzinfo=UTC)]),
]


@pytest.mark.parametrize("columns", [IN_TEXT, IN_BINARY])
def test_a_value_of_whatever_type_is_in_a_copy_what_a_worker_makes_of_it(database_url: str, columns: Columns) -> None:
    fits = [values[0] for _, values in columns]
    rows = [fits, *([*fits[:n], odd, *fits[n + 1 :]] for n, (_, its) in enumerate(columns) for odd in its[1:])]
    fields = [("book_id", str), *((f"x{n}", annotation) for n, (annotation, _) in enumerate(columns))]
    state = defstruct("Kept", fields, bases=(State,), frozen=True)
    books = Entity[Any]("books", state=state, key="book_id", topic="books")

    @books.on(BookAdded)
    def added(kept: State | None, event: BookAdded) -> State:
        return state(event.book_id, *rows[event.pages])  # type: ignore[no-any-return]

    made = World(database_url, projections([books]))
    try:
        records = [book(f"b{n}", offset=n, pages=n) for n in range(len(rows))]
        made.given(records)
        before, letters = entities(made), made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1')
        assert letters
        assert before["books"]
        from_events(made, Past(records)).run()
        assert entities(made) == before
        assert made.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1') == letters
    finally:
        made.drop()


def test_all_entities_of_the_shop_are_loaded_in_binary_form() -> None:
    assert [entity.name for entity in load("projections").entities if not exact(entity)] == []


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

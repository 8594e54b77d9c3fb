"""The applier: positions, two of them at once, sessions that die, data that Postgres refuses, folds that raise."""

import json
import random
import threading
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from typing import Annotated, Any

import psycopg
import pytest
from sqlalchemy import Numeric

from projector.apply.applier import Applier
from projector.apply.batch import Chunk, FoldError, Outcome, TopicPartition
from projector.declare import State
from projector.errors import OutOfDate, TooManyDeadLetters
from projector.operate.replay import NotReplayed, Replayer
from tests.model import Model, Record
from tests.model.histories import CloudEvent, cloud_event
from tests.shelf import BookAdded, book, make_books, projections, shelf
from tests.world import World, until

ORDERS, CUSTOMERS = TopicPartition("orders", 0), TopicPartition("customers", 0)


@pytest.fixture
def shop(of_the_shop: World) -> World:
    of_the_shop.clear()
    return of_the_shop


def another(shop: World, **options: Any) -> Applier:
    return Applier(shop.url, shop.group, shop.projections, **({"dead_letter_limit": 1.0} | options))


def registered(customer: str, name: str = "Ann", **envelope: Any) -> CloudEvent:
    data = {"customer_id": customer, "name": name, "email": "a@b", "country": "DE"}
    return cloud_event("customers.CustomerRegistered", **data, **envelope)


def renamed(customer: str, name: str, **envelope: Any) -> CloudEvent:
    return cloud_event("customers.CustomerNameChanged", customer_id=customer, name=name, **envelope)


def placed(order: str, customer: str) -> CloudEvent:
    data: dict[str, Any] = {"product_id": "p1", "quantity": 2, "unit_price": "5.00", "currency": "EUR"}
    return cloud_event(
        "orders.OrderPlaced", order_id=order, customer_id=customer, placed_at="2026-01-01T00:00:00Z", **data
    )


def at(offset: int, event: CloudEvent, partition: int = 0) -> Record:
    topic = event["type"].partition(".")[0]
    return Record(topic, partition, offset, None, json.dumps(event).encode(), (), 0)


def chunk(start: int | None, *records: Record, after: int | None = None) -> Chunk:
    last = records[-1]
    return Chunk(TopicPartition(*last[:2]), start, last.offset + 1 if after is None else after, records)


def bad(offset: int) -> Record:
    return Record("orders", 0, offset, None, b"no json", (), 0)


def orders_of(shop: World) -> set[str]:
    return {key for (key,) in shop.view("order_overview")}


# Positions


def test_a_chunk_that_does_not_start_where_postgres_stands_is_refused_and_the_others_go_on(shop: World) -> None:
    shop.applier.apply([chunk(None, at(0, placed("o0", "c1")))])
    outcome = shop.applier.apply(
        [chunk(5, at(5, placed("o5", "c1"))), chunk(6, at(6, placed("o6", "c1"))), chunk(None, at(3, registered("c1")))]
    )
    assert (outcome.refused, outcome.applied) == ({ORDERS: 1}, 1)
    assert shop.applier.positions() == {ORDERS: 1, CUSTOMERS: 4}
    assert {key: row["customer_name"] for (key,), row in shop.view("order_overview").items()} == {"o0": "Ann"}


def test_a_first_chunk_is_refused_where_another_worker_was_faster(shop: World) -> None:
    shop.applier.apply([chunk(None, at(0, placed("o0", "c1")))])
    assert shop.applier.apply([chunk(None, at(0, placed("o9", "c1")))]).refused == {ORDERS: 1}
    assert orders_of(shop) == {"o0"}


def test_the_same_batch_again_is_refused_and_changes_nothing(shop: World) -> None:
    """So an unknown outcome of COMMIT is found out: the batch is given once more."""
    batch = [chunk(None, at(0, placed("o0", "c1")), bad(1)), chunk(None, at(0, registered("c1")))]
    assert shop.applier.apply(batch).refused == {}
    before = shop.views(), shop.dead_letters(), shop.fetch("SELECT * FROM changes"), shop.applier.positions()
    outcome = shop.applier.apply(batch)
    assert (outcome.refused, outcome.applied, outcome.dead_letters) == ({ORDERS: 2, CUSTOMERS: 1}, 0, {})
    assert (shop.views(), shop.dead_letters(), shop.fetch("SELECT * FROM changes"), shop.applier.positions()) == before


def test_two_chunks_of_one_partition_in_a_batch_follow_each_other(shop: World) -> None:
    shop.applier.apply([chunk(None, at(0, placed("o0", "c1"))), chunk(1, at(1, placed("o1", "c1")))])
    assert shop.applier.positions() == {ORDERS: 2}
    assert orders_of(shop) == {"o0", "o1"}


def test_holes_in_offsets_are_no_matter_and_next_is_what_the_consumer_says(shop: World) -> None:
    shop.applier.apply([chunk(None, at(3, placed("o3", "c1")), at(90, placed("o90", "c1")), after=120)])
    assert shop.applier.positions() == {ORDERS: 120}
    assert shop.applier.apply([chunk(91, at(91, placed("o91", "c1")))]).refused == {ORDERS: 120}
    assert orders_of(shop) == {"o3", "o90"}


def test_a_chunk_without_records_moves_the_position(shop: World) -> None:
    shop.applier.apply([Chunk(ORDERS, None, 7, [])])
    shop.applier.apply([Chunk(ORDERS, 7, 9, [])])
    assert shop.applier.positions() == {ORDERS: 9}


def test_positions_beyond_32_bits_are_kept(shop: World) -> None:
    far = 2**62
    shop.applier.apply([chunk(None, at(far, placed("o1", "c1")))])
    assert shop.applier.positions() == {ORDERS: far + 1}


# Two appliers of one group


def test_two_appliers_take_turns(shop: World) -> None:
    with closing(another(shop)) as other:
        shop.applier.apply([chunk(None, at(0, placed("o0", "c1")))])
        other.apply([chunk(None, at(0, registered("c1", "Ann")))])
        shop.applier.apply([chunk(1, at(1, placed("o1", "c1")))])
        other.apply([chunk(1, at(1, renamed("c1", "Bea")))])
        assert other.apply([chunk(1, at(1, placed("o2", "c1")))]).refused == {ORDERS: 2}
    names = {key: row["customer_name"] for (key,), row in shop.view("order_overview").items()}
    assert names == {"o0": "Bea", "o1": "Bea"}


def test_two_appliers_at_once_never_leave_a_stale_join(shop: World) -> None:
    """Each round has customers and orders that no later round touches: what one batch misses stays missed."""
    rounds = 150
    shop.applier.apply([chunk(None, *(at(i, registered(f"old{i}", "before")) for i in range(rounds)))])
    barrier, failures = threading.Barrier(2, timeout=30), []

    def work(applier: Applier, batch_of: Callable[[int], Chunk]) -> None:
        try:
            for i in range(rounds):
                batch = batch_of(i)
                barrier.wait()
                if applier.apply([batch]).refused:
                    raise AssertionError(f"round {i} was refused")
        except BaseException as error:
            barrier.abort()
            failures.append(error)
            raise

    def of_customers(i: int) -> Chunk:
        first = rounds + 2 * i
        return chunk(first, at(first, renamed(f"old{i}", "after")), at(first + 1, registered(f"new{i}", "after")))

    def of_orders(i: int) -> Chunk:
        both = at(2 * i, placed(f"a{i}", f"old{i}")), at(2 * i + 1, placed(f"b{i}", f"new{i}"))
        return chunk(2 * i or None, *both)

    with closing(another(shop)) as other:
        threads = [
            threading.Thread(target=work, args=(shop.applier, of_customers)),
            threading.Thread(target=work, args=(other, of_orders)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    names = {row["customer_name"] for row in shop.view("order_overview").values()}
    assert (len(orders_of(shop)), names) == (2 * rounds, {"after"})
    assert {row["orders"] for row in shop.view("customer_summary").values()} == {1}
    assert shop.drift() == []


# Sessions that die

END_THE_BLOCKED = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'prejoin worker' AND pid IN (SELECT pid FROM pg_locks WHERE NOT granted)
"""


def test_a_session_that_is_ended_midway_leaves_nothing_and_the_same_batch_goes_through_later(shop: World) -> None:
    batch = [chunk(None, at(0, placed("o0", "c1")), bad(1)), chunk(None, at(0, registered("c1")))]
    raised: list[BaseException] = []

    def apply() -> None:
        try:
            shop.applier.apply(batch)
        except psycopg.OperationalError as error:
            raised.append(error)

    with shop.connect() as blocking, blocking.transaction():
        blocking.execute("LOCK TABLE order_overview__g1")
        thread = threading.Thread(target=apply)
        thread.start()
        until(lambda: shop.fetch(END_THE_BLOCKED))
        thread.join()
    assert len(raised) == 1
    assert (shop.views()["order_overview"], shop.dead_letters(), shop.applier.positions()) == ({}, [], {})
    assert shop.applier.apply(batch).applied == 2
    assert shop.view("order_overview")[("o0",)]["customer_name"] == "Ann"
    assert shop.drift() == []


def test_a_worker_that_froze_in_its_transaction_may_give_the_batch_again(shop: World) -> None:
    """Postgres ends a session that idles inside a transaction; to the worker that is a connection lost."""

    def freeze() -> None:
        with shop.applier.transaction() as (cursor, *_):
            cursor.execute("SET idle_in_transaction_session_timeout = 50")
            pid = cursor.connection.info.backend_pid
            until(lambda: not shop.fetch("SELECT FROM pg_stat_activity WHERE pid = %s", pid))
            cursor.execute("SELECT 1")

    with pytest.raises((psycopg.OperationalError, psycopg.InterfaceError)):
        freeze()
    assert shop.applier.apply([chunk(None, at(0, placed("o0", "c1")))]).applied == 1


# Data that Postgres refuses


class Narrow(State, frozen=True):
    """A book whose columns are too small for what its contract lets through."""

    book_id: str
    title: str
    price: Annotated[Decimal, Numeric(3, 0)]


def test_records_that_postgres_refuses_become_dead_letters_and_all_others_are_applied(database_url: str) -> None:
    made = World(database_url, shelf(lambda books: [], state=Narrow, indexes=["title"]))
    try:
        records = [book(f"b{n}", offset=n, price="5.00") for n in range(40)]
        for n, id_ in ((7, "b7"), (8, "b7"), (31, "b0")):
            records[n] = book(id_, offset=n, price="1000.00")
        records[20] = book("b3", offset=20, title=random.Random(1).randbytes(20_000).hex())  # too long for its index
        records[25] = Record("books", 0, 25, None, b"no json", (), 0)
        outcome = made.applier.apply([Chunk(TopicPartition("books", 0), None, 44, records)])
        assert (outcome.applied, outcome.dead_letters) == (35, {"unstorable": 4, "undecodable": 1})
        letters = {offset: reason for _, _, offset, reason in made.dead_letters()}
        assert letters == {7: "unstorable", 8: "unstorable", 20: "unstorable", 25: "undecodable", 31: "unstorable"}
        stored = {key for (key,) in made.fetch("SELECT book_id FROM books")}
        assert stored == {f"b{n}" for n in range(40)} - {"b7", "b8", "b20", "b25", "b31"}
        assert made.applier.positions() == {TopicPartition("books", 0): 44}
        assert made.fetch('SELECT entity, aggregate FROM dead_letters WHERE "offset" = 31') == [("books", "b0")]
        assert made.fetch('SELECT detail FROM dead_letters WHERE "offset" = 31')[0][0].endswith("SQLSTATE 22003")
        again = Replayer(made.applier)
        for offset, state in ((31, "22003"), (20, "54000")):
            ((letter,),) = made.fetch('SELECT id FROM dead_letters WHERE "offset" = %s', offset)
            with pytest.raises(NotReplayed, match=f"still refused by Postgres: SQLSTATE {state}$"):
                again.replay(letter)
            assert [answer.said[-5:] for answer in again.replay_together([letter])] == [state]
    finally:
        made.drop()


def test_a_record_alone_that_postgres_refuses_is_a_dead_letter_too(database_url: str) -> None:
    made = World(database_url, shelf(lambda books: [], state=Narrow, indexes=[]))
    try:
        assert made.given([book("b1", price="1000.00")]).dead_letters == {"unstorable": 1}
        assert made.given([book("b1", price="999.00")]).applied == 1
    finally:
        made.drop()


# Folds that raise, declarations that do not fit


def test_a_fold_that_raises_names_record_and_entity_and_nothing_is_committed(database_url: str) -> None:
    books = make_books()
    added = books.folds.pop(BookAdded).function

    @books.on(BookAdded)
    def fold(state: State | None, event: BookAdded) -> State:
        if event.title == "Secret":
            raise KeyError(event.title)
        return added(state, event)

    made = World(database_url, projections([books]))
    try:
        made.given([book("b0", offset=0)])
        with pytest.raises(FoldError) as caught:
            made.given([book("b1", offset=1), book("b2", offset=2, title="Secret"), book("b3", offset=3)])
        told = str(caught.value)
        assert all(word in told for word in ("books.BookAdded", "into books", "KeyError", "books/0@2"))
        assert "Secret" not in told
        assert made.fetch("SELECT book_id FROM books") == [("b0",)]
        assert made.applier.positions() == {TopicPartition("books", 0): 1}
    finally:
        made.drop()


def test_a_process_with_other_declarations_than_the_database_stops(shop: World) -> None:
    with closing(Applier(shop.url, shop.group, shelf())) as older:
        with pytest.raises(OutOfDate, match="prejoin migrate"):
            older.apply([Chunk(TopicPartition("books", 0), None, 1, [book("b1", offset=0)])])
        with pytest.raises(OutOfDate):
            older.drain()
    assert shop.applier.positions() == {}


def test_a_group_that_was_not_migrated_says_so(database_url: str) -> None:
    with closing(Applier(database_url, "nowhere", shelf())) as applier:
        for call in (lambda: applier.apply([]), applier.drain, applier.positions):
            with pytest.raises(OutOfDate, match=r"nowhere.*`prejoin migrate`"):
                call()


def test_declarations_without_a_view_are_folded_all_the_same(database_url: str) -> None:
    made = World(database_url, projections([make_books()]))
    try:
        assert made.given([book("b1")]).applied == 1
    finally:
        made.drop()


# Most of what arrives is bad


def fill(good: int, of_bad: int) -> list[Record]:
    return [at(n, placed(f"o{n}", "c1")) for n in range(good)] + [bad(good + n) for n in range(of_bad)]


@pytest.mark.parametrize("batch", [2_000, 300])
def test_a_worker_stops_at_the_record_that_crosses_the_limit(shop: World, batch: int) -> None:
    records = fill(500, 700)
    with closing(another(shop, dead_letter_limit=0.5)) as applier:

        def apply() -> None:
            for first in range(0, len(records), batch):
                applier.apply([chunk(first or None, *records[first : first + batch])])

        with pytest.raises(TooManyDeadLetters, match=r"orders/0@1000 .*`prejoin deadletters list`"):
            apply()
    assert shop.applier.positions() == {ORDERS: 1001}
    assert (len(orders_of(shop)), len(shop.dead_letters())) == (500, 501)


def test_the_limit_counts_a_full_window_only(shop: World) -> None:
    with closing(another(shop, dead_letter_limit=0.5)) as applier:
        applier.apply([chunk(None, *fill(0, 999))])
        with pytest.raises(TooManyDeadLetters):
            applier.apply([chunk(999, *[bad(999), bad(1000)])])
    assert shop.applier.positions() == {ORDERS: 1000}


def test_duplicates_count_as_good(shop: World) -> None:
    again = [at(n, placed("o1", "c1")) for n in range(500)]
    with closing(another(shop, dead_letter_limit=0.5)) as applier:
        outcome = applier.apply([chunk(None, *again, *(bad(500 + n) for n in range(500)))])
    assert (outcome.applied, outcome.duplicates, outcome.dead_letters) == (1, 499, {"undecodable": 500})


def test_what_was_rolled_back_is_not_counted_twice(shop: World) -> None:
    records = [bad(n) for n in range(600)]
    with closing(another(shop, dead_letter_limit=0.5)) as applier:
        for _ in range(3):
            with shop.connect() as blocking, blocking.transaction():
                blocking.execute("LOCK TABLE dead_letters IN EXCLUSIVE MODE")
                with applier.transaction() as (cursor, *_):
                    cursor.execute("SET SESSION lock_timeout = 20")
                with pytest.raises(psycopg.OperationalError):
                    applier.apply([chunk(None, *records)])
        assert applier.apply([chunk(None, *records)]).dead_letters == {"undecodable": 600}


# Unknown types, repeats, sequences


def test_unknown_types_are_ignored_where_settings_say_so(shop: World) -> None:
    unheard = placed("o1", "c1") | {"type": "orders.OrderPainted"}
    first_version = placed("o1", "c1") | {"type": "orders.OrderPlaced.v1"}
    records = [at(0, unheard), at(1, first_version), at(2, placed("o1", "c1"))]
    with closing(another(shop, unknown_events="ignore")) as applier:
        outcome = applier.apply([chunk(None, *records)])
    assert (outcome.ignored, outcome.applied, outcome.dead_letters) == (1, 1, {"unknown_type": 1})
    assert [letter[2] for letter in shop.dead_letters()] == [1]


def test_a_repeat_without_sequence_is_known_among_the_last_1000_events_of_its_aggregate(shop: World) -> None:
    first, *renames = registered("c1", "first"), *(renamed("c1", f"name {n}") for n in range(1_000))
    for n, event in enumerate([first, *renames]):
        event["id"] = f"e{n}"
    shop.applier.apply([chunk(None, *(at(n, event) for n, event in enumerate([first, *renames])))])
    oldest = shop.applier.apply([chunk(1_001, at(1_001, renames[0]))])
    assert (oldest.duplicates, oldest.applied) == (1, 0)
    forgotten = shop.applier.apply([chunk(1_002, at(1_002, first))])
    assert (forgotten.duplicates, forgotten.applied) == (0, 1)
    assert shop.view("customer_summary")[("c1",)]["name"] == "first"


@pytest.mark.parametrize("batch", [100, 1])
def test_sequences_as_large_as_they_get_and_gaps_as_wide(shop: World, batch: int) -> None:
    largest = 2**63 - 1
    told = [
        (1, "a"),
        (largest - 1, "b"),
        (5, "late"),
        (5, "late again"),
        (largest, "c"),
        (largest, "repeat"),
        (6, "late"),
    ]
    events = [registered("c1", sequence=1)] + [renamed("c1", name, sequence=n) for n, name in told[1:]]
    events.append(renamed("c1", "too large", sequence=largest + 1))
    records = [at(n, event) for n, event in enumerate(events)]
    model = Model().apply_all(records)
    shop.given(records, batch)
    assert shop.dead_letters() == sorted(tuple(letter) for letter in model.dead_letters)
    assert [letter[2:] for letter in shop.dead_letters()] == [(2, "late"), (6, "late"), (7, "envelope")]
    assert shop.view("customer_summary") == model.views()["customer_summary"]
    gaps = shop.fetch("SELECT _version, _gaps FROM customers")
    assert gaps == [(largest, [[2, 4], [7, largest - 2]])]


def test_what_a_batch_did_is_told(shop: World) -> None:
    outcome = shop.applier.apply([chunk(None, at(0, placed("o0", "c1")), at(1, placed("o0", "c1")), bad(2))])
    assert isinstance(outcome, Outcome)
    assert (outcome.applied, outcome.duplicates, outcome.dead_letters) == (1, 1, {"undecodable": 1})
    written = {name: rows for name, rows in outcome.rows.items() if rows}
    assert written == {
        **dict.fromkeys(["order_overview", "customer_orders", "customer_summary", "sales_by_day"], 1),
        **dict.fromkeys(["order_products", "product_orders", "product_sales"], 1),
        "orders": 2,  # with its line
    }

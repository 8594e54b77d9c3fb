"""Rebuilds against batches, migrations and other rebuilds at their worst moments."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from projector.apply.statistics import Statistics
from projector.declare import View
from projector.declare.projections import Projections
from projector.errors import PrejoinError
from projector.operate.rebuild import Rebuild, Step
from projector.store.migrate import migrate
from tests.model.histories import random_stream
from tests.shelf import author, book, make_authors, make_books, projections
from tests.world import World, until, world


def library() -> Projections:
    """Books as listed, and those beside their authors: a key query that goes through another view's rows."""
    books, authors = make_books(), make_authors()
    listed = View(
        "listed", key="book_id", indexes=[("author_id",)],
        query=select(books.c.book_id, books.c.author_id, books.c.pages).select_from(books.table),
    )  # fmt: skip
    joined = listed.table.outerjoin(authors.table, authors.c.author_id == listed.c.author_id)
    query = select(listed.c.book_id, listed.c.pages, authors.c.name).select_from(joined)
    return projections([authors, books], [listed, View("shown", path="shown", key="book_id", query=query)])


@contextmanager
def declared(url: str, projections: Projections, read_url: str | None = None) -> Iterator[World]:
    made = World(url, projections, read_url)
    try:
        yield made
    finally:
        made.drop()


def rebuild(of: World, *names: str) -> Rebuild:
    relations = [of.projections.relation(name) for name in names] or of.projections.relations
    return Rebuild(of.url, of.group, of.projections, relations)


def test_what_a_batch_commits_behind_the_filling_is_taken_in(database_url: str) -> None:
    with declared(database_url, library()) as shelf, shelf.connect() as gate, shelf.connect() as holder:
        shelf.given([author("a1", name="Before"), book("b1", author_id="a1")])
        waiting = (
            "SELECT FROM pg_stat_activity JOIN pg_locks USING (pid)"
            " WHERE NOT granted AND locktype = %s AND query ~ %s AND datname = current_database()"
        )
        run = rebuild(shelf)
        threads = [threading.Thread(target=run.run)]
        threads += [threading.Thread(target=shelf.given, args=([author("a1", name="After")],))]
        with holder.transaction():
            holder.execute("SELECT FROM shown__g1 FOR UPDATE")
            with gate.transaction():
                gate.execute("LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
                threads[0].start()
                until(lambda: shelf.fetch(waiting, "relation", "FROM books"))
                threads[1].start()  # changes an author, while no row of `listed` leads to a book of theirs yet
                until(lambda: shelf.fetch(waiting, "transactionid", "shown__g1"))
            # filled, without what the batch is about to commit
            until(lambda: shelf.fetch("SELECT FROM rebuilds WHERE relation = 'shown' AND phase = 'draining'"))
        for thread in threads:
            thread.join()
        assert [row["name"] for row in shelf.view("shown").values()] == ["After"]
        assert shelf.drift() == []


def test_what_a_few_keys_reach_is_not_left_to_the_switch(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projector.operate.taking_in.FAN_OUT", 10)
    monkeypatch.setattr("projector.operate.taking_in.FEW", 10)
    monkeypatch.setattr("projector.apply.plan.PORTION", 5)
    books, authors = make_books(), make_authors()
    named = View("named", key="author_id", query=select(authors.c.author_id, authors.c.name).select_from(authors.table))
    joined = books.table.outerjoin(named.table, named.c.author_id == books.c.author_id)
    shown = View("shown", path="shown", key="book_id", query=select(books.c.book_id, named.c.name).select_from(joined))
    with declared(database_url, projections([authors, books], [named, shown])) as shelf:
        shelf.given([author("a1", name="Before"), *(book(f"b{n}", author_id="a1") for n in range(100))])
        steps, renamed = list[Step](), iter([author("a1", name="After")])

        def step(told: Step) -> None:
            steps.append(told)
            if told.phase == "indexing":
                shelf.given(list(renamed))

        run = rebuild(shelf)
        run.run(step)
        assert "draining" in {told.phase for told in steps}
        assert shelf.drift() == []


def test_a_rebuild_that_was_given_up_meanwhile_leaves_what_is_served(database_url: str) -> None:
    with world(database_url) as shop:
        shop.given(random_stream(5, customers=5, products=5, orders=20))

        def stop(_: Step) -> None:
            raise InterruptedError

        other = rebuild(shop, "order_overview")
        with pytest.raises(InterruptedError):
            other.run(stop)

        def give_up(told: Step) -> None:
            if (told.view, told.phase) == ("product_sales", "indexing"):
                names = "relation IN ('order_products', 'product_orders', 'product_sales')"
                shop.execute(f"DELETE FROM generations WHERE state = 'building' AND {names}")
                shop.execute(f"DELETE FROM rebuilds WHERE {names}")

        run = rebuild(shop, "product_sales")
        with pytest.raises(PrejoinError, match="was given up meanwhile"):
            run.run(give_up)
        assert (
            shop.fetch("SELECT FROM generations JOIN served USING (relation, generation) WHERE state <> 'live'") == []
        )


def test_dropping_what_is_still_read_keeps_nobody_waiting(database_url: str) -> None:
    with declared(database_url, library()) as shelf, shelf.connect() as export, shelf.connect() as reader:
        shelf.given([author("a1", name="Before"), book("b1", author_id="a1")])
        run = rebuild(shelf)
        run.run()
        with export.transaction():
            export.execute("SELECT FROM shown__g1")
            refused = list[PrejoinError]()

            def drop() -> None:
                with pytest.raises(PrejoinError, match="is still being read") as error:
                    run.drop_old()
                refused.append(error.value)

            thread = threading.Thread(target=drop)
            thread.start()
            reader.execute("SET lock_timeout = '500ms'")
            while thread.is_alive():
                reader.execute("SELECT FROM shown__g1")  # by who has read `served` before the switch
            thread.join()
            assert refused
        assert "shown__g1" in run.drop_old()


def test_where_each_batch_changes_more_than_a_few_rows_it_ends_nevertheless(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.operate.taking_in.FEW", 2)
    with declared(database_url, library()) as shelf:
        shelf.given([author("a1", name="A"), *(book(f"b{n}", author_id="a1") for n in range(50))])

        steps = list[Step]()

        def step(told: Step) -> None:  # one batch a drain, as where they wait for each other
            if told.phase in ("indexing", "draining"):
                assert len(steps) < 50
                steps.append(told)
                shelf.given([book(f"b{n}", author_id="a1", pages=100 + len(steps)) for n in range(20)])

        run = rebuild(shelf)
        run.run(step)
        assert shelf.drift() == []


def test_behind_a_worker_that_is_behind_more_is_taken_in_at_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TAKEN", 2), ("TAKES", 3), ("FEW", 2), ("FAN_OUT", 400)):
        monkeypatch.setattr(f"projector.operate.taking_in.{name}", value)
    with declared(database_url, library()) as shelf:
        shelf.given([author("a1", name="A"), *(book(f"b{n}", author_id="a1") for n in range(40))])
        captured = list[int]()

        def step(told: Step) -> None:  # a batch waits behind each drain
            if told.phase == "indexing" and not captured:
                shelf.given([book(f"b{n}", author_id="a1", pages=1) for n in range(40)])
            if told.phase in ("indexing", "draining"):
                shelf.given([book(f"b{n}", author_id="a1", pages=100 + len(captured)) for n in range(10)])
                captured.append(shelf.fetch("SELECT count(*) FROM captured")[0][0])
                assert captured[-1] < 120

        run = rebuild(shelf)
        run.run(step)
        assert len(captured) < 40
        assert shelf.drift() == []


def test_what_batches_look_for_keys_in_has_its_indexes_and_those_declared_since(database_url: str) -> None:
    with declared(database_url, library()) as shelf:
        shelf.given([author("a1", name="A"), book("b1", author_id="a1")])
        indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = %s"
        seen = list[int]()

        def step(told: Step) -> None:
            if told.view == "shown":
                seen.append(shelf.fetch(indexes, "listed__g2")[0][0])
                raise InterruptedError

        run = rebuild(shelf)
        with pytest.raises(InterruptedError):
            run.run(step)
        assert seen == [2]  # its key's, and the one that is declared
        shelf.projections.relation("listed").indexes = [("author_id",), ("-pages",)]
        migrate(shelf.url, None, shelf.group, shelf.projections)
        assert shelf.fetch(indexes, "listed__g1") == [(3,)]
        run = rebuild(shelf)
        assert run.run()["listed"] == 2
        assert shelf.fetch(indexes, "listed__g2") == [(3,)]


def test_the_longest_name_has_room_for_generations_and_indexes(database_url: str) -> None:
    books, name = make_books(), "n" * 55
    query = select(books.c.book_id, books.c.pages, books.c.shelf).select_from(books.table)
    longest = View(name, path="books", key="book_id", query=query, indexes=[("pages",), ("shelf",)])
    too_long = View(f"{name}s", key="book_id", query=query)
    assert (len(longest.problems), len(too_long.problems)) == (0, 1)
    with declared(database_url, projections([books], [longest])) as shelf:
        shelf.given([book("b1")])
        indexes = "SELECT indexname FROM pg_indexes WHERE tablename ~ '^nnn' ORDER BY 1"
        before = shelf.fetch(indexes)
        assert migrate(shelf.url, None, shelf.group, shelf.projections) == []
        assert shelf.fetch(indexes) == before
        run = rebuild(shelf)
        run.run()
        assert len(shelf.fetch(indexes)) == 2 * len(before) == 6
        assert shelf.drift() == []


def test_a_generation_dropped_behind_a_batch_is_no_error_of_the_batch(database_url: str) -> None:
    with declared(database_url, library()) as shelf, shelf.connect() as connection:
        run = rebuild(shelf)
        run.run()
        run.drop_old()
        statistics, rows = Statistics(), 2_000
        statistics.keep(connection, {"shown__g1": rows, "shown__g2": rows})
        analyzed = "SELECT analyze_count FROM pg_stat_user_tables WHERE relname = 'shown__g2' AND schemaname ~ %s"
        shelf.execute("SELECT pg_stat_clear_snapshot()")
        until(lambda: shelf.fetch(analyzed, shelf.group) == [(2,)])  # the other one is looked at all the same

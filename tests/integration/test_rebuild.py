"""Views made anew beside those that are served, while batches come, runs are interrupted, and definitions are wrong."""

import random
import threading
from collections.abc import Iterator

import psycopg
import pytest

from projector.errors import PrejoinError
from projector.operate.rebuild import Rebuild, Step
from tests.model import Model, Record
from tests.model.histories import random_stream
from tests.world import World, world


@pytest.fixture
def shop(database_url: str, read_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("projector.operate.filling.RANGE", 7)
    monkeypatch.setattr("projector.apply.plan.PORTION", 5)
    with world(database_url, read_url=read_database_url) as made:
        yield made


def rebuild(shop: World, *names: str) -> Rebuild:
    relations = [shop.projections.relation(name) for name in names] or shop.projections.relations
    return Rebuild(shop.url, shop.group, shop.projections, relations)


def agree(shop: World, records: list[Record]) -> None:
    while shop.applier.drain():
        pass
    expected = Model().apply_all(records).views()
    for name, rows in shop.views().items():
        assert rows == expected[name], name
    assert shop.drift() == []


def state(shop: World) -> list[tuple[str, ...]]:
    return shop.fetch("SELECT relation, state FROM generations WHERE state <> 'live' ORDER BY 1")


@pytest.mark.parametrize("seed", range(4))
def test_while_a_batch_comes_at_each_step_the_new_generation_equals_the_model(shop: World, seed: int) -> None:
    records = random_stream(seed, customers=8, products=8, orders=40)
    coming = [records[at : at + 9] for at in range(len(records) // 2, len(records), 9)]
    applied = records[: len(records) // 2]
    shop.given(applied, 100)
    before = shop.generations()

    def step(_: Step) -> None:
        if coming:
            applied.extend(coming[0])
            shop.given(coming.pop(0))

    run = rebuild(shop)
    run.run(step)
    agree(shop, applied)
    assert shop.generations() == {name: generation + 1 for name, generation in before.items()}
    for batch in coming:
        applied.extend(batch)
        shop.given(batch)
    agree(shop, applied)


@pytest.mark.parametrize("seed", range(3))
def test_interrupted_wherever_it_was_it_goes_on_and_readers_have_seen_nothing(shop: World, seed: int) -> None:
    records = random_stream(seed, customers=8, products=8, orders=40)
    rng, applied = random.Random(seed), records[: len(records) // 2]
    rest = iter([records[at : at + 20] for at in range(len(applied), len(records), 20)])
    shop.given(applied, 100)
    before, steps, interruptions = shop.generations(), 0, 0

    def step(_: Step) -> None:
        nonlocal steps
        steps += 1
        if rng.random() < 0.3:
            raise InterruptedError

    for _ in range(100):
        run = rebuild(shop)
        try:
            run.run(step)
            break
        except InterruptedError:
            interruptions += 1
        assert shop.generations() == before
        if batch := next(rest, None):
            applied = applied + batch
            shop.given(batch)
        agree(shop, applied)
    else:
        pytest.fail("it did not end")
    assert interruptions >= 3
    rows = shop.fetch("SELECT count(*) FROM order_overview__g2")[0][0] / 7
    assert steps < 10 * rows + interruptions + 30  # it went on, and did not begin anew each time
    agree(shop, applied)


def test_while_another_thread_applies_and_readers_read(shop: World) -> None:
    records = random_stream(11, customers=20, products=20, orders=300)
    half = len(records) // 2
    shop.given(records[:half], 500)
    done, seen = threading.Event(), list[int]()

    def read() -> None:
        with shop.connect() as connection:
            while not done.is_set():
                ((generation,),) = connection.execute(
                    "SELECT generation FROM served WHERE relation = 'order_overview'"
                ).fetchall()
                ((count,),) = connection.execute(f"SELECT count(*) FROM order_overview__g{generation}").fetchall()
                seen.append(count)

    def apply() -> None:
        shop.given(records[half:], 40)

    reader, writer = threading.Thread(target=read), threading.Thread(target=apply)
    reader.start()
    writer.start()
    for _ in range(3):
        run = rebuild(shop)
        run.run()
    writer.join()
    done.set()
    reader.join()
    agree(shop, records)
    assert seen == sorted(seen)  # orders only come: no reader saw an empty or a half-built generation
    assert seen[0] > 0


def test_drift_is_gone_what_was_served_is_kept_and_dropped_by_the_next(shop: World) -> None:
    records = random_stream(5, customers=5, products=5, orders=20)
    shop.given(records)
    shop.execute("UPDATE order_overview__g1 SET customer_name = 'Drifted'")
    shop.execute("DELETE FROM product_orders__g1")
    assert shop.drift()
    for run in range(2):
        again = rebuild(shop)
        again.run()
        agree(shop, records)
        tables = {t for (t,) in shop.fetch("SELECT relname FROM pg_class WHERE relname LIKE 'order_overview__g_'")}
        assert tables == {f"order_overview__g{run + 1}", f"order_overview__g{run + 2}"}
    again = rebuild(shop)
    assert "order_overview__g2" in again.drop_old()
    assert state(shop) == []
    agree(shop, records)


def test_only_what_is_connected_with_a_view_is_built(shop: World) -> None:
    shop.given(random_stream(5, customers=5, products=5, orders=20))
    run = rebuild(shop, "product_sales")
    assert run.run().keys() == {"order_products", "product_orders", "product_sales"}
    assert shop.generations()["order_overview"] == 1


def test_a_second_one_is_refused_with_who_runs_it_and_aborting_leaves_nothing(shop: World) -> None:
    records = random_stream(5, customers=5, products=5, orders=20)
    shop.given(records)

    def step(_: Step) -> None:
        second = rebuild(shop, "fulfilment")
        with pytest.raises(PrejoinError, match=r"already, by .* since 2"):
            second.run()
        raise InterruptedError

    first = rebuild(shop)
    with pytest.raises(InterruptedError):
        first.run(step)
    assert dict(state(shop))["order_overview"] == "building"
    assert "order_overview__g2" in first.abort()
    assert state(shop) == []
    left = "SELECT count(*) FROM rebuilds UNION ALL SELECT count(*) FROM pending WHERE generation = 2"
    assert shop.fetch(left) == [(0,), (0,)]
    agree(shop, records)


def test_who_may_read_what_is_served_may_read_the_new_generation(shop: World, read_database_url: str) -> None:
    shop.given(random_stream(5, customers=5, products=5, orders=20))
    shop.execute("GRANT SELECT ON fulfilment__g1 TO PUBLIC")  # by hand
    run = rebuild(shop)
    run.run()
    with psycopg.connect(read_database_url) as reader:
        for relation in shop.projections.served:
            columns = ", ".join(c.name for c in relation.columns)
            reader.execute(f'SELECT {columns} FROM "{shop.group}_views".{relation.name}__g2')
        reader.execute(f'SELECT * FROM "{shop.group}_views".fulfilment__g2')
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f'SELECT _rows FROM "{shop.group}_views".sales_by_day__g2')

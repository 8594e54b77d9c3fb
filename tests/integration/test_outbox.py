"""The outbox: what batches, drains, repairs and replays write into it, and when nobody does."""

import json
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from projector.operate.deadletters import DeadLetters
from projector.operate.replay import Replayer
from projector.store.migrate import migrate
from projector.store.names import schemas
from tests.integration.test_search_indexer import History, placed, registered
from tests.model.histories import cloud_event
from tests.world import World, world

REGISTER = "INSERT INTO search_generations (relation, generation, search, digest, state) VALUES (%s, 1, 1, 'd', 'live')"
SEARCHED = ["order_overview", "customer_summary"]


@pytest.fixture
def shop(of_the_shop: World) -> Iterator[World]:
    of_the_shop.clear()
    yield of_the_shop
    of_the_shop.execute("UPDATE served SET search = NULL")


@pytest.fixture
def searched(shop: World) -> World:
    """Both views have a copy in the index, as the outbox sees it."""
    for relation in SEARCHED:
        shop.execute(REGISTER, relation)
    return shop


def outbox(world: World) -> dict[tuple[str, str], int]:
    return {(r, k): n for r, k, n in world.fetch("SELECT relation, key, revision FROM outbox")}


def emptied(world: World) -> None:
    world.execute("TRUNCATE outbox")


def test_it_stays_empty_until_an_index_is_asked_for(shop: World) -> None:
    History(shop).tell(registered("c1", "Ann"), placed(1))
    assert outbox(shop) == {}


def test_a_batch_puts_each_changed_row_there_once_and_wakes_whoever_listens(searched: World) -> None:
    history = History(searched)
    with searched.connect() as listener:
        listener.execute(f'LISTEN "prejoin:{searched.group}"')
        history.tell(registered("c1", "Ann"), placed(1), placed(2))
        assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1
    first = outbox(searched)
    assert set(first) == {("order_overview", "o1"), ("order_overview", "o2"), ("customer_summary", "c1")}
    history.tell(cloud_event("orders.OrderCancelled", order_id="o1", reason="none"))
    second = outbox(searched)
    assert set(second) == set(first)
    assert second["order_overview", "o1"] > first["order_overview", "o1"]
    assert second["order_overview", "o2"] == first["order_overview", "o2"]


def test_a_change_that_changes_no_row_puts_nothing_there(searched: World) -> None:
    history = History(searched)
    history.tell(registered("c1", "Ann"), placed(1))
    emptied(searched)
    history.tell(cloud_event("catalog.ProductDiscontinued", product_id="p1"))
    assert outbox(searched) == {}


def test_what_waits_after_a_huge_fan_out_comes_as_it_is_refreshed(
    searched: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projector.apply.plan.FAN_OUT", 10)
    monkeypatch.setattr("projector.apply.plan.PORTION", 10)
    history = History(searched)
    history.tell(registered("c1", "Ann"), *(placed(n) for n in range(30)))
    while searched.applier.drain():
        pass
    emptied(searched)
    history.tell(cloud_event("customers.CustomerNameChanged", customer_id="c1", name="Bea"))
    orders = {k for r, k in outbox(searched) if r == "order_overview"}
    assert len(orders) == 10
    while searched.applier.drain():
        pass
    assert {k for r, k in outbox(searched) if r == "order_overview"} == {f"o{n}" for n in range(30)}


def test_repaired_rows_are_put_there(searched: World) -> None:
    History(searched).tell(registered("c1", "Ann"), placed(1), placed(2))
    emptied(searched)
    searched.execute(f"UPDATE {searched.table('order_overview')} SET status = 'drift' WHERE order_id = 'o2'")
    searched.execute(f"DELETE FROM {searched.table('customer_summary')}")
    searched.verify(repair=True)
    assert set(outbox(searched)) == {("order_overview", "o2"), ("customer_summary", "c1")}


def test_a_replay_puts_what_it_changes_there(searched: World) -> None:
    history = History(searched)
    history.tell(cloud_event("orders.OrderCancelled", order_id="o1", reason="none"), placed(1))
    emptied(searched)
    with closing(DeadLetters(searched.url, searched.group)) as letters:
        ((letter),) = [row["id"] for row in letters.oldest(10)]
    Replayer(searched.applier).replay(letter)
    assert ("order_overview", "o1") in outbox(searched)
    assert searched.view("order_overview")[("o1",)]["status"] == "cancelled"


def test_a_view_built_anew_begins_its_search_anew(database_url: str) -> None:
    with world(database_url) as searched:
        for relation in SEARCHED:
            searched.execute(REGISTER, relation)
        History(searched).tell(registered("c1", "Ann"), placed(1))
        searched.execute("UPDATE served SET search = 1 WHERE relation = 'order_overview'")
        searched.execute("UPDATE generations SET digest = 'before'")
        migrate(database_url, None, searched.group, searched.projections)
        query = "SELECT generation, search FROM served WHERE relation = 'order_overview'"
        assert searched.fetch(query) == [(2, None)]
        assert (searched.fetch("SELECT relation FROM search_generations"), outbox(searched)) == ([], {})


def test_a_search_that_is_no_longer_declared_ends(database_url: str) -> None:
    with world(database_url) as searched:
        searched.execute(REGISTER, "fulfilment")
        searched.execute("INSERT INTO outbox VALUES ('fulfilment', 'o1', 1)")
        steps = migrate(database_url, None, searched.group, searched.projections)
        assert steps == ["end the search of fulfilment, which is no longer declared"]
        assert (searched.fetch("SELECT relation FROM search_generations"), outbox(searched)) == ([], {})


def test_the_reading_role_sees_how_much_there_is_and_not_what(
    database_url: str, read_database_url: str, searched: World
) -> None:
    History(searched).tell(registered("c1", "Ann"), placed(1))
    migrate(database_url, read_database_url, searched.group, searched.projections)
    path = ", ".join(f'"{schema}"' for schema in schemas(searched.group))
    with psycopg.connect(
        read_database_url, autocommit=True, options=f"-c search_path={path.replace(' ', '')}"
    ) as reader:
        counts = reader.execute("SELECT relation, keys FROM outbox_count ORDER BY relation").fetchall()
        assert counts == [("customer_summary", 1), ("order_overview", 1)]
        assert reader.execute("SELECT count(*) FROM search_generations").fetchone() == (2,)
        assert reader.execute("SELECT count(search) FROM served").fetchone() == (0,)
        for table in ("outbox", "search_dead_letters"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"SELECT 1 FROM {table}")


def test_json_of_a_row_is_what_the_api_shows(searched: World) -> None:
    from projector.search.rows import rows_of

    History(searched).tell(registered("c1", "Ann"), placed(1))
    view = next(v for v in searched.projections.searched if v.name == "order_overview")
    ((generation,),) = searched.fetch("SELECT generation FROM served WHERE relation = 'order_overview'")
    ((key, row),) = searched.fetch(rows_of(view, generation))
    assert json.loads(row) == searched.view("order_overview")[(key,)]

"""The views of a copy while they are made: what an interruption ends, and what does not begin any more."""

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import pytest

from projector.declare.projections import load
from projector.operate.copying import Copying, CopyStep
from projector.store.names import copy_group, schemas
from tests.history import Past
from tests.model.histories import random_stream
from tests.world import World, until, world

RECORDS = random_stream(1, customers=3, products=3, orders=5)


def entities_of_the_copy(shop: World) -> str:
    """Their schema."""
    ((copy,),) = shop.fetch("SELECT id FROM copies")
    return schemas(copy_group(shop.group, copy))[1]


def waiting(shop: World, statement: str) -> list[Any]:
    """Who waits for a lock with a statement."""
    query = "SELECT application_name FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ %s"
    return shop.fetch(f"{query} AND datname = current_database()", statement)


def test_an_interruption_ends_what_is_being_made_and_nothing_else_begins(database_url: str) -> None:
    with world(database_url) as shop, shop.connect() as holder, holder.transaction():
        first, *_, last = shop.projections.entities

        def interrupt(step: CopyStep) -> None:
            if step.view == f"statistics of {first.name}":
                holder.execute(f'LOCK TABLE "{entities_of_the_copy(shop)}".{first.name} IN ACCESS EXCLUSIVE MODE')
            elif step.view == f"statistics of {last.name}":
                until(lambda: waiting(shop, f"ANALYZE {first.name}"))
                raise InterruptedError

        with pytest.raises(InterruptedError):
            Copying(shop.url, shop.group, shop.projections, Past(RECORDS)).run(interrupt)
        analyzed = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND reltuples >= 0"
        assert shop.fetch(f"{analyzed} AND relkind = 'r'", f'"{entities_of_the_copy(shop)}"') == []


def copy(url: str, group: str, told: Connection) -> None:
    """A process that makes one, and waits for an answer before it begins with views and indexes."""

    def wait(step: CopyStep) -> None:
        if step.phase == "building" and not told.closed:
            told.send(step.phase)
            told.recv()
            told.close()

    Copying(url, group, load("projections"), Past(RECORDS)).run(wait)


def test_an_index_in_the_making_ends_with_its_process(database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    with world(database_url) as shop, shop.connect() as holder:
        process = context.Process(target=copy, args=(shop.url, shop.group, its))
        process.start()
        its.close()
        try:
            assert ours.recv() == "building"
            with holder.transaction():
                holder.execute(f'LOCK TABLE "{entities_of_the_copy(shop)}".orders IN ROW EXCLUSIVE MODE')
                ours.send("go on")
                until(lambda: waiting(shop, "CREATE INDEX ix_orders_"))
                assert waiting(shop, "CREATE INDEX ix_orders_") == [("prejoin rebuild",)]
                process.kill()
                until(lambda: not waiting(shop, "CREATE INDEX ix_orders_"))
        finally:
            process.kill()
            process.join()
        again = Copying(shop.url, shop.group, shop.projections, Past(RECORDS))
        assert "order_overview__g2" in again.abort()
        assert shop.fetch("SELECT * FROM copies") == []

"""The change feed's partitions, on real Postgres."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from projector.declare import View
from projector.declare.projections import load
from projector.store.changes import keep_partitions
from projector.store.connect import connect
from projector.store.migrate import migrate
from tests.shelf import book, make_list, shelf
from tests.world import World

GROUP = f"changes{os.getpid()}_{time.monotonic_ns() % 10**6}"


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    migrate(database_url, None, GROUP, load("tests.tiny"))
    with connect(database_url, GROUP, autocommit=True) as connection:
        yield connection


def partitions(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Rows by partition."""
    query = (
        "SELECT inhrelid::regclass::text, (SELECT count(*) FROM changes WHERE tableoid = inhrelid) "
        "FROM pg_inherits WHERE inhparent = 'changes'::regclass"
    )
    return dict(connection.execute(query).fetchall())


def change(connection: psycopg.Connection[Any], at: datetime) -> None:
    connection.execute("INSERT INTO changes VALUES (%s, nextval('revisions'), 'v', '{}', '{}')", [at])


def test_partitions_are_made_ahead_and_dropped_and_rows_in_the_default_one_move(connection):
    now = datetime.now(UTC)
    name = {days: f"changes_{now + timedelta(days=days):%Y%m%d}" for days in range(-3, 2)}
    change(connection, now)
    change(connection, now - timedelta(days=3))
    assert keep_partitions(connection, GROUP) == [f"create partition {name[0]}", f"create partition {name[1]}"]
    assert partitions(connection) == {"changes_default": 0, name[0]: 1, name[1]: 0}
    change(connection, now + timedelta(days=1))
    assert partitions(connection)[name[1]] == 1
    for days in (-3, -2):
        day = (now + timedelta(days=days)).date()
        connection.execute(
            f"CREATE TABLE {name[days]} PARTITION OF changes "
            f"FOR VALUES FROM ('{day} 00:00Z') TO ('{day + timedelta(days=1)} 00:00Z')"
        )
    assert keep_partitions(connection, GROUP) == [f"drop partition {name[-3]}"]
    assert set(partitions(connection)) == {"changes_default", name[-2], name[0], name[1]}
    assert keep_partitions(connection, GROUP) == []


def test_a_virtual_view_is_told_of_by_the_one_that_it_reads_though_that_is_not_served(database_url):
    def change(books):
        listed = make_list(books, path=None)
        query = select(listed.c.book_id, listed.c.title).select_from(listed.table)
        unread = View("unread", key="book_id", query=select(books.c.book_id))
        return [listed, unread, View("titles", path="titles", key="book_id", query=query, virtual=True)]

    world = World(database_url, shelf(change))
    try:
        world.given([book("b1")])
        assert world.projections.feeds == {"titles": "book_list"}
        assert world.fetch("SELECT relation, upserted, deleted FROM changes") == [("book_list", ["b1"], [])]
    finally:
        world.drop()

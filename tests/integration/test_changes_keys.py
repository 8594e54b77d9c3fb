"""Keys in the feed of changes are told as the rows show them, whatever their columns' types."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from sqlalchemy import Numeric, cast, literal

from projector.declare import Rollup, count
from projector.declare.projections import Projections
from projector.store.definitions import relation_digests
from read_api.changes.source import Source
from read_api.database import Database
from read_api.freshness import Waiters
from read_api.reading import Reader
from read_api.resource import Resource
from tests.shelf import book, make_books, make_list, projections
from tests.world import World

TIMES = ["2026-01-01T10:00:00Z", "2026-06-30T23:59:59.5+02:00", "2026-06-30T23:59:59.123456Z"]
PRICES = [Decimal("12.50"), Decimal("100"), Decimal("9999999999999.99")]


def library() -> Projections:
    """Books counted by time, and by time, prices without a scale, pages and whether it is dear."""
    books = make_books()
    listed = make_list(books, "book_id", "bought_at", "price", "pages", path=None)
    at, price = listed.c.bought_at, cast(listed.c.price, Numeric)
    exact = (price * literal(Decimal(f"1{'0' * 25}.{'0' * 24}3"), Numeric)).label("exact")
    more = {"at": at, "price": price, "exact": exact, "pages": listed.c.pages, "dear": listed.c.price > 50}
    counted = {"books": count()}
    by_time = Rollup("by_time", path="by-time", source=listed, by={"at": at}, measures=counted)
    by_more = Rollup("by_more", path="by-more", source=listed, by=more, measures=counted)
    return projections([books], [listed, by_time, by_more])


@pytest.fixture
def shelf(database_url: str) -> Iterator[World]:
    made = World(database_url, library())
    yield made
    made.drop()


@pytest.mark.parametrize("name", ["by_time", "by_more"])
async def test_a_key_is_told_as_its_row_shows_it(shelf: World, name: str) -> None:
    records = [
        book(f"b{n}", bought_at=at, price=str(price), pages=n)
        for n, (at, price) in enumerate(zip(TIMES, PRICES, strict=True))
    ]
    await asyncio.to_thread(shelf.given, records)
    resource = Resource(shelf.projections.relation(name), relation_digests(shelf.projections)[name])
    database = Database(shelf.url, shelf.group)
    async with database.running():
        source = Source(resource, name, Reader(database, Waiters(database)), asyncio.Semaphore(1))
        keys = (await source.page(0)).keys
        rows = {key: json.loads(row) for key, row in (await source.rows(keys, resource)).items()}
    assert len(rows) == len(keys) == len(records)
    for key, row in rows.items():
        assert json.loads(source.key_json(key)) == {f.name: row[f.name] for f in resource.key}

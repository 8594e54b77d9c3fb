"""What the tests of the API share: a served world a module, emptied for each test, and a client on it."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.api import ORDER, PERSONAL, api, fill, key_of, served_world
from tests.world import World


@pytest.fixture(scope="module")
def shop(database_url: str, read_database_url: str) -> Iterator[World]:
    with served_world(database_url, read_database_url) as made:
        yield made


@pytest.fixture
async def client(shop: World, read_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    shop.clear()
    shop.execute("UPDATE projection_group SET as_of = NULL")
    async with api(shop, read_database_url) as made:
        yield made


@pytest.fixture
def closed(shop: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A group in which somebody has a key, and what is known of keys is never old."""
    shop.clear()
    monkeypatch.setattr("read_api.access.keys.SECONDS_KNOWN", 0)
    key_of(shop, "somebody")
    fill(shop, "order_overview", [ORDER | PERSONAL])
    return shop

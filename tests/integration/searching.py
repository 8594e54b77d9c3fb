"""A searched view for tests of the search endpoint: rows filled by hand, in Postgres and in an index of its own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from elasticsearch import AsyncElasticsearch

from projector.declare.view import View
from projector.search.client import connect
from projector.search.document import STATE, STATE_ID, Document
from read_api.app import create_app
from read_api.search import elastic
from tests.api import fill, running, settings_of
from tests.world import World

PLACED = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a first search may take a second; where a test is about that second it says so."""
    monkeypatch.setattr(elastic, "SECONDS", 20.0)


class Searched:
    """One view of a world, and a client of the API whose searches `backend` answers."""

    def __init__(
        self, shop: World, view: str, backend: str, client: httpx.AsyncClient, index: AsyncElasticsearch
    ) -> None:
        found = shop.projections.relation(view)
        assert isinstance(found, View)
        self.shop, self.view, self.backend, self.client, self.index = shop, found, backend, client, index
        self.document = Document(found, shop.group)
        self.path = f"/v1/{found.path}/search"

    @property
    def index_name(self) -> str:
        ((generation,),) = self.shop.fetch("SELECT generation FROM served WHERE relation = %s", self.view.name)
        return self.document.index_name(generation, 1)

    async def given(self, *rows: Mapping[str, Any]) -> None:
        """These rows and no others, found by either backend."""
        fill(self.shop, self.view.name, rows)
        if self.backend == "elasticsearch":
            await self.index.options(ignore_status=404).indices.delete(index=self.index_name)
            await self.index.indices.create(
                index=self.index_name, settings=self.document.settings, mappings=self.document.mapping
            )
            await self.holds({}, None)
            self.shop.execute("UPDATE served SET search = 1 WHERE relation = %s", self.view.name)
            await self.indexed()

    async def changed(self, key: str, **values: Any) -> None:
        """Change columns of a row, and let both sides see it."""
        names = ", ".join(f'"{name}" = %s' for name in values)
        table, column = self.shop.table(self.view.name), self.view.key[0]
        self.shop.execute(f"UPDATE {table} SET {names} WHERE {column} = %s", *values.values(), key)
        await self.indexed(key)

    async def indexed(self, *keys: str) -> None:
        """Put rows, all by default, into the index as they are in Postgres."""
        if self.backend == "elasticsearch":
            rows = self.shop.view(self.view.name)
            documents = [(key, self.document.of(row)) for (key, *_), row in rows.items() if not keys or key in keys]
            for at in range(0, len(documents), 1_000):
                part = [line for key, it in documents[at : at + 1_000] for line in ({"index": {"_id": key}}, it)]
                done = await self.index.bulk(index=self.index_name, operations=part, refresh=True)
                assert not done["errors"], done

    async def holds(self, positions: Mapping[str, int], as_of: str | None) -> None:
        """Say what is applied, in Postgres and in the index."""
        state = {"state": {"is": STATE, "as_of": as_of, "positions": dict(positions)}}
        self.shop.execute("UPDATE projection_group SET as_of = %s", as_of)
        for place, offset in positions.items():
            topic, _, partition = place.partition("/")
            self.shop.execute(
                "INSERT INTO positions (topic, partition, next) VALUES (%s, %s, %s)"
                " ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next",
                topic, int(partition), offset + 1,
            )  # fmt: skip
        if self.backend == "elasticsearch":
            await self.index.index(index=self.index_name, id=STATE_ID, document=state, refresh=True)

    async def get(self, q: str | None = None, **parameters: str) -> httpx.Response:
        asked = parameters if q is None else {"q": q, **parameters}
        return await self.client.get(self.path, params=asked)

    async def find(self, q: str | None = None, **parameters: str) -> dict[str, Any]:
        """The answer, which must be a whole one of the backend under test."""
        answer = await self.get(q, **parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert (found["backend"], found["degraded"]) == (self.backend, False)
        return found

    async def keys(self, q: str | None = None, **parameters: str) -> list[str]:
        """The keys of the hits, in order."""
        found = await self.find(q, **parameters)
        assert found["total"] == {"value": len(found["data"]), "relation": "eq"}
        return [hit["row"][self.view.key[0]] for hit in found["data"]]

    async def pages(self, q: str | None = None, **parameters: str) -> AsyncIterator[list[dict[str, Any]]]:
        """The hits page by page, by cursors."""
        cursor: dict[str, str] = {}
        while True:
            found = await self.find(q, **parameters, **cursor)
            assert (found["next_cursor"] is not None) == found["has_more"]
            yield found["data"]
            if not found["has_more"]:
                return
            cursor = {"cursor": found["next_cursor"]}


@asynccontextmanager
async def searched(
    shop: World, read_url: str, index_url: str, backend: str, view: str = "order_overview"
) -> AsyncIterator[Searched]:
    settings = settings_of(shop, read_url, elasticsearch_url=index_url if backend == "elasticsearch" else "")
    async with running(create_app(settings)) as client, connect([index_url]) as index:
        made = Searched(shop, view, backend, client, index)
        try:
            yield made
        finally:
            shop.execute("UPDATE served SET search = NULL")
            await index.options(ignore_status=404).indices.delete(index=made.index_name)


@pytest.fixture(params=["elasticsearch", "postgres"])
async def orders(
    request: pytest.FixtureRequest, shop: World, read_database_url: str, elasticsearch_url: str
) -> AsyncIterator[Searched]:
    shop.clear()
    async with searched(shop, read_database_url, elasticsearch_url, request.param) as made:
        yield made


def order(order_id: str, *names: str, **columns: Any) -> dict[str, Any]:
    """A row of order_overview with lines of products of these names."""
    lines: Sequence[dict[str, Any]] = [
        {
            "line": n, "product_id": f"p-{name}", "product_name": name, "category": name.rpartition(" ")[2] or None,
            "quantity": n, "unit_price": "10.00", "discount": "0", "amount": f"{10 * n}.00",
        }
        for n, name in enumerate(names, 1)
    ]  # fmt: skip
    return {"order_id": order_id, "status": "pending", "placed_at": PLACED, "lines": lines, **columns}

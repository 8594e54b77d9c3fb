"""A world's search indexes: indexers in this process, and what Elasticsearch holds, row by row."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from elasticsearch import AsyncElasticsearch, NotFoundError
from elasticsearch.helpers import async_scan

from projector.declare.view import View
from projector.search.client import connect
from projector.search.document import STATE, STATE_FIELD, STATE_ID, Document
from projector.search.indexer import ViewIndexer, keep_all
from projector.search.metrics import Metrics
from tests.integration.in_front import Fault, in_front
from tests.integration.running import until
from tests.world import Rows, World


class Searched:
    """The search side of one world."""

    def __init__(self, world: World, url: str) -> None:
        self.world, self.url = world, url
        self.client: AsyncElasticsearch = connect([url])
        self.metrics = Metrics()
        self.task: asyncio.Task[None] | None = None

    def indexers(self, client: AsyncElasticsearch | None = None) -> list[ViewIndexer]:
        given = (self.world.url, self.world.group, self.world.projections)
        return [
            ViewIndexer(*given, view, client or self.client, self.metrics) for view in self.world.projections.searched
        ]

    @asynccontextmanager
    async def indexing(self, fault: Fault | None = None) -> AsyncIterator["asyncio.Task[None]"]:
        """An indexer runs meanwhile, whose requests may go wrong; its failure is the test's."""
        async with AsyncExitStack() as between:
            client = self.client
            if fault is not None:
                url = await between.enter_async_context(in_front(self.url, fault))
                client = await between.enter_async_context(connect([url]))
            task = self.task = asyncio.create_task(keep_all(self.indexers(client)))
            try:
                yield task
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def settle(self, seconds: float = 60.0) -> None:
        """Wait until each view's index is served, by its alias too, and nothing waits for it; an indexer must run."""
        await until(self.is_settled, seconds)
        for view in self.world.projections.searched:
            named = {"name": self.document(view).alias, "index": self.index(view)}
            await until(lambda named=named: self.client.indices.exists_alias(**named))
            await self.client.indices.refresh(index=self.index(view))

    def is_settled(self) -> bool:
        views = [view.name for view in self.world.projections.searched]
        query = "SELECT count(*) FROM served WHERE relation = ANY(%s) AND search IS NOT NULL"
        if self.task and self.task.done():
            self.task.result()
        ((served,),) = self.world.fetch(query, views)
        ((left,),) = self.world.fetch("SELECT count(*) FROM outbox")
        return bool(served == len(views) and left == 0)

    def index(self, view: View) -> str:
        ((generation, search),) = self.world.fetch(
            "SELECT generation, search FROM served WHERE relation = %s", view.name
        )
        return self.document(view).index_name(generation, search)

    def document(self, view: View) -> Document:
        return Document(view, self.world.group)

    async def rows(self, name: str) -> Rows:
        """The rows that the index of a view holds, as hits would show them."""
        view = self.view(name)
        query = {"query": {"bool": {"must_not": {"term": {STATE_FIELD: STATE}}}}}
        found: Rows = {}
        async for hit in async_scan(self.client, index=self.index(view), query=query):
            row = hit["_source"]["row"]
            assert hit["_id"] == row[view.key[0]]
            found[tuple(row[k] for k in view.key)] = row
        return found

    async def writes(self, name: str) -> list[Any]:
        """All documents of a view's index, each with the number of its last write."""
        index = self.index(self.view(name))
        found = async_scan(self.client, index=index, query={"query": {"match_all": {}}, "seq_no_primary_term": True})
        return [hit async for hit in found if hit["_id"] != STATE_ID]

    async def equals_postgres(self) -> None:
        """Each index holds what its view has, row by row."""
        for view in self.world.projections.searched:
            assert await self.rows(view.name) == self.world.view(view.name), view.name

    def view(self, name: str) -> View:
        view = self.world.projections.relation(name)
        assert isinstance(view, View)
        return view

    async def count(self, name: str, **query: Any) -> int:
        return int((await self.client.count(index=self.index(self.view(name)), query=query))["count"])

    async def close(self) -> None:
        for view in self.world.projections.searched:
            alias = self.document(view).alias
            with suppress(NotFoundError):
                there = await self.client.indices.get(index=f"{alias}__g*", expand_wildcards="all")
                for name in there:
                    await self.client.indices.delete(index=name)
        await self.client.close()


@asynccontextmanager
async def searched(world: World, url: str) -> AsyncIterator[Searched]:
    made = Searched(world, url)
    try:
        yield made
    finally:
        await made.close()

"""A group's search index of orders, as those see it who ask Elasticsearch itself; and indexes like it for peers."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk, scan

from bench.place import BenchError, Place
from projector.declare.projections import load
from projector.declare.view import View
from projector.search.document import STATE, STATE_FIELD, Document
from projector.search.keeping import keeping
from projector.search.rows import MOST_KEYS
from projector.search.verify import SearchVerifier

VIEW = "order_overview"
ROWS: dict[str, Any] = {"bool": {"must_not": {"term": {STATE_FIELD: STATE}}}}
SECONDS_FOR_A_REQUEST = 60.0
SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_BETWEEN_COUNTS = 0.03
LONGEST = 120.0


class OrdersIndex:
    """The first index of a group's `order_overview`."""

    def __init__(self, client: Elasticsearch, group: str) -> None:
        view = load("projections").relation(VIEW)
        assert isinstance(view, View)
        self.client, self._document = client, Document(view, group)
        self.name = self._document.index_name(1, 1)

    def count(self, index: str = "", **query: Any) -> int:
        """Documents of rows, all or those of a query, as they are once the index is refreshed."""
        index = index or self.name
        self.client.indices.refresh(index=index)
        return int(self.client.count(index=index, query=query or ROWS)["count"])

    def writes(self, index: str = "") -> int:
        """Documents that Elasticsearch has written there so far, those replaced included."""
        told = self.client.indices.stats(index=index or self.name, metric="indexing")
        return int(told["_all"]["primaries"]["indexing"]["index_total"])

    def found(self, count: int, writes: int, began: float, index: str = "", **query: Any) -> float:
        """Seconds since a moment (monotonic) until so many documents of a query are found.

        Looked for, each time with a forced refresh, once there are as many writes: to look earlier would only be work
        for Elasticsearch.
        """
        while self.writes(index) < writes and time.monotonic() - began < LONGEST:
            time.sleep(SECONDS_BETWEEN_COUNTS)
        return reached(partial(self.count, index, **query), count, began)

    def documents(self, **query: Any) -> list[dict[str, Any]]:
        """Documents of rows, all or those of a query, as the bulk helper takes them."""
        self.client.indices.refresh(index=self.name)
        found = scan(self.client, {"query": query or ROWS}, index=self.name)
        return [{"_id": d["_id"], "_source": d["_source"]} for d in found]

    def send(self, documents: list[dict[str, Any]], index: str) -> float:
        """Seconds that the bulk helper of elasticsearch-py takes for them, in bulks as long as the indexer's."""
        began = time.monotonic()
        done, _ = bulk(
            self.client, documents, True, index=index, chunk_size=MOST_KEYS, max_retries=5, initial_backoff=0.2
        )
        if done != len(documents):
            raise BenchError(f"the bulk helper sent {done} of {len(documents)} documents")
        return time.monotonic() - began

    @contextmanager
    def another(self) -> Iterator[str]:
        """An empty index of the same mapping and settings, which Elasticsearch itself refreshes each second."""
        name = f"beside.{self.name}"  # not among those that the indexer sweeps away
        settings = {"index": {**self._document.settings, "refresh_interval": "1s"}}
        self.client.indices.create(index=name, settings=settings, mappings=self._document.mapping)
        try:
            yield name
        finally:
            self.client.indices.delete(index=name)


@contextmanager
def orders_index(where: Place, group: str) -> Iterator[OrdersIndex]:
    with Elasticsearch(where.endpoints.elasticsearch_url, request_timeout=SECONDS_FOR_A_REQUEST) as client:
        yield OrdersIndex(client, group)


def wrong_documents(where: Place, group: str) -> int:
    """Documents of the group's index of orders that differ from their rows, are missing, or too many."""
    declared, at = load("projections"), where.endpoints
    view = declared.relation(VIEW)
    assert isinstance(view, View)

    async def verify() -> int:
        async with keeping(at.database_url, [at.elasticsearch_url], group, declared, view) as kept:
            found = await SearchVerifier(kept).verify()
        if not (found.served and found.documents):
            raise BenchError("there is no index of orders to verify")
        return found.different

    return asyncio.run(verify())


def reached(found: Callable[[], int], count: int, began: float) -> float:
    """Seconds until so many are found, since a moment (monotonic)."""
    while (there := found()) != count:
        if time.monotonic() - began > LONGEST:
            raise BenchError(f"{there} documents are found after {LONGEST:.0f} s, not {count}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return time.monotonic() - began

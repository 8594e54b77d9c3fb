"""What commands need of the index: an indexer of their own for as long as it takes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, AuthenticationException, AuthorizationException

from projector.declare.projections import Projections
from projector.declare.view import View
from projector.errors import Unreachable
from projector.search.client import Refused, connect
from projector.search.copies import Copies
from projector.search.indexer import ViewIndexer
from projector.search.metrics import Metrics
from projector.store.connect import connect_async
from projector.store.definitions import declarations_digest

SECONDS_BETWEEN_LOOKS = 0.1


class SearchUnreachable(Unreachable):
    """Elasticsearch does not answer a command."""


@dataclass(frozen=True)
class Keeping:
    """One view's search, for a command: connections to both, and how to have an indexer meanwhile."""

    url: str
    group: str
    projections: Projections
    view: View
    client: AsyncElasticsearch
    connection: psycopg.AsyncConnection[Any]

    @property
    def copies(self) -> Copies:
        """The view's search generations."""
        declarations = declarations_digest(self.projections)
        return Copies(self.connection, self.group, self.view.name, self.view.key[0], declarations)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait with an indexer at work: ours, unless another keeps the view. Raises what ends it."""
        indexer = ViewIndexer(self.url, self.group, self.projections, self.view, self.client, Metrics())
        work = asyncio.create_task(indexer.run())
        try:
            while not await holds():
                if work.done():
                    work.result()
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


@asynccontextmanager
async def keeping(
    url: str, search_urls: list[str], group: str, projections: Projections, view: View
) -> AsyncIterator[Keeping]:
    """Open both connections. What Elasticsearch raises inside becomes SearchUnreachable or Refused."""
    try:
        async with (
            await connect_async(url, group, name="prejoin search") as connection,
            connect(search_urls) as client,
        ):
            yield Keeping(url, group, projections, view, client, connection)
    except (AuthenticationException, AuthorizationException):
        raise Refused from None
    except (TransportError, ApiError) as error:
        said = str(error.status_code) if isinstance(error, ApiError) else type(error).__name__
        raise SearchUnreachable(
            f"Elasticsearch (PREJOIN_ELASTICSEARCH_URL) does not answer as it should: {said}; is it running?"
        ) from None

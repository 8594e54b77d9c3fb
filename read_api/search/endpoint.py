"""`GET /v1/orders/search`: Elasticsearch answers; Postgres where there is none, or it cannot within a second."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from projector.declare.view import View
from projector.search.document import Document
from read_api.access.callers import seen
from read_api.database import Database
from read_api.freshness import Wanted, read_wanted, too_early
from read_api.parameters import at_snapshot
from read_api.resource import Resource
from read_api.search.answer import Found, answer
from read_api.search.elastic import Elastic, Unanswered
from read_api.search.parameters import Search, read_search
from read_api.search.postgres import Postgres
from read_api.statements import NEWEST

Handler = Callable[[Request], Awaitable[Response]]

SECONDS_BETWEEN_LOOKS = 0.1  # while a request waits for the index, which the indexer refreshes once a second
SERVED = f"SELECT generation, search FROM {NEWEST % 1} AS g LEFT JOIN served USING (relation, generation)"
_log = logging.getLogger("prejoin.api")


class Backends(NamedTuple):
    """What answers searches; `elastic` is None where PREJOIN_ELASTICSEARCH_URL is empty."""

    database: Database
    postgres: Postgres
    elastic: Elastic | None
    group: str
    searched: Callable[[str, str, bool], None]  # hears the view, what answered, and whether that was degraded


def search_handler(resource: Resource, backends: Backends) -> Handler:
    """The route of one view that declares search=."""
    assert isinstance(resource.relation, View)
    document = Document(resource.relation, backends.group)

    async def search_rows(request: Request) -> Response:
        shown = at_snapshot(seen(resource, request), request)
        search, wanted = read_search(shown, request), read_wanted(request)
        found, backend = None, "postgres"
        indexed = backends.elastic is not None and shown.snapshot is None  # snapshots have no index
        if backends.elastic and indexed:
            found = await _from_index(search, wanted, document, backends, backends.elastic)
            backend = "elasticsearch" if found else backend
        if found is None:
            found = await backends.postgres.search(search, wanted)
        degraded = indexed and backend == "postgres"
        backends.searched(resource.name, backend, degraded)
        body = answer(search, found, backend, degraded)
        headers = {"Cache-Control": "no-cache", **found.freshness.headers(), **wanted.headers()}
        return Response(body, 200, headers, media_type="application/json")

    return search_rows


async def _from_index(
    search: Search, wanted: Wanted, document: Document, backends: Backends, elastic: Elastic
) -> Found | None:
    """The page from the index that is served, once that holds what is wanted; None where it cannot answer.

    Raises a 503 Problem where it answers, and does not hold what is wanted in time.
    """
    until = time.monotonic() + (wanted.wait or 0)
    while True:
        rows = await backends.database.all(SERVED, [search.resource.definition])
        if not rows or rows[0][1] is None:
            return None  # there is no whole index yet
        try:
            found = await elastic.search(search, document.index_name(*rows[0]))
        except Unanswered as reason:
            _log.warning("Elasticsearch did not answer a search (%s): Postgres does", reason)
            return None
        if found.freshness.reaches(wanted.positions):
            return found
        if time.monotonic() >= until:
            raise too_early(wanted, found.freshness)
        await asyncio.sleep(min(SECONDS_BETWEEN_LOOKS, max(until - time.monotonic(), 0)))

"""Searches in Elasticsearch: at a point in time, which the pages that follow go on at; soon, or not at all."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from elastic_transport import ConnectionTimeout, TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from projector.search.client import connect
from projector.search.sortable import whole_number
from read_api.freshness import Freshness
from read_api.kinds import BOOLEAN, INTEGER, WHOLE
from read_api.search.answer import Found, Hit, Total
from read_api.search.body import IS_STATE, search_body
from read_api.search.breaker import Breaker
from read_api.search.parameters import Search

SECONDS = 0.8  # for all that one search asks; with Postgres's answer behind it a request stays near a second
KEPT = "60s"  # a point in time, after each page of it
MOST_OPEN = 200  # points in time of one process; the oldest is closed for a new one
_GONE = 404
_STATE_BODY = {"query": IS_STATE, "size": 1, "_source": ["state"], "track_total_hits": False}


class Unanswered(Exception):
    """Elasticsearch cannot answer this search: Postgres must. `away`: nor, it seems, the next one."""

    def __init__(self, reason: str, away: bool) -> None:
        super().__init__(reason)
        self.away = away


class _PointGone(Exception):
    """The point in time is not open any more."""


class Elastic:
    """Elasticsearch as the API asks it. One a process, closed with it."""

    _client: AsyncElasticsearch

    def __init__(self, urls: list[str]) -> None:
        self._urls, self._breaker = urls, Breaker()
        self._open: OrderedDict[str, None] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the client, without waiting for Elasticsearch; close what is open, if that goes quickly, and it."""
        self._client = connect(self._urls, SECONDS)
        try:
            yield
        finally:
            for point in list(self._open):
                self._drop(point)
            self._open.clear()
            if self._closing:
                await asyncio.wait(self._closing, timeout=SECONDS)
            await self._client.close()

    async def search(self, search: Search, index: str) -> Found:
        """The page, and what the index holds, both at one point in time. Raises Unanswered."""
        if not self._breaker.lets_through():
            raise Unanswered("it failed a moment ago", away=True)
        look = asyncio.create_task(self._look(index), name="look whether Elasticsearch answers")
        try:
            async with asyncio.timeout(SECONDS):
                found = await self._search(search, index)
        except (TimeoutError, TransportError, ApiError, _PointGone) as error:
            away = _is_away(error, look)
            self._breaker.failed() if away else self._breaker.worked()
            raise Unanswered(type(error).__name__, away) from None
        finally:
            look.cancel()
        self._breaker.worked()
        return found

    async def _look(self, index: str) -> bool:
        """Whether Elasticsearch answers what costs it nothing, asked once a search has taken half of its time."""
        await asyncio.sleep(SECONDS / 2)
        with suppress(TransportError, ApiError):
            await self._client.search(index=index, query=IS_STATE, size=0)
            return True
        return False

    async def _search(self, search: Search, index: str) -> Found:
        if search.point:
            try:
                return await self._read(search, index, search.point)
            except _PointGone:
                pass  # expired, or of an index that was switched away from: on at the same place in what is now
        opened = await self._client.open_point_in_time(index=index, keep_alive=KEPT)
        return await self._read(search, index, opened["id"])

    async def _read(self, search: Search, index: str, point: str) -> Found:
        at: dict[str, Any] = {"pit": {"id": point, "keep_alive": KEPT}, "timeout": f"{SECONDS * 1000:.0f}ms"}
        bodies = [_STATE_BODY | at, search_body(search, search.limit + 1) | at]
        answers = await self._client.msearch(searches=[part for body in bodies for part in ({}, body)])
        state, page = (_checked(answer, index) for answer in answers["responses"])
        hits = [_hit(search, hit) for hit in page["hits"]["hits"]]
        more = len(hits) > search.limit
        latest = page.get("pit_id", point)
        self._remember(point, latest if more else None)
        return Found(
            hits[: search.limit],
            more,
            Total(page["hits"]["total"]["value"], page["hits"]["total"]["relation"]),
            {name: _values(search, name, page["aggregations"][name]["buckets"]) for name in search.facets},
            _freshness(state["hits"]["hits"]),
            latest if more else None,
        )

    def _remember(self, before: str, latest: str | None) -> None:
        """Keep count of a point in time that a cursor names; one that no cursor names is closed."""
        self._open.pop(before, None)
        if latest is None:
            self._drop(before)
            return
        self._open[latest] = None
        while len(self._open) > MOST_OPEN:
            self._drop(self._open.popitem(last=False)[0])

    def _drop(self, point: str) -> None:
        task = asyncio.create_task(self._close_point(point), name="close a point in time")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_point(self, point: str) -> None:
        with suppress(TransportError, ApiError):  # it ends by itself
            await self._client.close_point_in_time(id=point)


def _is_away(error: Exception, look: asyncio.Task[bool]) -> bool:
    """Whether Elasticsearch is at fault, not the search: it is refused for what it asks, its index is not there, or it
    takes long where Elasticsearch answers what is asked beside it.
    """
    if isinstance(error, ApiError):
        return error.status_code == 429 or error.status_code >= 500
    if isinstance(error, TimeoutError | ConnectionTimeout):
        return not (look.done() and look.result())
    return isinstance(error, TransportError)


def _checked(answer: Mapping[str, Any], index: str) -> Mapping[str, Any]:
    """An answer that is whole, and from the index that was meant: a cursor may name any point in time."""
    if answer["status"] == _GONE or answer["status"] == 400:
        raise _PointGone
    if answer["status"] != 200 or answer["timed_out"] or answer["_shards"]["failed"]:
        raise TimeoutError
    if any(hit["_index"] != index for hit in answer["hits"]["hits"]):
        raise _PointGone
    return answer


def _hit(search: Search, hit: Mapping[str, Any]) -> Hit:
    row = hit["_source"]["row"] | dict.fromkeys(search.resource.hidden)
    score = int(hit["_score"] or 0)
    scores = [str(score)] if search.by_relevance else []
    values = [row[term.field.name] for term in search.order]
    return Hit(row, score, [*scores, *(None if value is None else _as_text(value) for value in values)])


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(search: Search, name: str, buckets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    kind = search.resource.filters[name].kind
    return [{"value": _value(kind, bucket["key"]), "count": bucket["doc_count"]} for bucket in buckets]


def _value(kind: object, keyword: str) -> Any:
    if kind is BOOLEAN:
        return keyword == "true"
    return whole_number(keyword) if kind in (INTEGER, WHOLE) else keyword


def _freshness(hits: Sequence[Mapping[str, Any]]) -> Freshness:
    state = hits[0]["_source"]["state"] if hits else {}
    positions = [f"{place}@{offset}" for place, offset in sorted(state.get("positions", {}).items())]
    if not (as_of := state.get("as_of")):
        return Freshness(None, None, positions)
    behind = (datetime.now(UTC) - datetime.fromisoformat(as_of)).total_seconds()
    return Freshness(as_of, Decimal(str(round(max(behind, 0), 3))), positions)

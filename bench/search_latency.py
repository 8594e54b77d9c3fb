"""From an event that is produced to a search that finds it, beside a document that is put into Elasticsearch itself.

Elasticsearch shows what was written once a second: half a second at the median is its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bench.latency import LONGEST, STEPS, Look, middle, sample, unexpected, visible, worst
from bench.place import Place, say
from bench.results import Result
from bench.search_index import orders_index, reached, wrong_documents
from bench.shop_now import customer, product
from bench.sizes import Size
from bench.streams import TOPICS

PROJECTIONS = "projections"
SAMPLES_A_SECOND = 4
SECONDS_BETWEEN_LOOKS = 0.04


def measure(where: Place, size: Size) -> Iterator[Result]:
    where.fresh_topics(TOPICS)
    where.publish([customer("c1"), product("p1")])
    group, rate, seconds = where.migrated(PROJECTIONS), size.latency_rate, size.search_seconds
    with (
        where.worker(group, PROJECTIONS) as worker,
        where.indexer(group, PROJECTIONS) as indexer,
        where.api(group, PROJECTIONS) as url,
        orders_index(where, group) as index,
        index.another() as beside,
    ):
        worker.until(2)
        indexer.until(0)
        say(f"search: from event to hit at {rate:g} events/s")
        elastic = where.endpoints.elasticsearch_url
        asyncio.run(_both(where, url, f"{elastic}/{beside}", rate, size.search_settles, "w"))
        found, its, degraded = asyncio.run(_both(where, url, f"{elastic}/{beside}", rate, seconds, "s"))
        placed = int(seconds * rate / STEPS) + int(size.search_settles * rate / STEPS)
        reached(index.count, placed, time.monotonic())
        wrong = wrong_documents(where, group)
    details = {"events_per_second": rate, "seconds": seconds, "samples": len(found), "peer_samples": len(its)}
    details |= {"orders": placed, "wrong_documents": wrong, "degraded_answers": degraded}
    yield Result("search/event to hit p50, Elasticsearch's own", middle(found), middle(its), "ms", None, details)
    yield Result("search/event to hit p99, Elasticsearch's own", worst(found), worst(its), "ms", "ours < 1500", details)


async def _both(
    where: Place, url: str, beside: str, rate: float, seconds: float, prefix: str
) -> tuple[list[float], list[float], int]:
    """Samples of ours and of Elasticsearch's own; and how many answers came from Postgres, which count as none."""
    degraded = 0
    async with aiohttp.ClientSession() as session:

        async def ours(keys: list[str]) -> list[str]:
            nonlocal degraded
            told = await searched(session, url, keys)
            degraded += told["degraded"]
            return [] if told["degraded"] else [hit["row"]["order_id"] for hit in told["data"]]

        async def its(keys: list[str]) -> list[str]:
            query = {"query": {"terms": {"is.order_id": keys}}, "size": 200}
            async with session.post(f"{beside}/_search", json=query) as answer:
                answer.raise_for_status()
                return [hit["_id"] for hit in (await answer.json())["hits"]["hits"]]

        async with looking(ours) as is_ours, looking(its) as is_its:
            own = asyncio.create_task(_own(session, beside, seconds, prefix, is_its))
            _, found = await sample(where, is_ours, rate, seconds, prefix, {}, SAMPLES_A_SECOND)
            return found, await own, degraded


async def searched(session: aiohttp.ClientSession, url: str, keys: list[str]) -> Any:
    """What the API answers to a search for orders by their ids. Raises BenchError where it refuses."""
    asked = {"order_id": ",".join(keys), "fields": "order_id", "limit": "200"}
    async with session.get(f"{url}/v1/orders/search", params=asked) as answer:
        if answer.status != 200:
            raise await unexpected(answer)
        return await answer.json()


@asynccontextmanager
async def looking(search: Callable[[list[str]], Awaitable[list[str]]]) -> AsyncIterator[Look]:
    """A look that ends when the key is found: all that wait are looked for at once, or the looking alone would keep
    Elasticsearch busy. A search that fails ends whatever is done meanwhile, and is raised.
    """
    waiting: dict[str, asyncio.Future[bool]] = {}

    async def look(key: str) -> bool:
        waiting[key] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(LONGEST):
            return await waiting[key]

    async def search_on() -> None:
        while True:
            for key in await search(list(waiting)) if waiting else ():
                waiting.pop(key).set_result(True)
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    try:
        async with asyncio.TaskGroup() as both:
            searching = both.create_task(search_on())
            yield look
            searching.cancel()
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _own(session: aiohttp.ClientSession, index: str, seconds: float, prefix: str, look: Look) -> list[float]:
    """Seconds from a document that is to be put into an index to a search that finds it."""

    async def put(key: str, due: float) -> float:
        async with session.put(f"{index}/_doc/{key}", json={"is": {"order_id": key}}) as answer:
            answer.raise_for_status()
        return await visible(look, key, due)

    start, tasks = time.monotonic(), list[asyncio.Task[float]]()
    for tick in range(int(seconds)):
        # not at the same moment of each second: that is when the index is refreshed
        due = start + tick * 1.09
        await asyncio.sleep(due - time.monotonic())
        tasks.append(asyncio.create_task(put(f"{prefix}{tick}", due)))
    return [await task for task in tasks]

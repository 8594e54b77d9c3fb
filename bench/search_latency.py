"""From an event that is produced to a search that finds it, beside a document that is put into Elasticsearch itself.

Elasticsearch shows what was written once a second: half a second at the median is its own.
"""

import asyncio
import time
from collections.abc import Iterator

import aiohttp

from bench.latency import STEPS, middle, sample, visible, worst
from bench.place import BenchError, Place, say
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
        found, its, degraded = asyncio.run(_both(where, url, f"{elastic}/{beside}", rate, seconds))
        placed = int(seconds * rate / STEPS)
        reached(index.count, placed, time.monotonic())
        wrong = wrong_documents(where, group)
    details = {"events_per_second": rate, "seconds": seconds, "samples": len(found), "peer_samples": len(its)}
    details |= {"orders": placed, "wrong_documents": wrong, "degraded_answers": degraded}
    yield Result("search/event to hit p50, Elasticsearch's own", middle(found), middle(its), "ms", None, details)
    yield Result("search/event to hit p99, Elasticsearch's own", worst(found), worst(its), "ms", "ours < 1500", details)


async def _both(
    where: Place, url: str, beside: str, rate: float, seconds: float
) -> tuple[list[float], list[float], int]:
    """Samples of ours and of Elasticsearch's own; and how many answers came from Postgres, which count as none."""
    degraded = 0
    async with aiohttp.ClientSession() as session:

        async def is_found(key: str) -> bool:
            nonlocal degraded
            async with session.get(f"{url}/v1/orders/search", params={"order_id": key}) as answer:
                if answer.status != 200:
                    raise BenchError(f"a search answers {answer.status}")
                told = await answer.json()
            degraded += told["degraded"]
            return not told["degraded"] and [hit["row"]["order_id"] for hit in told["data"]] == [key]

        own = asyncio.create_task(_own(session, beside, seconds))
        _, found = await sample(where, is_found, rate, seconds, "s", {}, SAMPLES_A_SECOND, _pause)
        return found, await own, degraded


async def _own(session: aiohttp.ClientSession, index: str, seconds: float) -> list[float]:
    """Seconds from a document that is to be put into an index to a search that finds it."""

    async def put(key: str, due: float) -> float:
        async with session.put(f"{index}/_doc/{key}", json={"is": {"order_id": key}}) as answer:
            answer.raise_for_status()
        return await visible(is_found, key, due, _pause)

    async def is_found(key: str) -> bool:
        query = {"query": {"term": {"is.order_id": key}}}
        async with session.post(f"{index}/_search", json=query) as answer:
            answer.raise_for_status()
            return bool((await answer.json())["hits"]["total"]["value"] == 1)

    start, tasks = time.monotonic(), list[asyncio.Task[float]]()
    for tick in range(int(seconds)):
        # not at the same moment of each second: that is when the index is refreshed
        due = start + tick * 1.09
        await asyncio.sleep(due - time.monotonic())
        tasks.append(asyncio.create_task(put(f"d{tick}", due)))
    return [await task for task in tasks]


def _pause(_waited: float) -> float:
    return SECONDS_BETWEEN_LOOKS

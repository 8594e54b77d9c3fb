"""Fan-out of changes: a commit, until the last of many who follow has read its event.

Each writes one row and its line of the feed in one transaction, as a batch does, without what a batch does beside; the
time runs from the return of COMMIT. The clients share the machine with the API, and all read in one process.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import psutil

from bench.latency import middle, worst
from bench.place import Place, place
from bench.results import Result
from bench.sizes import Size

FOLLOWERS = 1_000
IDLE_SECONDS = 10
_WRITE = """
WITH row AS (INSERT INTO order_overview__g1 (order_id, status) VALUES (%(key)s, 'pending')),
told AS (
  INSERT INTO changes (revision, relation, upserted, deleted)
  SELECT nextval('revisions'), 'order_overview', ARRAY[%(key)s], '{}'
)
SELECT pg_notify('prejoin_changes:' || current_schema(), '')
"""


def measure(size: Size) -> Iterator[Result]:
    with place() as where:
        group = where.migrated("projections")
        with where.api(group, "projections") as url:
            process = _api_of(url)
            seconds, idle, megabytes = asyncio.run(_followed(where, group, url, process, 20 if size.quick else 100))
    what = {"followers": FOLLOWERS, "changes": len(seconds), "idle_cpu_share": idle, "megabytes": megabytes}
    yield Result("changes/commit to the last of 1,000, p50", middle(seconds), None, "ms", None, what)
    yield Result("changes/commit to the last of 1,000, p99", worst(seconds), None, "ms", "ours < 1000", what)


def _api_of(url: str) -> psutil.Process:
    port = int(url.rpartition(":")[2])
    return next(
        child
        for child in psutil.Process().children()
        if any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in child.net_connections())
    )


async def _followed(
    where: Place, group: str, url: str, process: psutil.Process, changes: int
) -> tuple[list[float], float, float]:
    """Seconds of each change; while idle, the API's share of a CPU; and its memory."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        followers = []
        for _ in range(FOLLOWERS // 50):
            coming = [stack.enter_async_context(_following(session, url)) for _ in range(50)]
            followers += [await each for each in coming]
        before, began = sum(process.cpu_times()[:2]), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        idle = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
        seconds = []
        with where.connect(group) as connection:
            for n in range(changes):
                key = f"o{n}"
                await asyncio.to_thread(connection.execute, _WRITE, {"key": key})
                committed = time.perf_counter()
                await asyncio.gather(*(_until(follower, key) for follower in followers))
                seconds.append(time.perf_counter() - committed)
        return seconds, idle, process.memory_info().rss / 2**20


@asynccontextmanager
async def _following(session: aiohttp.ClientSession, url: str) -> AsyncIterator[Any]:
    async with session.get(f"{url}/v1/orders/changes") as answer:
        answer.raise_for_status()
        await answer.content.readuntil(b"\n\n")
        yield answer.content


async def _until(lines: Any, key: str) -> None:
    wanted = f'"{key}"'.encode()
    while wanted not in await lines.readuntil(b"\n\n"):
        pass

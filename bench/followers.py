"""Fan-out of changes: a commit, until the last of many who follow has read its event.

Each writes one row and its line of the feed in one transaction, as a batch does, without what a batch does beside; the
time runs from the return of COMMIT. The clients share the machine with the API: all of them are one event loop that
looks for the key in what comes, and no more.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import uvloop

from bench.latency import middle, worst
from bench.place import BenchError, Place, cpu_seconds, listening_on, place
from bench.results import Result
from bench.sizes import Size

FOLLOWERS = 1_000
AT_ONCE = 50  # that come together
IDLE_SECONDS = 10
SECONDS_TO_COME = 60.0
OPENING = b"retry: "
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
            seconds, what = uvloop.run(_followed(where, group, url, 20 if size.quick else 100))
    what |= {"followers": FOLLOWERS, "changes": len(seconds)}
    yield Result("changes/commit to the last of 1,000, p50", middle(seconds), None, "ms", None, what)
    yield Result("changes/commit to the last of 1,000, p99", worst(seconds), None, "ms", "ours < 1000", what)


class Followers:
    """All who follow, and how many of them have read what is `wanted`."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname, address.port
        self.request = f"GET /v1/orders/changes HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
        self.wanted, self.have, self.gone = OPENING, 0, 0
        self.there = asyncio.Event()

    async def come(self, count: int) -> None:
        """So many more, until each has the opening of its stream."""
        everybody = self.have + count
        making = asyncio.get_running_loop().create_connection
        await asyncio.gather(*(making(lambda: Follower(self), self.host, self.port) for _ in range(count)))
        await self.until(everybody)

    def want(self, text: bytes) -> None:
        """Nobody has read it yet."""
        self.wanted, self.have = text, 0

    async def until(self, count: int) -> float:
        """The moment at which so many have what is wanted."""
        try:
            async with asyncio.timeout(SECONDS_TO_COME):
                while self.have < count:
                    self.there.clear()
                    await self.there.wait()
        except TimeoutError:
            raise BenchError(
                f"{self.have} of {count} have {self.wanted!r}, and {self.gone} have been sent away"
            ) from None
        return time.perf_counter()


class Follower(asyncio.Protocol):
    """One of them."""

    def __init__(self, among: Followers) -> None:
        self.among, self.read, self.found = among, b"", b""

    def connection_made(self, transport: Any) -> None:
        transport.write(self.among.request)

    def data_received(self, data: bytes) -> None:
        wanted, self.read = self.among.wanted, self.read + data
        if wanted in self.read and self.found != wanted:
            self.found, self.read = wanted, b""
            self.among.have += 1
            self.among.there.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.among.gone += 1


async def _followed(where: Place, group: str, url: str, changes: int) -> tuple[list[float], dict[str, float]]:
    """Seconds of each change; the API's CPU time for one event of one follower, its share of a CPU while idle, its
    memory, and how much of a CPU the clients took.
    """
    followers, api, own = Followers(url), listening_on(url), psutil.Process()
    for _ in range(FOLLOWERS // AT_ONCE):
        await followers.come(AT_ONCE)
    before = cpu_seconds(api)
    await asyncio.sleep(IDLE_SECONDS)
    idle = (cpu_seconds(api) - before) / IDLE_SECONDS
    seconds = []
    before, began, reading = cpu_seconds(api), time.perf_counter(), cpu_seconds(own)
    with where.connect(group) as connection:
        for n in range(changes):
            followers.want(f'"o{n}"'.encode())
            committed = await asyncio.to_thread(_write, connection, f"o{n}")
            seconds.append(await followers.until(FOLLOWERS) - committed)
    return seconds, {
        "api_cpu_us": (cpu_seconds(api) - before) / changes / FOLLOWERS * 1e6,
        "idle_cpu": idle,
        "megabytes": api.memory_info().rss / 2**20,
        "source_cpu": (cpu_seconds(own) - reading) / (time.perf_counter() - began),
    }


def _write(connection: psycopg.Connection[Any], key: str) -> float:
    """The moment at which it is committed."""
    connection.execute(_WRITE, {"key": key})
    return time.perf_counter()

"""From an event that is produced to an answer that has it: a new order, until `GET /v1/orders/{id}` answers 200.

The time runs from the moment at which the event was due, so that a producer that is held up is counted, too.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.ingest import ORDERS_ONLY, peer_of
from bench.peers import tables
from bench.place import BenchError, Place, place, say
from bench.results import Result
from bench.shop_now import customer, follow_up, order, product
from bench.sizes import Size
from bench.streams import TOPICS
from projector.publish import Message

STEPS = 6  # events of an order
SAMPLES_A_SECOND = 10
LOOP_RATE = 200  # events a second, which a loop of one transaction an event can bear
SECONDS_TO_SETTLE = 3.0
LONGEST = 60.0
MOST_LETTERS = 500  # of what an answer says that is not as expected
Look = Callable[[str], Awaitable[bool]]


def measure(size: Size) -> Iterator[Result]:
    with place() as where:
        where.fresh_topics(TOPICS)
        masters = [customer("c1"), product("p1")]
        where.publish(masters)
        group = where.migrated("projections")
        with where.worker(group, "projections") as worker, where.api(group, "projections") as url:
            worker.until(2)
            kafka, steady = asyncio.run(_ours(where, url, size.latency_rate, size.latency_seconds))
            _, idle = asyncio.run(_ours(where, url, 1.0, size.idle_seconds, "i"))
        where.fresh_topics(TOPICS)
        where.publish(masters)
        with peer_of(where, "loop", where.migrated(ORDERS_ONLY)) as (start, schema), start() as peer:
            peer.until(2)
            loop = asyncio.run(_loop(where, schema, size.latency_seconds / 2))
    what = {"events_per_second": size.latency_rate, "seconds": size.latency_seconds, "samples": len(steady)}
    yield Result("latency/steady p50, Kafka's own", middle(steady), middle(kafka), "ms", "ours < 30", what)
    yield Result("latency/steady p99, Kafka's own", worst(steady), worst(kafka), "ms", "ours < 150", what)
    idling = {"seconds": size.idle_seconds, "samples": len(idle), "p99": worst(idle)}
    yield Result("latency/idle p50, loop's", middle(idle), middle(loop), "ms", None, idling)
    slow = what | {"peer_events_per_second": LOOP_RATE, "peer_samples": len(loop)}
    yield Result("latency/steady p99, loop's", worst(steady), worst(loop), "ms", None, slow)


def middle(seconds: list[float]) -> float:
    """The median, in milliseconds."""
    return statistics.median(seconds) * 1000


def worst(seconds: list[float]) -> float:
    """The 99th percentile, in milliseconds."""
    return sorted(seconds)[int(len(seconds) * 0.99)] * 1000


async def _ours(
    where: Place, url: str, rate: float, seconds: float, prefix: str = "o"
) -> tuple[list[float], list[float]]:
    """Samples of Kafka's way to a consumer, and of ours to an answer."""
    say(f"latency: ours at {rate:g} events/s")
    async with aiohttp.ClientSession() as session, arrivals(where) as arrived:

        async def look(key: str) -> bool:
            return await served(session, url, key)

        return await sample(where, look, rate, seconds, prefix, arrived)


async def _loop(where: Place, schema: str, seconds: float) -> list[float]:
    say(f"latency: the loop at {LOOP_RATE} events/s")
    url, options = where.endpoints.database_url, tables.OPTIONS.replace(tables.SCHEMA, schema)
    async with await psycopg.AsyncConnection.connect(url, options=options, autocommit=True) as connection:

        async def look(key: str) -> bool:
            found = await connection.execute("SELECT FROM overview WHERE order_id = %s", [key])
            return found.rowcount == 1

        return (await sample(where, look, LOOP_RATE, seconds, "l", {}))[1]


async def served(session: aiohttp.ClientSession, url: str, key: str) -> bool:
    async with session.get(f"{url}/v1/orders/{key}") as answer:
        if answer.status not in (200, 404):
            raise await unexpected(answer)
        return answer.status == 200


async def unexpected(answer: aiohttp.ClientResponse) -> BenchError:
    """What is wrong with an answer that is none to measure: its status, and the text, which says why."""
    return BenchError(f"GET {answer.url.path} answers {answer.status}: {(await answer.text())[:MOST_LETTERS]}")


def soon(waited: float) -> float:
    """Seconds until the next look: every few milliseconds; what takes long is looked for less often, or the looking
    alone would keep the API busy.
    """
    return max(0.005, waited / 8)


async def sample(
    where: Place,
    look: Look,
    rate: float,
    seconds: float,
    prefix: str,
    arrived: dict[str, float],
    samples: float = SAMPLES_A_SECOND,
) -> tuple[list[float], list[float]]:
    """Publish at a steady rate; the order of some ticks is followed. What the first seconds show is left out."""
    steady = rate > samples
    period = STEPS / rate if steady else 1 / rate
    every = max(1, round(1 / samples / period)) if steady else 1
    followed: dict[str, tuple[float, asyncio.Task[float]]] = {}
    async with producing(where) as send:
        start = time.monotonic()
        for tick in range(int(seconds / period)):
            due = start + tick * period
            await asyncio.sleep(due - time.monotonic())
            if tick % every == 0 and tick * period >= (SECONDS_TO_SETTLE if steady else 0):
                key = f"{prefix}{tick}"
                followed[key] = due, asyncio.create_task(visible(look, key, due))
            for message in _due(prefix, tick, steady):
                await send(message)
        found = [await task for _, task in followed.values()]
    return [arrived[key] - due for key, (due, _) in followed.items() if key in arrived], found


@asynccontextmanager
async def producing(where: Place) -> AsyncIterator[Callable[[Message], Awaitable[Any]]]:
    """A function that puts an event on its way at once, without waiting until Kafka has it."""
    producer = AIOKafkaProducer(bootstrap_servers=where.brokers, enable_idempotence=True)
    await producer.start()
    try:
        yield lambda m: producer.send(m.topic, m.value, key=m.key, headers=[*m.headers])
    finally:
        await producer.stop()


def _due(prefix: str, tick: int, steady: bool) -> Iterator[Message]:
    """A new order; and one next event each of orders before it."""
    yield order(f"{prefix}{tick}", "c1", ["p1"])
    if steady:
        for step in range(1, STEPS):
            if (before := tick - step * 100) >= 0:
                yield follow_up(f"{prefix}{before}", step)


async def visible(look: Look, key: str, due: float) -> float:
    """Seconds until it is there."""
    while not await look(key):
        waited = time.monotonic() - due
        if waited > LONGEST:
            raise BenchError(f"{key} was not visible after {LONGEST:.0f} s")
        await asyncio.sleep(soon(waited))
    return time.monotonic() - due


@asynccontextmanager
async def arrivals(where: Place) -> AsyncIterator[dict[str, float]]:
    """When a plain consumer has each order's first event, by key, in a dictionary that fills."""
    consumer = AIOKafkaConsumer("orders", bootstrap_servers=where.brokers, auto_offset_reset="latest")
    await consumer.start()
    arrived: dict[str, float] = {}

    async def read() -> None:
        async for record in consumer:
            arrived.setdefault(record.key.decode(), time.monotonic())

    reading = asyncio.create_task(read())
    try:
        yield arrived
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await consumer.stop()

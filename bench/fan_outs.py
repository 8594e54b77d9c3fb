"""One event that touches very many rows: how long until the last of them, and what others wait meanwhile."""

import asyncio
import time
from collections.abc import Iterator

import aiohttp

from bench.latency import producing, served, visible, worst
from bench.limits import SCHEMA
from bench.place import Place, Process, place, say
from bench.results import Result
from bench.shop_now import customer, event, order, product
from bench.sizes import Size
from bench.streams import TOPICS
from projector.declare.entity import FILLFACTOR
from projector.publish import Message

LINES_AN_ORDER = 4
SECONDS_BETWEEN_OTHERS = 0.05
# Where the topic stands; one less while keys are pending.
_PROGRESS = (
    "SELECT sum(next) - (CASE WHEN EXISTS (SELECT FROM pending) THEN 1 ELSE 0 END) FROM positions WHERE topic = %s"
)
_UPDATES = {
    "customers": "UPDATE {table} SET customer_name = 'Anna' WHERE customer_id = 'big'",
    "catalog": "UPDATE {table} SET lines = jsonb_set(lines, '{{0,product_name}}', '\"Pot\"') "
    "WHERE customer_id = 'small'",
}


def world(size: Size) -> Iterator[Message]:
    """A customer with very many orders, a product in very many lines (of orders of four), and both without."""
    yield from (customer("big"), customer("small"), customer("none"), product("big"), product("small"))
    for number in range(size.fan_out_rows):
        yield order(f"c{number}", "big", ["small"])
    for number in range(2 * size.fan_out_rows // LINES_AN_ORDER):
        yield order(f"p{number}", "small", ["big"] * LINES_AN_ORDER)


def measure(size: Size) -> Iterator[Result]:
    messages = list(world(size))
    with place() as where:
        where.fresh_topics(TOPICS)
        where.publish(messages)
        group = where.migrated("projections")
        say(f"fan-outs: applying {len(messages):,} events first")
        with where.worker(group, "projections") as process, where.api(group, "projections") as url:
            process.until(len(messages))
            name = f"customer of {size.fan_out_rows:,} orders"
            rename = event("customers.CustomerNameChanged", "big", customer_id="big", name="Anne")
            yield from _measure(where, group, process, url, name, rename, 3 + 1)
            name = f"product in {2 * size.fan_out_rows:,} lines"
            rename = event("catalog.ProductRenamed", "big", product_id="big", name="Mug")
            yield from _measure(where, group, process, url, name, rename, 2 + 1)
        wrong = where.differing(group, "projections")
    yield Result("fan-out/wrong rows afterwards", wrong, None, "rows", "ours = 0")


def _measure(
    where: Place, group: str, process: Process, url: str, name: str, rename: Message, position: int
) -> Iterator[Result]:
    say(f"fan-outs: renaming a {name}")
    process.progress = _PROGRESS.replace("%s", f"'{rename.topic}'")
    seconds, quiet, others = asyncio.run(_rename(where, process, url, rename, position))
    update, rows = _update(where, group, rename.topic)
    yield Result(f"fan-out/{name}, UPDATE", seconds, update, "s", "ours < 3", {"rows": rows})
    details = {"samples": len(others)}
    yield Result(
        f"fan-out/p99 of others meanwhile, before ({name})", worst(others), worst(quiet), "ms", "ours < 500", details
    )


async def _rename(
    where: Place, process: Process, url: str, rename: Message, position: int
) -> tuple[float, list[float], list[float]]:
    """Seconds until all rows tell the new name; what new orders wait before and meanwhile."""
    tasks: list[tuple[float, asyncio.Task[float]]] = []
    async with producing(where) as send, aiohttp.ClientSession() as session:

        async def others() -> None:
            start = time.monotonic()
            while True:
                key, due = f"{rename.topic}{len(tasks)}", start + len(tasks) * SECONDS_BETWEEN_OTHERS
                await asyncio.sleep(due - time.monotonic())
                await send(order(key, "none", ["small"]))
                tasks.append((due, asyncio.create_task(visible(lambda key: served(session, url, key), key, due))))

        sending = asyncio.create_task(others())
        await asyncio.sleep(3)
        began = time.monotonic()
        await send(rename)
        ended = await asyncio.to_thread(process.until, position)
        sending.cancel()
        waited = [(due, await task) for due, task in tasks]
    quiet = [seconds for due, seconds in waited if due < began - 0.5]
    return ended - began, quiet, [seconds for due, seconds in waited if due >= began - 0.5]


def _update(where: Place, group: str, topic: str) -> tuple[float, int]:
    """Seconds for an UPDATE of the same rows in a table like the view's, and how many there are."""
    table = f"{SCHEMA}.order_overview"
    with where.connect(group) as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        connection.execute(
            f"CREATE TABLE {table} (LIKE order_overview__g1 INCLUDING ALL) WITH (fillfactor = {FILLFACTOR})"
        )
        connection.execute(f"INSERT INTO {table} SELECT * FROM order_overview__g1")
        connection.execute(f"ANALYZE {table}")
        began = time.monotonic()
        rows = connection.execute(_UPDATES[topic].format(table=table)).rowcount
        seconds = time.monotonic() - began
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    return seconds, rows

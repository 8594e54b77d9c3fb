"""The rename of a customer with very many orders until all of them are found by the new name, with a forced refresh.

Beside it: one bulk after another of the same documents ready-made; and PGSync, whose rename is an UPDATE of its table.
The first rounds of each are left out: Java is still compiling, which a node that runs for an hour has behind it.
"""

import asyncio
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from bench import libraries, pgsync
from bench.latency import producing
from bench.place import BenchError, Place, Process, say
from bench.results import Result
from bench.search_index import OrdersIndex, orders_index, wrong_documents
from bench.shop_now import customer, event, order, product
from bench.sizes import Size
from bench.streams import TOPICS
from projector.publish import Message

PROJECTIONS = "projections"
RENAMED = "big"
RENAME = "UPDATE customers SET name = %s WHERE customer_id = %s"
NAME = "text.customer_name"


def world(orders: int) -> Iterator[Message]:
    """A customer with so many orders, and another one with as many."""
    yield from (customer(RENAMED), customer("other"), product("p1"))
    for number in range(orders):
        yield order(f"b{number}", RENAMED, ["p1"])
        yield order(f"o{number}", "other", ["p1"])


def measure(where: Place, size: Size) -> Iterator[Result]:
    pgsync.decode_the_wal(where)
    messages = list(world(size.rename_orders))
    where.fresh_topics(TOPICS)
    where.publish(messages)
    group = where.migrated(PROJECTIONS)
    with (
        where.worker(group, PROJECTIONS) as worker,
        where.indexer(group, PROJECTIONS) as indexer,
        orders_index(where, group) as index,
    ):
        worker.until(len(messages))
        indexer.until(0)
        ours, plain, committed = asyncio.run(_ours(where, worker, index, len(messages), size))
        indexer.until(0)
        wrong = wrong_documents(where, group)
    name = f"search/rename of a customer of {size.rename_orders:,} orders"
    first, counting = ours[0], slice(size.rename_warmups, None)
    seconds, bulks = median(ours[counting]), median(plain[counting])
    details = {"rounds": size.rename_rounds, "seconds_of_the_first": first, "wrong_documents": wrong}
    details |= {"seconds_to_commit": median(committed[counting])}
    yield Result(f"{name}, bulk", seconds, bulks, "s", "ours < 1", details)
    if reason := libraries.PGSYNC.install():
        say(f"search: PGSync is left out, for it cannot be installed: {reason}")
    else:
        theirs, told = _pgsync(where, group, size)
        yield Result(f"{name}, PGSync", seconds, median(theirs[counting]), "s", None, details | told)


async def _ours(
    where: Place, worker: Process, index: OrdersIndex, events: int, size: Size
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each round: ours, the bulks', and ours until the rename was committed."""
    ours, plain, committed = list[float](), list[float](), list[float]()
    with index.another() as beside:
        every = index.documents()
        for _ in range(size.search_warmups):  # what Java has not compiled yet takes several times as long
            index.send(every, beside)
        async with producing(where) as send:
            for round_ in range(size.rename_warmups + size.rename_rounds):
                say(f"search: renaming a customer of {size.rename_orders:,} orders, round {round_}")
                rename = {"customer_id": RENAMED, "name": f"Name{round_}"}
                writes, began = index.writes() + size.rename_orders, time.monotonic()
                await send(event("customers.CustomerNameChanged", RENAMED, round_, **rename))
                committed.append(await asyncio.to_thread(worker.until, events + 1 + round_) - began)
                named = {NAME: f"name{round_}"}
                ours.append(await asyncio.to_thread(index.found, size.rename_orders, writes, began, term=named))
                plain.append(await asyncio.to_thread(_bulk, index, beside, named, size.rename_orders))
    return ours, plain, committed


def _bulk(index: OrdersIndex, beside: str, named: dict[str, str], count: int) -> float:
    """Seconds until the renamed documents, ready-made, are found in an index that had them by their old name."""
    documents, writes = index.documents(term=named), index.writes(beside) + count
    began = time.monotonic()
    index.send(documents, beside)
    return index.found(count, writes, began, beside, term=named)


def _pgsync(where: Place, group: str, size: Size) -> tuple[list[float], dict[str, Any]]:
    """Seconds of each round, and what else there is to tell."""
    say("search: PGSync")
    theirs = list[float]()
    with pgsync.syncing(where, group) as synced, orders_index(where, group) as index:
        if synced.documents != index.count(pgsync.INDEX, match_all={}) or synced.documents != 2 * size.rename_orders:
            raise BenchError(f"PGSync made {synced.documents} documents of {2 * size.rename_orders} orders")
        for round_ in range(size.rename_warmups + size.rename_rounds):
            writes, began = index.writes(pgsync.INDEX) + size.rename_orders, time.monotonic()
            synced.connection.execute(RENAME, [f"Name{round_}", RENAMED])
            named = {pgsync.NAME: f"Name{round_}"}
            theirs.append(index.found(size.rename_orders, writes, began, pgsync.INDEX, term=named))
    return theirs, {"peer_first_documents_per_second": synced.documents / synced.seconds}

"""`prejoin rebuild --from-events` beside the live path on the same topics, and what new orders wait for meanwhile."""

import asyncio
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from bench.ingest import drain, peer_of
from bench.latency import sample, served, worst
from bench.libraries import EVENTSOURCING, eventsourcing
from bench.place import BenchError, Place, place, say
from bench.results import Result
from bench.shop_now import customer, product
from bench.sizes import Size
from bench.streams import shop
from projector.declare.projections import load
from projector.history.kafka import KafkaHistory
from projector.operate.copying import Copying, CopyStep
from projector.tpch import events

PROJECTIONS = "projections"


def measure(size: Size) -> Iterator[Result]:
    stream = list(events(size.rebuild_scale))
    with place() as where:
        group = where.migrated(PROJECTIONS)
        say(f"from events: the live path, {len(stream):,} events")
        live = drain(where, lambda: where.worker(group, PROJECTIONS), [customer("c1"), product("p1")], [stream])
        say("from events: anew")
        phases, seconds = anew(where, group)
        details = {"events": len(stream), "seconds_by_phase": phases}
        details["ours_wrong_rows"] = where.differing(group, PROJECTIONS)
        ours = len(stream) / seconds
        yield Result("rebuild from events/live path", ours, live.rate, "events/s", "ratio >= 3", details)
        yield from _peer(where, ours, size)
        yield from _meanwhile(where, group, size)


def anew(where: Place, group: str) -> tuple[dict[str, float], float]:
    """Seconds by phase, and of the whole."""
    projections = load(PROJECTIONS)
    history = KafkaHistory(where.brokers, projections.topics)
    began = time.perf_counter()
    phases: dict[str, float] = {}
    last, since = "beginning", began

    def tell(step: CopyStep) -> None:
        nonlocal last, since
        now = time.perf_counter()
        phases[last] = round(phases.get(last, 0.0) + now - since, 2)
        last, since = step.phase, now

    url, jobs = where.endpoints.database_url, os.cpu_count() or 1
    Copying(url, group, projections, history, jobs=jobs).run(tell)
    return phases, time.perf_counter() - began


def _peer(where: Place, ours: float, size: Size) -> Iterator[Result]:
    if reason := EVENTSOURCING.install():
        say(f"from events: eventsourcing is left out, for it cannot be installed: {reason}")
        return
    say("from events: eventsourcing")
    with peer_of(where, "loop", where.migrated("bench.orders_only")) as (_, schema):
        told = eventsourcing(where, schema, shop(size.ingest_scale).share(size.slow_orders))
    rate = told["events"] / told["seconds"]
    yield Result("rebuild from events/eventsourcing", ours, rate, "events/s", "ours >= 40000", {"peer_views": 1})


def _meanwhile(where: Place, group: str, size: Size) -> Iterator[Result]:
    """What a new order waits for, with one kind of rebuild after another, beside without any."""
    with where.worker(group, PROJECTIONS), where.api(group, PROJECTIONS) as url:

        async def waits(prefix: str) -> list[float]:
            async with aiohttp.ClientSession() as session:

                async def look(key: str) -> bool:
                    return await served(session, url, key)

                return (await sample(where, look, size.latency_rate, size.latency_seconds / 2, prefix, {}))[1]

        say("from events: what live events wait for")
        quiet = asyncio.run(waits("quiet"))
        for name, arguments in (("entities", []), ("events", ["--from-events"])):
            say(f"from events: what they wait for beside a rebuild from {name}")
            with rebuilding(where, group, arguments):
                found = asyncio.run(waits(name))
            what = {"events_per_second": size.latency_rate, "samples": len(found)}
            measure = f"live p99 beside a rebuild from {name}, without"
            yield Result(measure, worst(found), worst(quiet), "ms", "ratio < 3", what)


@contextmanager
def rebuilding(where: Place, group: str, arguments: list[str]) -> Iterator[None]:
    """One rebuild after the other, meanwhile."""
    over, failed = threading.Event(), list[Exception]()
    command = [sys.executable, "-m", "projector.cli", "rebuild", "--all", *arguments]

    def again() -> None:
        for run in itertools.count():
            with where.running(f"{group}_rebuild{run}", command, "", where.environment(group, PROJECTIONS)) as process:
                while process.popen.poll() is None:
                    if over.wait(0.05):
                        return
                if process.popen.returncode:
                    failed.append(BenchError(process.log.read_text()[-2000:]))
                    return

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]

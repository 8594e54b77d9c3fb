"""Millions of events through one worker: whether its rate falls and its memory grows.

Events come by time, in backlogs of equal size, each drained before the next is published: of one large backlog a worker
reads the topics at their own pace, and its end is of other kinds of events than its beginning.
"""

import statistics
import time
from collections.abc import Iterator
from itertools import islice

from bench.place import Process, place, say
from bench.results import Result
from bench.sizes import Size
from bench.streams import TOPICS
from projector.tpch import events

SECONDS_BETWEEN_LOOKS = 0.1


def measure(size: Size) -> Iterator[Result]:
    with place() as where:
        where.fresh_topics(TOPICS)
        group = where.migrated("projections")
        stream, done, rates, memories = iter(events(size.endurance_scale)), 0, list[float](), list[float]()
        with where.worker(group, "projections") as process:
            while backlog := list(islice(stream, size.endurance_window)):
                process.freeze()
                where.publish(backlog)
                done += len(backlog)
                rates.append(len(backlog) / drained(process, done, memories))
                say(f"endurance: {done:,} events, {rates[-1]:,.0f} events/s, {memories[-1]:.0f} MB")
    # the first is of customers and products, and begins with a start; the last is not whole
    first, last = statistics.mean(rates[1:4]), statistics.mean(rates[-4:-1])
    details = {"events": done, "window": size.endurance_window, "rates": [round(rate) for rate in rates]}
    yield Result("endurance/rate, late and early", last, first, "events/s", "ratio >= 0.8", details)
    half = memories[len(memories) // 2]
    details = {"highest": max(memories), "events": done}
    yield Result("endurance/memory, at the end and half-way", memories[-1], half, "MB", "highest < 300", details)


def drained(process: Process, done: int, memories: list[float]) -> float:
    """Seconds until so many events are applied, its memory (MB) noted meanwhile."""
    began = process.thaw()
    while process.applied() < done:
        memories.append(process.memory)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    memories.append(process.memory)
    return time.monotonic() - began

"""Millions of events through one worker: whether its rate falls and its memory grows."""

import statistics
import time
from collections.abc import Iterator

from bench.place import place, say
from bench.results import Result
from bench.sizes import Size
from bench.streams import TOPICS
from projector.tpch import events

WINDOW = 100_000  # events, by which rates are told
SECONDS_BETWEEN_LOOKS = 0.1


def measure(size: Size) -> Iterator[Result]:
    with place() as where:
        where.fresh_topics(TOPICS)
        say(f"endurance: publishing TPC-H at scale {size.endurance_scale:g}")
        total = where.publish(events(size.endurance_scale))
        say(f"endurance: {total:,} events")
        group = where.migrated("projections")
        looks: list[tuple[float, int, float]] = []  # moment, events applied, memory in MB
        with where.worker(group, "projections") as process:
            process.until(1)
            while not looks or looks[-1][1] < total:
                looks.append((time.monotonic(), process.applied(), process.memory))
                time.sleep(SECONDS_BETWEEN_LOOKS)
    windows = rates(looks, size.endurance_window)
    early, late = windows[1:3], windows[-3:-1]  # the first begins with a start, the last is not whole
    first, last = statistics.mean(early), statistics.mean(late)
    memories = [memory for *_, memory in looks]
    details = {"events": total, "window": size.endurance_window, "rates": [round(rate) for rate in windows]}
    yield Result("endurance/rate, late and early", last, first, "events/s", "ratio >= 0.8", details)
    half = memories[len(memories) // 2]
    details = {"highest": max(memories), "events": total}
    yield Result("endurance/memory, at the end and half-way", memories[-1], half, "MB", "highest < 300", details)


def rates(looks: list[tuple[float, int, float]], window: int) -> list[float]:
    """Events a second, window by window, from looks at what was applied; a window ends at the first look behind it."""
    found, (start, done, _) = [], looks[0]
    for moment, applied, _ in looks:
        if applied - done >= window:
            found.append((applied - done) / (moment - start))
            start, done = moment, applied
    return found

"""The applier alone: events in memory to committed views, beside the same rows COPYed into the same indexed tables."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench import limits
from bench.place import JARS, BenchError, say
from bench.results import Result
from bench.sizes import Size
from projector.apply.applier import Applier
from projector.apply.batch import Chunk, Outcome, TopicPartition
from projector.declare.projections import Projections, load
from projector.embedded import Stack
from projector.store.migrate import migrate
from projector.tpch import events
from schemas.envelope import RawRecord

GROUP = "bench"
BATCH = 20_000


@dataclass
class Applied:
    """What the stream by time has become: views in the database at `url`."""

    url: str
    projections: Projections
    events: int
    seconds: float
    outcome: Outcome


def measure(size: Size) -> Iterator[Result]:
    with applied(size) as found:
        copied, rows = limits.copy_all(found.url, GROUP, "projections")
    details = {"events": found.events, "rows": rows, "rows_written": sum(found.outcome.rows.values())}
    details["seconds_by_phase"] = {phase: round(spent, 3) for phase, spent in found.outcome.seconds.items()}
    yield Result("applier/COPY", found.events / found.seconds, found.events / copied, "events/s", None, details)


@contextmanager
def applied(size: Size) -> Iterator[Applied]:
    """A Postgres of its own with the whole stream applied, gone at the end."""
    projections = load("projections")
    say("making events")
    batches = list(in_batches(size.ingest_scale, BATCH))
    with (
        tempfile.TemporaryDirectory(prefix="prejoin-bench-") as root,
        Stack(Path(root), ("postgres",), cache=JARS) as it,
    ):
        url = it.endpoints.database_url
        migrate(url, None, GROUP, projections)
        say("applying them")
        seconds, outcome = apply_all(url, projections, batches)
        yield Applied(url, projections, sum(len(c.records) for batch in batches for c in batch), seconds, outcome)


def in_batches(scale: float, size: int) -> Iterator[list[Chunk]]:
    """The stream by time, one partition a topic, cut as the worker would cut a backlog."""
    records, offsets = events(scale), dict[str, int]()
    while part := list(islice(records, size)):
        by_topic: dict[str, list[RawRecord]] = {}
        for event in part:
            its = by_topic.setdefault(event.topic, [])
            offset = offsets.get(event.topic, 0) + len(its)
            its.append(RawRecord(event.topic, 0, offset, event.key, event.value, event.headers, 0))
        chunks = []
        for topic, its in by_topic.items():
            after = its[-1].offset + 1
            chunks.append(Chunk(TopicPartition(topic, 0), offsets.get(topic), after, its))
            offsets[topic] = after
        yield chunks


def apply_all(url: str, projections: Projections, batches: list[list[Chunk]]) -> tuple[float, Outcome]:
    applier, outcome = Applier(url, GROUP, projections), Outcome()
    started = time.perf_counter()
    for batch in batches:
        outcome.add(applier.apply(batch))
    while applier.drain():
        pass
    seconds = time.perf_counter() - started
    applier.close()
    if outcome.dead_letters or outcome.refused or outcome.duplicates:
        raise BenchError("something was not applied: the figure would not be of the whole stream")
    return seconds, outcome

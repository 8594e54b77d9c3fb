"""The applier alone: events in memory to committed views, against the same rows COPYed into the same indexed tables.

Starts a Postgres of its own. Prints one JSON object; what it tells of itself meanwhile goes to stderr.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psycopg

from projector.apply.applier import Applier
from projector.apply.batch import Chunk, Outcome, TopicPartition
from projector.declare.entity import FILLFACTOR
from projector.declare.projections import Projections, load
from projector.embedded import Stack
from projector.store.connect import connect
from projector.store.definitions import entity_tables
from projector.store.migrate import migrate
from projector.store.names import generation_name
from projector.tpch import events
from schemas.envelope import RawRecord

GROUP = "bench"
JARS = Path(".prejoin/lib")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scale", type=float, default=0.01, help="TPC-H's scale; 0.01 is 136,000 events")
    options.add_argument("--batch", type=int, default=20_000, help="records in a transaction")
    asked = options.parse_args()
    projections = load("projections")
    print("making events", file=sys.stderr)
    batches = list(in_batches(asked.scale, asked.batch))
    with (
        tempfile.TemporaryDirectory(prefix="prejoin-bench-") as root,
        Stack(Path(root), ("postgres",), cache=JARS) as it,
    ):
        url = it.endpoints.database_url
        migrate(url, None, GROUP, projections)
        print("applying", file=sys.stderr)
        seconds, outcome = apply_all(url, projections, batches)
        print("copying", file=sys.stderr)
        copied, rows = copy_all(url, projections)
    count = sum(len(chunk.records) for batch in batches for chunk in batch)
    report = {
        "scale": asked.scale,
        "batch": asked.batch,
        "events": count,
        "applier": {
            "seconds": round(seconds, 3),
            "events_per_second": round(count / seconds),
            "rows_written": sum(outcome.rows.values()),
            "seconds_by_phase": {phase: round(spent, 3) for phase, spent in outcome.seconds.items()},
        },
        "copy": {"seconds": round(copied, 3), "rows": rows},
        "applier_seconds_per_copy_second": round(seconds / copied, 2),
    }
    print(json.dumps(report))


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
        raise SystemExit("something was not applied: the figure would not be of the whole stream")
    return seconds, outcome


def copy_all(url: str, projections: Projections) -> tuple[float, int]:
    """The end state once more, table by table: a transaction of one COPY each, indexes in place."""
    tables = [table.name for entity in projections.entities for table in entity_tables(entity)]
    tables += [generation_name(r.name, 1) for r in projections.relations if r.stored]
    seconds, rows = 0.0, 0
    with connect(url, GROUP, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS bench_copy")
        for table in tables:
            target = f'bench_copy."{table}"'
            connection.execute(f'CREATE TABLE {target} (LIKE "{table}" INCLUDING ALL) WITH (fillfactor = {FILLFACTOR})')
            with connection.cursor().copy(f'COPY "{table}" TO STDOUT (FORMAT binary)') as copy:
                data = b"".join(bytes(part) for part in copy)
            seconds += copy_in(connection, target, data)
            rows += (connection.execute(f"SELECT count(*) FROM {target}").fetchone() or (0,))[0]
    return seconds, rows


def copy_in(connection: psycopg.Connection, target: str, data: bytes) -> float:
    started = time.perf_counter()
    with connection.cursor().copy(f"COPY {target} FROM STDIN (FORMAT binary)") as copy:
        copy.write(data)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

"""The worker's Prometheus metrics, on a port of their own."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from projector.apply.batch import Chunk, Outcome, TopicPartition
from projector.metrics import serve

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RECORDS = (1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)


class Metrics:
    """What one worker counts; names and units by Prometheus' conventions."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a time beside each counter that nobody asks for
        self.registry = every = CollectorRegistry()
        ProcessCollector(registry=every)
        self._records = Counter("prejoin_records", "Records read from Kafka and committed.", ["topic"], registry=every)
        self._events = Counter("prejoin_events", "Events, by what became of them.", ["outcome"], registry=every)
        self._batches = Counter("prejoin_batches", "Transactions of the applier.", registry=every)
        self._seconds = Histogram(
            "prejoin_apply_seconds",
            "Seconds that a batch, or a chunk in decode, spent in a phase.",
            ["phase"],
            buckets=_SECONDS,
            registry=every,
        )
        self._size = Histogram("prejoin_batch_records", "Records in a batch.", buckets=_RECORDS, registry=every)
        self._letters = Counter("prejoin_dead_letters", "Records turned away.", ["reason"], registry=every)
        self._rows = Counter("prejoin_rows_written", "Rows written.", ["relation"], registry=every)
        self._refused = Counter("prejoin_refused_chunks", "Chunks that did not start at the position.", registry=every)
        self._retries = Counter("prejoin_batch_retries", "Batches tried again, Postgres being away.", registry=every)
        self._lag = Gauge("prejoin_lag", "Offsets left to apply.", ["topic", "partition"], registry=every)
        self._pending = Gauge("prejoin_pending", "Keys still to be refreshed.", registry=every)
        self._verified = Counter(
            "prejoin_worker_verified_rows", "Rows and documents compared while working.", ["view"], registry=every
        )
        self._drift = Gauge(
            "prejoin_worker_drift_rows", "Rows known to differ from what they should be.", ["view", "kind"],
            registry=every,
        )  # fmt: skip
        self._drifted: set[tuple[str, str]] = set()
        self._as_of_age = Gauge("prejoin_as_of_seconds", "Seconds since As-Of.", registry=every)

    def applied(self, chunks: Iterable[Chunk], outcome: Outcome) -> None:
        """Count a batch; chunks that were refused are not in it."""
        accepted = [chunk for chunk in chunks if chunk.partition not in outcome.refused]
        self._batches.inc()
        self._size.observe(sum(len(chunk.records) for chunk in accepted))
        for chunk in accepted:
            self._records.labels(chunk.partition.topic).inc(len(chunk.records))
        for name, count in (
            ("applied", outcome.applied),
            ("duplicate", outcome.duplicates),
            ("ignored", outcome.ignored),
            ("dead_letter", sum(outcome.dead_letters.values())),
        ):
            self._events.labels(name).inc(count)
        for reason, count in outcome.dead_letters.items():
            self._letters.labels(reason).inc(count)
        for relation, count in outcome.rows.items():
            self._rows.labels(relation).inc(count)
        for phase, spent in outcome.seconds.items():
            self._seconds.labels(phase).observe(spent)
        self._refused.inc(len(outcome.refused))

    def decoded(self, seconds: float) -> None:
        """Tell how long a chunk took to decode, which happens while the batch before it is applied."""
        self._seconds.labels("decode").observe(seconds)

    def retried(self) -> None:
        """Count a batch that is tried again."""
        self._retries.inc()

    def pending(self, keys: int) -> None:
        """Tell how many keys are pending."""
        self._pending.set(keys)

    def lag(self, lags: Mapping[TopicPartition, int]) -> None:
        """Tell how many offsets each partition, of this worker or not, has left."""
        for partition, left in lags.items():
            self._lag.labels(partition.topic, partition.partition).set(left)

    def as_of(self, at: datetime) -> None:
        """Tell As-Of; its age is taken when somebody asks."""
        self._as_of_age.set_function(lambda: time.time() - at.timestamp())

    def verified(self, view: str, rows: int) -> None:
        """Count rows of a view, or documents of its index, that were compared with what they should be."""
        self._verified.labels(view).inc(rows)

    def drift(self, known: Mapping[tuple[str, str], int]) -> None:
        """Tell what is known to differ: view and kind → how many rows; what is not named does not differ any more."""
        self._drifted |= known.keys()
        for view, kind in self._drifted:
            self._drift.labels(view, kind).set(known.get((view, kind), 0))

    def serve(self, host: str, port: int) -> tuple[WSGIServer, Thread, int]:
        """Answer at host:port: `projector.metrics.serve` tells more."""
        return serve(self.registry, host, port)

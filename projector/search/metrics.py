"""The indexer's Prometheus metrics."""

import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """What one indexer counts, by view; names and units by Prometheus' conventions."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a time beside each counter that nobody asks for
        self.registry = every = CollectorRegistry()
        ProcessCollector(registry=every)
        self._documents = Counter(
            "prejoin_search_documents",
            "Changes of rows sent to the search index, by what became of them.",
            ["view", "outcome"],
            registry=every,
        )
        self._seconds = Histogram(
            "prejoin_search_bulk_seconds",
            "Seconds that a bulk took, waits and repeats included.",
            ["view"],
            buckets=_SECONDS,
            registry=every,
        )
        self._retries = Counter(
            "prejoin_search_retries", "Requests made again, by why.", ["view", "reason"], registry=every
        )
        self._outbox = Gauge("prejoin_search_outbox", "Keys that the index has yet to see.", ["view"], registry=every)
        self._age = Gauge(
            "prejoin_search_outbox_age_seconds", "Seconds that the oldest of them waits.", ["view"], registry=every
        )
        self._leads = Gauge(
            "prejoin_search_leads", "1 where this process keeps the view's index.", ["view"], registry=every
        )

    def sent(self, view: str, seconds: float, outcomes: Mapping[str, int]) -> None:
        """Count a bulk: each change is indexed, deleted, refused, or a conflict: the index has a later one."""
        self._seconds.labels(view).observe(seconds)
        for outcome, count in outcomes.items():
            self._documents.labels(view, outcome).inc(count)

    def retried(self, view: str, reason: str) -> None:
        """Count a request that is made again."""
        self._retries.labels(view, reason).inc()

    def outbox(self, view: str, keys: int, since: float | None) -> None:
        """Tell what waits, and since when (Unix time); the age is taken when somebody asks."""
        self._outbox.labels(view).set(keys)
        self._age.labels(view).set_function(lambda: 0.0 if since is None else time.time() - since)

    def leads(self, view: str, does: bool) -> None:
        """Tell whether this process keeps the view's index."""
        self._leads.labels(view).set(int(does))

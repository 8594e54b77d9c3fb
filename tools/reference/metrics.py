"""The Prometheus metrics of worker, indexer and API, from their registries."""

from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from projector.ingest.metrics import Metrics as WorkerMetrics
from projector.search.metrics import Metrics as IndexerMetrics
from read_api.database import Database
from read_api.metrics import Metrics as ApiMetrics
from tools.reference.markdown import codes, paragraphs, table

ABOUT = """Worker and indexer answer at `/metrics` on `PREJOIN_METRICS_PORT`, the API on its own port. What they mean to
who operates them: [operate](../how-to/operate.md). A dashboard and alert rules: [watch it](../how-to/watch.md)."""


class Metric(NamedTuple):
    """One family: its name without suffix, kind, help, labels, and the names of the series that a scrape finds."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    series: tuple[str, ...]


def registries() -> dict[str, CollectorRegistry]:
    """The registry of each process; nothing connects."""
    database = Database("postgresql://nobody@localhost/nothing", "prejoin")
    return {
        "worker": WorkerMetrics().registry,
        "indexer": IndexerMetrics().registry,
        "api": ApiMetrics(database).registry,
    }


def metrics(registry: CollectorRegistry) -> Iterator[Metric]:
    """What a registry holds, in the order in which it was made."""
    # prometheus-client tells names and labels of what has no value yet by private attributes alone
    for collector, names in registry._collector_to_names.items():
        labels = tuple(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            own = [name for name in names if name.startswith(family.name) and not name.endswith("_created")]
            series = {"counter": [f"{family.name}_total"], "histogram": [n for n in own if n != family.name]}
            shown = series.get(family.type, [family.name])
            yield Metric(family.name, family.type, family.documentation, labels, tuple(sorted(shown)))


def page() -> str:
    """The page."""
    parts = []
    for process, registry in registries().items():
        rows = [(codes(m.series), m.kind, codes(m.labels), m.help) for m in metrics(registry)]
        parts += [f"## {process}", table(("name", "kind", "labels", ""), rows)]
    return paragraphs("# Metrics", ABOUT, *parts)

"""What `/metrics` tells Prometheus: requests by route template, their seconds, and the use of the pool."""

from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from read_api.database import Database

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = ("GET", "HEAD")


class Metrics:
    """The metrics of one application; labels take few values, whatever a client sends."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "prejoin_api_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "prejoin_api_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self._searches = Counter(
            "prejoin_api_searches",
            "Searches answered, by what answered; degraded: Postgres in place of Elasticsearch",
            ["view", "backend", "degraded"],
            registry=self.registry,
        )
        pool = Gauge("prejoin_api_pool", "Database connections and who waits for one", ["of"], registry=self.registry)
        for of, name in (("open", "pool_size"), ("idle", "pool_available"), ("waiting", "requests_waiting")):
            pool.labels(of).set_function(partial(_stat, database, name))

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "unmatched")
        requests, its = self._children(method, route, status)
        requests.inc()
        its.observe(seconds)

    @cache  # noqa: B019 - of one application, whose labels take few values
    def _children(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Found once: looking up labels takes longer than counting."""
        return self._requests.labels(method, route, status), self._seconds.labels(route)

    def searched(self, view: str, backend: str, degraded: bool) -> None:
        """Count one search."""
        self._searches.labels(view, backend, str(degraded).lower()).inc()

    async def show(self, _request: Request) -> Response:
        """`GET /metrics`."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


def _stat(database: Database, name: str) -> float:
    return float(database.pool.get_stats().get(name, 0))

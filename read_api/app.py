"""The application: one list and one row for each served view, and what tells how the service is."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from projector.declare.personal import personal_columns
from projector.declare.projections import load
from projector.settings import Settings, read_settings
from projector.store.definitions import relation_digests
from read_api import dashboard
from read_api.access.gate import Access, Gate
from read_api.access.rates import Rates
from read_api.boundary import Boundary
from read_api.changes.endpoint import CONNECTIONS, Streams
from read_api.compression import Compression
from read_api.database import SEARCHES, Database
from read_api.docs import docs_page
from read_api.export.endpoint import EXPORTS, LIMITS, Exports, export_handler
from read_api.freshness import Waiters
from read_api.health import AskEnds, Health
from read_api.lookups import Lookups
from read_api.metrics import Metrics
from read_api.openapi.document import document
from read_api.problems import Problem, on_defect, on_http_exception, on_problem
from read_api.reading import Reader
from read_api.resource import Resource, nested
from read_api.routes import Handler, PlainRoute, Routes
from read_api.search.elastic import Elastic
from read_api.search.endpoint import Backends, search_handler
from read_api.search.postgres import Postgres
from read_api.views import list_handler, one_handler

DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
CORS: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD"],
    "allow_headers": ["Authorization", "If-None-Match", "Last-Event-ID", "Prefer", "Prejoin-Min-Position"],
    "expose_headers": [
        "ETag", "Link", "Preference-Applied", "Prejoin-As-Of", "Prejoin-Lag", "Prejoin-Position",
        "RateLimit", "RateLimit-Policy", "Retry-After",
    ],
}  # fmt: skip
PLAIN: dict[str, Any] = {
    "docs_url": None,
    "redoc_url": None,
    "redirect_slashes": False,
    # spans would hold paths and queries, and so values of rows, wherever a process has OpenTelemetry set up
    "telemetry": {"tracing": False, "metrics": False, "logs": False},
}


def create_app(settings: Settings | None = None, ends: AskEnds | None = None) -> FastAPI:
    """The read API over the views that PREJOIN_PROJECTIONS declares; several may live in one process.

    `ends` asks the broker where its partitions end; without it, /v1/status tells what a worker noted last.
    It starts whether the database answers or not; until it does, requests get 503. Raises SettingError and
    DeclarationError.
    """
    settings = settings or read_settings()
    projections = load(settings.projections)
    database = Database(settings.reader_url, settings.group)
    searches = Database(settings.reader_url, settings.group, SEARCHES)
    downloads = Database(settings.reader_url, settings.group, EXPORTS, LIMITS)
    waiters = Waiters(database)
    reader = Reader(database, waiters)
    personal, digests = personal_columns(projections), relation_digests(projections)
    resources = [
        Resource(
            relation,
            digests[relation.name],
            (name for found in personal.get(relation.name, ()) for name in found.columns),
        )
        for relation in projections.served
    ]
    access = Access(database, settings)
    follows = Database(settings.reader_url, settings.group, CONNECTIONS)
    streams = Streams(resources, projections.feeds, follows, settings, access.still)
    elastic = Elastic(settings.search_urls) if settings.elasticsearch_url else None
    metrics = Metrics(database)
    backends = Backends(database, Postgres(Reader(searches, waiters)), elastic, settings.group, metrics.searched)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            await running.enter_async_context(database.running())
            await running.enter_async_context(searches.running())
            await running.enter_async_context(follows.running())
            await running.enter_async_context(downloads.running())
            if elastic:
                await running.enter_async_context(elastic.running())
            yield
            await streams.close()
            await waiters.close()

    app = FastAPI(title="Prejoin", lifespan=lifespan, **PLAIN)
    app.exception_handler(Problem)(on_problem)
    app.exception_handler(HTTPException)(on_http_exception)
    app.exception_handler(Exception)(on_defect)
    framework = app.build_middleware_stack

    def layers() -> ASGIApp:
        """Ours around the framework's, which are for what Routes does not find; made at the first request."""
        inner: ASGIApp = Compression(Routes(framework(), app.router.routes))
        inner = Gate(inner, access, Rates(settings.api_rate))
        if settings.origins:
            inner = CORSMiddleware(inner, allow_origins=settings.origins, **CORS)
        return Boundary(inner, metrics, settings.api_log)

    app.build_middleware_stack = layers  # type: ignore[method-assign]
    app.state.streams = streams  # whoever serves the application stops them first: open streams would hold its end up
    _route_services(app, Health(database, projections, ends), metrics)
    _route_views(app, resources, reader, backends, Exports(downloads, reader), streams)
    _route_documents(app, resources)
    for path, handler in dashboard.handlers(settings.demo, [resource.path for resource in resources]).items():
        _get(app, path, handler)
    return app


def _get(app: FastAPI, path: str, handler: Handler) -> None:
    """Add a route for GET, and with it HEAD."""
    app.router.routes.append(PlainRoute(path, handler))


def _route_services(app: FastAPI, health: Health, metrics: Metrics) -> None:
    _get(app, "/livez", health.live)
    _get(app, "/readyz", health.ready)
    _get(app, "/v1/status", health.status)
    _get(app, "/metrics", metrics.show)


def _route_views(
    app: FastAPI, resources: list[Resource], reader: Reader, backends: Backends, exports: Exports, streams: Streams
) -> None:
    lookups = Lookups(reader)
    for resource in resources:
        _get(app, resource.path, list_handler(resource, reader))
        # before the route of one row: no row can have the key `search`, `export` or `changes`
        _get(app, f"{resource.path}/changes", streams.handler(resource))
        if resource.search:
            _get(app, f"{resource.path}/search", search_handler(resource, backends))
        _get(app, f"{resource.path}/export", export_handler(resource, exports))
        _get(app, resource.one_path, one_handler(resource, lookups))
    for parent, child, path in nested(resources):
        _get(app, path, list_handler(child, reader, parent))


def _route_documents(app: FastAPI, resources: list[Resource]) -> None:
    described = document(resources)
    page = docs_page(described)
    app.openapi = lambda: described  # type: ignore[method-assign]

    async def docs(_request: Request) -> Response:
        return Response(page, headers={"Content-Security-Policy": DOCS_POLICY}, media_type="text/html")

    _get(app, "/docs", docs)

"""The indexer process: an indexer for each view with `search=`, metrics, and a clean stop."""

import asyncio
import logging
import signal

from projector import logs, metrics
from projector.declare.projections import Projections, load
from projector.errors import DeclarationError
from projector.memory import tame_garbage_collection
from projector.search.client import connect
from projector.search.indexer import ViewIndexer, keep_all
from projector.search.metrics import Metrics
from projector.settings import Settings
from projector.store.connect import connect as connect_postgres

log = logs.logger(__name__)


def run(settings: Settings) -> None:
    """Run an indexer until SIGTERM, or SIGINT (KeyboardInterrupt then); raises PrejoinError for each reason to leave.

    A Postgres that cannot be reached is one at the start only; Elasticsearch may be away at any time.
    """
    projections = load(settings.projections)
    urls = settings.search_urls
    if not projections.searched:
        raise DeclarationError(f"no view of {settings.projections} declares search=: there is nothing to index")
    connect_postgres(settings.writer_url, settings.group).close()
    logs.configure(settings.log_level)
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)  # what it logs comes as an error
    if asyncio.run(_run(settings, projections, urls)) == signal.SIGINT:
        raise KeyboardInterrupt


async def _run(settings: Settings, projections: Projections, urls: list[str]) -> int | None:
    tame_garbage_collection()
    counted = Metrics()
    server, thread, port = metrics.serve(counted.registry, settings.metrics_host, settings.metrics_port)
    log.info("metrics", action="metrics", url=f"http://{settings.metrics_host}:{port}/metrics")
    try:
        async with connect(urls) as client:
            indexers = [
                ViewIndexer(settings.writer_url, settings.group, projections, view, client, counted)
                for view in projections.searched
            ]
            return await _until_told(asyncio.create_task(keep_all(indexers)))
    finally:
        server.shutdown()
        thread.join()
        log.info("stopped", action="stopped")


async def _until_told(work: asyncio.Task[None]) -> int | None:
    """Let it run until it raises, or a signal says stop: what is under way is left, and sent again by the next."""
    told: int | None = None

    def stop(number: int) -> None:
        nonlocal told
        told = number
        work.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        await work
    except asyncio.CancelledError:
        if told is None:
            raise
    return told

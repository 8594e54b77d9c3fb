"""`prejoin demo`: the whole system on embedded servers, from TPC-H's orders as domain events to answers."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from projector.cli import trials
from projector.cli.console import note, progress, report
from projector.cli.interrupts import run
from projector.cli.search import Place
from projector.cli.trials import ADDRESS, ROOT, SEARCH_OFF
from projector.cli.verify import advancing
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.embedded import Stack
    from projector.embedded.process import Child
    from projector.operate.verify import Verified
    from projector.search.verify import SearchVerified

SECONDS_TO_START, SECONDS_WITHOUT_PROGRESS = 60.0, 90.0
SECONDS_BETWEEN_LOOKS = 0.2
_SEARCHED = "SELECT (SELECT count(*) FROM outbox), (SELECT count(search) FROM served)"
_APPLIED = "SELECT coalesce(sum(next), 0)::bigint, (SELECT count(*) FROM pending) FROM positions"


def register(app: typer.Typer) -> None:
    """Add this command, and those to try while it runs, to the command line."""
    group = typer.Typer(invoke_without_command=True)
    group.callback(epilog="Example: prejoin demo --once --scale 0.001")(demo)
    trials.register(group)
    app.add_typer(group, name="demo", short_help="Run the whole system on embedded servers.")


def demo(
    context: typer.Context,
    scale: Annotated[float, typer.Option(min=0.0001, max=100, help="TPC-H's scale; 0.01 is 15,000 orders.")] = 0.01,
    once: Annotated[bool, typer.Option("--once", help="Stop when all is projected and verified.")] = False,
    rate: Annotated[float, typer.Option(min=0, max=1_000, help="New events a second afterwards.")] = 5.0,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The API's port.")] = 8000,
) -> None:
    """Run everything on embedded servers: events through Kafka into views, served by the API and the dashboard.

    Each run starts from nothing, in .prejoin/demo. Exit 1 if verify finds drift. The commands are to be tried, from
    another terminal, while it runs.
    """
    if context.invoked_subcommand:
        return
    from projector.embedded import Stack

    with _alone(port), Stack(ROOT, on_progress=note) as servers, ExitStack() as processes:
        environment = {
            **servers.endpoints.environment(),
            "PREJOIN_API_HOST": "127.0.0.1",
            "PREJOIN_API_PORT": str(port),
            "PREJOIN_METRICS_PORT": "0",
            "PREJOIN_GROUP": "prejoin",
            "PREJOIN_PROJECTIONS": "projections",
            "PREJOIN_DEMO": "true",
        }
        try:
            drifted = _Demo(servers, environment, f"http://127.0.0.1:{port}", processes).run(scale, once, rate)
        finally:
            note("stopping")
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # what follows takes seconds, and leaves nothing running
    raise typer.Exit(1 if drifted else 0)


@contextmanager
def _alone(port: int) -> Iterator[None]:
    """Hold the demo's folder, empty, with nothing running in it; raises PrejoinError where it or the port is taken."""
    from projector.embedded import Stack
    from projector.embedded.files import try_lock

    lock = try_lock(ROOT.with_suffix(".lock"))  # beside the folder, which is removed
    if lock is None:
        raise PrejoinError(f"a demo runs in {ROOT.resolve()} already: stop that one, or start this in another folder")
    with lock:
        for command in ("worker", "indexer", "api"):
            _child(command).end_leftover()
        _refuse_taken(port)
        Stack.take_down(ROOT)
        shutil.rmtree(ROOT, ignore_errors=True)
        yield


class _Demo:
    def __init__(self, servers: "Stack", environment: dict[str, str], api: str, processes: ExitStack) -> None:
        self._servers, self._environment, self._api, self._processes = servers, environment, api, processes
        self._writer = environment["PREJOIN_DATABASE_URL"]
        self._brokers = environment["PREJOIN_KAFKA_BROKERS"].split(",")
        self._group = environment["PREJOIN_GROUP"]
        self._search_off = False

    def run(self, scale: float, once: bool, rate: float) -> bool:
        """Returns whether verify found drift."""
        from projector.declare.projections import load
        from projector.embedded.files import write_json
        from projector.publish import ensure_topics
        from projector.store.migrate import migrate

        projections = load(self._environment["PREJOIN_PROJECTIONS"])
        database = (self._writer, self._environment["PREJOIN_READ_DATABASE_URL"], self._group, projections)
        migrate(*database)
        run(ensure_topics(self._brokers, projections.topics, 4))
        worker = self._processes.enter_context(_process("worker", self._environment))
        indexer = self._processes.enter_context(_process("indexer", self._environment))
        api = self._processes.enter_context(_process("api", self._environment))
        self._wait_for_api(api)
        note(f"the API answers on {self._api}, its documentation on {self._api}/docs")
        write_json(ADDRESS, {"url": self._api})
        started = time.monotonic()
        published = self._publish(scale)
        self._wait_until_applied(published, worker)
        seconds = time.monotonic() - started
        lag = self._wait_until_searchable(projections, indexer)
        migrate(*database, word_indexes=True)  # made of all rows at once, faster than row by row
        found, indexes = self._verify(projections)
        self._sum_up(published, seconds, found)
        documents = sum(v.documents for v in indexes)
        report(f"{documents:,} documents in the search index, {lag:.1f} s behind the views at the end")
        sys.stdout.flush()  # the demo may live on for hours
        if not once:
            self._say_what_to_try()
        drifted = any(v.different for v in found) or any(v.different for v in indexes)
        if not once and not drifted:
            note(f"{rate:g} new events a second are on their way; press Ctrl-C to stop")
            run(self._live(scale, rate, worker))
        return drifted

    def _say_what_to_try(self) -> None:
        here = "" if shutil.which("prejoin") else f" (prejoin is {sys.argv[0]})"  # `make demo` calls it by its path
        note(f"open {self._api}/ for the dashboard, and try from another terminal{here}:")
        note("  prejoin demo rename      a customer gets another name, and with it all of its orders")
        note("  prejoin demo search off  Elasticsearch stops, and search goes on; `search on` starts it again")
        note("  prejoin demo rebuild     a view is made anew, and no reader notices")
        note(f'  curl "{self._api}/v1/orders/search?q=maria+wagner&facets=status&limit=3"')

    def _publish(self, scale: float) -> int:
        from projector import tpch
        from projector.publish import publish

        with progress("events published", round(tpch.EVENTS_PER_SCALE * scale)) as advance:  # about so many
            return run(publish(self._brokers, tpch.events(scale), on_progress=advance)).count

    def _wait_until_applied(self, published: int, worker: "Child") -> None:
        from projector.store.connect import connect

        done, moved = 0, time.monotonic()
        with progress("events applied", published) as advance, connect(self._writer, self._group) as connection:
            connection.autocommit = True
            while True:
                applied, pending = connection.execute(_APPLIED).fetchone() or (0, 0)
                if applied != done:
                    advance(applied - done)
                    done, moved = applied, time.monotonic()
                if done >= published and not pending:
                    return
                _refuse_ended(worker)
                if time.monotonic() - moved > SECONDS_WITHOUT_PROGRESS:
                    raise PrejoinError(
                        f"the worker made no progress for {SECONDS_WITHOUT_PROGRESS:.0f} s: see {worker.log}"
                    )
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def _wait_until_searchable(self, projections: "Projections", indexer: "Child") -> float:
        """Returns the seconds that the index was behind the views."""
        from projector.store.connect import connect

        left, began = 0, time.monotonic()
        moved = began
        with progress("keys on their way to the index"), connect(self._writer, self._group) as connection:
            connection.autocommit = True
            while True:
                keys, served = connection.execute(_SEARCHED).fetchone() or (0, 0)
                if served == len(projections.searched) and not keys:
                    return time.monotonic() - began
                if keys != left:
                    left, moved = keys, time.monotonic()
                _refuse_ended(indexer)
                if time.monotonic() - moved > SECONDS_WITHOUT_PROGRESS:
                    raise PrejoinError(
                        f"the indexer made no progress for {SECONDS_WITHOUT_PROGRESS:.0f} s: see {indexer.log}"
                    )
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def _verify(self, projections: "Projections") -> "tuple[list[Verified], list[SearchVerified]]":
        from projector.cli.search import verify_search
        from projector.operate.verify import Verifier

        verifier = Verifier(self._writer, self._group, projections)
        with closing(verifier), progress("rows verified") as advance:
            found = [verifier.verify(relation, False, advancing(advance)) for relation in projections.relations]
        at = Place(self._writer, [self._environment["PREJOIN_ELASTICSEARCH_URL"]], self._group, projections)
        return found, list(verify_search(at, projections.searched).values())

    def _sum_up(self, published: int, seconds: float, found: "list[Verified]") -> None:
        from rich.table import Table

        table = Table("view", "rows", "that differ from their definition")
        for v in found:
            table.add_row(v.view, f"{v.rows:,}", f"{v.different:,}")
        report(table)
        rate = f"{published / seconds:,.0f} events/s from generator to committed views"
        report(f"{published:,} events in {seconds:.1f} s: {rate}")
        different = sum(v.different for v in found)
        report(f"verify found {different:,} rows that differ" if different else "verify found no drift")

    async def _live(self, scale: float, rate: float, worker: "Child") -> None:
        from projector import tpch
        from projector.publish import Publisher

        events = tpch.live_events(scale, tpch.shop_clock(scale, rate))
        async with Publisher(self._brokers) as publisher:
            while True:
                _refuse_ended(worker)
                await self._switch_search()
                if rate:
                    await publisher.send([next(events)])
                await asyncio.sleep(1 / rate if rate else 1.0)

    async def _switch_search(self) -> None:
        """Stop Elasticsearch, or start it again, as `prejoin demo search` has asked for."""
        if SEARCH_OFF.exists() == self._search_off:
            return
        self._search_off = not self._search_off
        act = self._servers.stop_service if self._search_off else self._servers.start_service
        await asyncio.to_thread(act, "elasticsearch")

    def _wait_for_api(self, api: "Child") -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            _refuse_ended(api)
            try:
                with urllib.request.urlopen(f"{self._api}/readyz", timeout=2):  # noqa: S310 - our own address
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    raise PrejoinError(f"the API did not answer in {SECONDS_TO_START:.0f} s: see {api.log}") from None
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _child(command: str) -> "Child":
    from projector.embedded.process import Child

    return Child(command, ROOT.resolve(), threading.Event())


@contextmanager
def _process(command: str, environment: dict[str, str]) -> "Iterator[Child]":
    """One of the long-running commands, its output in a file of its own; stopped at the end."""
    process = _child(command)
    try:
        process.spawn(
            [sys.executable, "-m", "projector.cli", command], Path.cwd(), environment=os.environ | environment
        )
        yield process
    finally:
        process.stop()


def _refuse_ended(process: "Child") -> None:
    if process.exit_code is not None:
        lines = process.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise PrejoinError(
            f"`prejoin {process.name}` ended with {process.exit_code}: {lines[-1]} (more in {process.log})"
        )


def _refuse_taken(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            raise PrejoinError(f"port {port} is in use: choose another with --port") from None

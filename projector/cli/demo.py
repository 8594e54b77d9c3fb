"""`prejoin demo`: the whole system on embedded servers, from TPC-H's orders as domain events to answers."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from projector.cli.console import console, note, progress
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.declare.projections import Projections
    from projector.operate.verify import Verified

ROOT = Path(".prejoin/demo")
SECONDS_TO_START, SECONDS_TO_STOP, SECONDS_WITHOUT_PROGRESS = 60.0, 15.0, 90.0
SECONDS_BETWEEN_LOOKS = 0.2
_APPLIED = "SELECT coalesce(sum(next), 0)::bigint, (SELECT count(*) FROM pending) FROM positions"


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command(epilog="Example: prejoin demo --once --scale 0.001")(demo)


def demo(
    scale: Annotated[float, typer.Option(min=0.0001, max=100, help="TPC-H's scale; 0.01 is 15,000 orders.")] = 0.01,
    once: Annotated[bool, typer.Option("--once", help="Stop when all is projected and verified.")] = False,
    rate: Annotated[float, typer.Option(min=0, max=1_000, help="New events a second afterwards.")] = 5.0,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The API's port.")] = 8000,
) -> None:
    """Run everything on embedded servers: events through Kafka into views, served by the API.

    Each run starts from nothing, in .prejoin/demo. Exit 1 if verify finds drift.
    """
    from projector.embedded import Stack

    _refuse_taken(port)
    Stack.take_down(ROOT)
    shutil.rmtree(ROOT, ignore_errors=True)
    with Stack(ROOT, ("postgres", "kafka"), note) as servers:
        environment = {
            **servers.endpoints.environment(),
            "PREJOIN_API_HOST": "127.0.0.1",
            "PREJOIN_API_PORT": str(port),
            "PREJOIN_METRICS_PORT": "0",
            "PREJOIN_GROUP": "prejoin",
            "PREJOIN_PROJECTIONS": "projections",
        }
        drifted = _Demo(environment, f"http://127.0.0.1:{port}").run(scale, once, rate)
    raise typer.Exit(1 if drifted else 0)


class _Demo:
    def __init__(self, environment: dict[str, str], api: str) -> None:
        self._environment, self._api = environment, api
        self._writer = environment["PREJOIN_DATABASE_URL"]
        self._brokers = environment["PREJOIN_KAFKA_BROKERS"].split(",")
        self._group = environment["PREJOIN_GROUP"]

    def run(self, scale: float, once: bool, rate: float) -> bool:
        """Returns whether verify found drift."""
        from projector.declare.projections import load
        from projector.publish import ensure_topics
        from projector.store.migrate import migrate

        projections = load(self._environment["PREJOIN_PROJECTIONS"])
        migrate(self._writer, self._environment["PREJOIN_READ_DATABASE_URL"], self._group, projections)
        asyncio.run(ensure_topics(self._brokers, projections.topics, 4))
        with ExitStack() as processes:
            worker = processes.enter_context(_process("worker", self._environment))
            api = processes.enter_context(_process("api", self._environment))
            self._wait_for_api(api)
            note(f"the API answers on {self._api}, its documentation on {self._api}/docs")
            started = time.monotonic()
            published = self._publish(scale)
            self._wait_until_applied(published, worker)
            seconds = time.monotonic() - started
            found = self._verify(projections)
            self._sum_up(published, seconds, found)
            drifted = any(v.different for v in found)
            if not once and not drifted:
                note(f"{rate:g} new events a second are on their way; press Ctrl-C to stop")
                asyncio.run(self._live(scale, rate, worker))
        return drifted

    def _publish(self, scale: float) -> int:
        from projector import tpch
        from projector.publish import publish

        with progress("events published", round(tpch.EVENTS_PER_SCALE * scale)) as advance:  # about so many
            return asyncio.run(publish(self._brokers, tpch.events(scale), on_progress=advance)).count

    def _wait_until_applied(self, published: int, worker: "subprocess.Popen[bytes]") -> None:
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
                _refuse_ended(worker, "worker")
                if time.monotonic() - moved > SECONDS_WITHOUT_PROGRESS:
                    raise PrejoinError(
                        f"the worker made no progress for {SECONDS_WITHOUT_PROGRESS:.0f} s: see {_log('worker')}"
                    )
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def _verify(self, projections: "Projections") -> "list[Verified]":
        from projector.operate.verify import Verifier

        with closing(Verifier(self._writer, self._group, projections)) as verifier:
            return [verifier.verify(relation) for relation in projections.relations]

    def _sum_up(self, published: int, seconds: float, found: "list[Verified]") -> None:
        from rich.table import Table

        table = Table("view", "rows", "that differ from their definition")
        for v in found:
            table.add_row(v.view, f"{v.rows:,}", f"{v.different:,}")
        console.print(table)
        rate = f"{published / seconds:,.0f} events/s from generator to committed views"
        note(f"{published:,} events in {seconds:.1f} s: {rate}")
        different = sum(v.different for v in found)
        note(f"verify found {different:,} rows that differ" if different else "verify found no drift")
        note(f'try: curl "{self._api}/v1/orders?status=pending&sort=-placed_at&limit=3"')

    async def _live(self, scale: float, rate: float, worker: "subprocess.Popen[bytes]") -> None:
        from projector import tpch
        from projector.publish import Publisher

        events = tpch.live_events(scale, lambda: datetime.now(UTC))
        async with Publisher(self._brokers) as publisher:
            while True:
                _refuse_ended(worker, "worker")
                if rate:
                    await publisher.send([next(events)])
                await asyncio.sleep(1 / rate if rate else 1.0)

    def _wait_for_api(self, api: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            _refuse_ended(api, "api")
            try:
                with urllib.request.urlopen(f"{self._api}/readyz", timeout=2):  # noqa: S310 - our own address
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    raise PrejoinError(
                        f"the API did not answer in {SECONDS_TO_START:.0f} s: see {_log('api')}"
                    ) from None
            time.sleep(SECONDS_BETWEEN_LOOKS)


@contextmanager
def _process(command: str, environment: dict[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    """One of the long-running commands, its output in a file of its own; stopped at the end."""
    _log(command).parent.mkdir(parents=True, exist_ok=True)
    with _log(command).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "projector.cli", command],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a terminal's Ctrl-C is ours to pass on
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log(command: str) -> Path:
    return ROOT / "logs" / f"{command}.log"


def _refuse_ended(process: "subprocess.Popen[bytes]", command: str) -> None:
    if process.poll() is not None:
        lines = _log(command).read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise PrejoinError(
            f"`prejoin {command}` ended with {process.returncode}: {lines[-1]} (more in {_log(command)})"
        )


def _refuse_taken(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            raise PrejoinError(f"port {port} is in use: choose another with --port") from None

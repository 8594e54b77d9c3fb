"""Workers as processes, on a group and topics of the test's own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from projector.declare.projections import load
from projector.store.connect import options
from projector.store.migrate import migrate
from tests.integration.topics import OwnTopic, until
from tests.process import environment_with

PROJECTIONS = "tests.tiny"
FAULTS = Path(__file__).parent / "faults"


def note(topic: str, n: int, text: str = "t") -> bytes:
    """An event that notes n, without `sequence`: applied twice, it would be told twice."""
    event = {"specversion": "1.0", "id": f"{topic}-{n}-{text}", "source": "tests", "type": f"{topic}.Noted"}
    event |= {"subject": f"n{n}", "time": "2026-01-01T00:00:00Z", "data": {"note_id": f"n{n}", "text": text}}
    return json.dumps(event).encode()


def mark(topic: str, n: int) -> bytes:
    """An event of the other topic."""
    event = {"specversion": "1.0", "id": f"{n}", "source": "tests", "type": f"{topic}.Marked"}
    event |= {"subject": f"m{n}", "time": "2026-01-01T00:00:00Z", "data": {"mark_id": f"m{n}"}}
    return json.dumps(event).encode()


@dataclass
class Running:
    """A `prejoin worker` process."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, action: str) -> list[dict[str, Any]]:
        """The log's lines of one action."""
        return [line for line in self.lines() if line.get("action") == action]

    def metrics(self) -> dict[str, float]:
        """Its metrics, by name with labels."""
        url = self.said("metrics")[0]["url"]
        with urllib.request.urlopen(url, timeout=5) as answer:
            samples = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#"]
        return {name: float(value) for name, value in samples}

    def ended(self, seconds: float = 12.0) -> tuple[int, str]:
        """Wait for its end; returns the exit code and the last line on stderr."""
        code = self.process.wait(seconds)
        return code, self.log.read_text().splitlines()[-1]


@dataclass
class Place(OwnTopic):
    """A migrated group in Postgres, two topics' names, and the workers started there."""

    database_url: str
    read_database_url: str
    folder: Path
    workers: list[Running] = field(default_factory=list)

    def migrate(self) -> None:
        migrate(self.database_url, self.read_database_url, self.name, load(PROJECTIONS))

    def environment(self, **settings: str) -> dict[str, str]:
        own = environment_with(
            DATABASE_URL=self.database_url, KAFKA_BROKERS=self.brokers, GROUP=self.name,
            PROJECTIONS=PROJECTIONS, METRICS_PORT="0",
        )  # fmt: skip
        return {**own, "TINY_TOPIC": self.topic, **settings}

    def start(self, *arguments: str, **settings: str) -> Running:
        """Start a worker; it may take some seconds to join."""
        log = self.folder / f"worker{len(self.workers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "projector.cli", "worker", *arguments],
                env=self.environment(**settings), stdout=output, stderr=output,
            )  # fmt: skip
        self.workers.append(Running(process, log))
        return self.workers[-1]

    def start_faulty(self, fault: str, *arguments: str) -> Running:
        """Start a worker that suffers a fault of tests/integration/faults at SIGUSR1."""
        return self.start(*arguments, FAULT=fault, PYTHONPATH=f"{FAULTS}{os.pathsep}{Path.cwd()}")

    async def joined(self, *workers: Running) -> None:
        """Wait until they are members of the group."""
        for worker in workers:
            await until(lambda worker=worker: worker.process.poll() is not None or worker.said("joined"))
            assert worker.said("joined"), worker.log.read_text()

    def stop_all(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()

    def query(self, statement: str) -> list[Any]:
        with psycopg.connect(self.database_url, options=options(self.name)) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]

    def positions(self) -> dict[tuple[str, int], int]:
        return {(t, p): n for t, p, n in self.query("SELECT topic, partition, next FROM positions")}

    def told(self) -> dict[int, int]:
        """How often each note was told."""
        return {int(i[1:]): told for i, told in self.query("SELECT note_id, told FROM notes")}

    async def has_told(self, count: int, seconds: float = 30.0) -> None:
        """Wait until so many notes are there; each must have been told once."""
        await until(lambda: len(self.told()) >= count, seconds)
        assert self.told() == dict.fromkeys(range(count), 1)

    async def notes(self, numbers: range, partition: int | None = None) -> None:
        """Publish notes, in order."""
        async with self.producer() as producer:
            sent = [
                await producer.send(self.topic, note(self.topic, n), key=b"%d" % n, partition=partition)
                for n in numbers
            ]
            await asyncio.gather(*sent)


def places(database_url: str, read_database_url: str, brokers: str, folder: Path) -> Iterator[Place]:
    """A place of its own for each test; its workers are gone afterwards."""
    name = f"w{os.getpid()}_{time.monotonic_ns() % 10**9}"
    place = Place(brokers, name, database_url, read_database_url, folder)
    place.migrate()
    try:
        yield place
    finally:
        place.stop_all()


def terminate(worker: Running) -> float:
    """SIGTERM; returns the seconds until it ended, which it did with exit code 0."""
    begin = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    code, last = worker.ended()
    assert code == 0, last
    return time.monotonic() - begin

"""Servers of the bench's own, and the processes that are measured on them."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from aiokafka.admin import AIOKafkaAdminClient

from projector.declare.projections import load
from projector.embedded import Endpoints, Stack
from projector.operate.verify import Verifier
from projector.publish import Message, ensure_topics, publish
from projector.store.connect import connect
from projector.store.migrate import migrate
from projector.store.names import schemas

JARS = Path(".prejoin/lib")
SECONDS_WITHOUT_PROGRESS = 120.0
SECONDS_BETWEEN_LOOKS = 0.02
# Bulks sent; far below 0 while there is something to send, or an index is not searched yet.
_INDEXED = """
SELECT (SELECT coalesce(sum(sent), 0) FROM search_generations)
  - CASE WHEN EXISTS (SELECT FROM outbox) OR (SELECT count(search) FROM served) < {views} THEN 1e12 ELSE 0 END
"""


class BenchError(Exception):
    """Something was not measured: what stands in its message."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass
class Process:
    """A process that is measured, and the statement that tells how many records it has applied and committed.

    Where there is none, the process prints that number.
    """

    popen: subprocess.Popen[bytes]
    log: Path
    connection: psycopg.Connection[Any]
    progress: str

    def applied(self) -> int:
        """Records applied; -1 less while keys are pending, so that a drain is not over."""
        if self.popen.poll() is not None:
            raise BenchError(f"it ended with {self.popen.returncode}: {self.log.read_text(errors='replace')[-2000:]}")
        if not self.progress:
            printed = [
                line for line in self.log.read_bytes()[-200:].splitlines(keepends=True) if line.strip().isdigit()
            ]
            return max((int(line) for line in printed if line.endswith(b"\n")), default=0)
        return int((self.connection.execute(self.progress).fetchone() or (0,))[0])

    def until(self, count: int) -> float:
        """The moment (monotonic) at which so many records are applied."""
        done, moved = -1, time.monotonic()
        while (applied := self.applied()) < count:
            if applied != done:
                done, moved = applied, time.monotonic()
            if time.monotonic() - moved > SECONDS_WITHOUT_PROGRESS:
                raise BenchError(f"stands at {applied} of {count}: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return time.monotonic()

    def freeze(self) -> None:
        """Stop it where it is, so that what is published meanwhile is a backlog to it."""
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> float:
        """Let it go on; returns the moment."""
        self.popen.send_signal(signal.SIGCONT)
        return time.monotonic()

    @property
    def memory(self) -> float:
        """Resident, in MB."""
        return psutil.Process(self.popen.pid).memory_info().rss / 1e6


@dataclass
class Place:
    """Where to measure: the servers, and a folder for logs."""

    servers: Stack
    folder: Path
    runs: int = field(default=0)

    @property
    def endpoints(self) -> Endpoints:
        return self.servers.endpoints

    @property
    def brokers(self) -> list[str]:
        return [self.endpoints.kafka_brokers]

    def connect(self, group: str) -> psycopg.Connection[Any]:
        return connect(self.endpoints.database_url, group, autocommit=True, name="bench")

    def publish(self, messages: Iterable[Message]) -> int:
        """Publish; returns how many there were."""
        return asyncio.run(publish(self.brokers, messages)).count

    def fresh_topics(self, names: Sequence[str]) -> None:
        """Make the topics, empty, four partitions each."""
        asyncio.run(self._fresh_topics(list(names)))

    async def _fresh_topics(self, names: list[str]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers)
        await admin.start()
        try:
            if there := sorted(set(names) & set(await admin.list_topics())):
                await admin.delete_topics(there)
                while set(there) & set(await admin.list_topics()):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)
        finally:
            await admin.close()
        await ensure_topics(self.brokers, names)

    def migrated(self, projections: str) -> str:
        """A projection group of its own; returns its name."""
        self.runs += 1
        group = f"ours{self.runs}"
        migrate(self.endpoints.database_url, self.endpoints.read_database_url, group, load(projections))
        return group

    def drop(self, group: str) -> None:
        """Drop a group's schemas, or a peer's."""
        with self.connect(group) as connection:
            connection.execute("SET lock_timeout = '30s'")
            for schema in (group, *schemas(group)):
                connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    def differing(self, group: str, projections: str) -> int:
        """Rows of the group's views that differ from their definition."""
        declared = load(projections)
        verifier = Verifier(self.endpoints.database_url, group, declared)
        try:
            return sum(verifier.verify(relation).different for relation in declared.relations)
        finally:
            verifier.close()

    @contextmanager
    def worker(self, group: str, projections: str) -> Iterator[Process]:
        """`prejoin worker`."""
        progress = (
            "SELECT coalesce(sum(next), 0) - (CASE WHEN EXISTS (SELECT FROM pending) THEN 1 ELSE 0 END) FROM positions"
        )
        command = [sys.executable, "-m", "projector.cli", "worker"]
        with self.running(group, command, progress, self.environment(group, projections)) as process:
            yield process

    @contextmanager
    def indexer(self, group: str, projections: str) -> Iterator[Process]:
        """`prejoin indexer`; `until(0)` waits until each index is searched and has all that was in the outbox."""
        progress = _INDEXED.format(views=len(load(projections).searched))
        command = [sys.executable, "-m", "projector.cli", "indexer"]
        with self.running(group, command, progress, self.environment(group, projections)) as process:
            yield process

    @contextmanager
    def api(self, group: str, projections: str, **environment: str) -> Iterator[str]:
        """`prejoin api`; its address."""
        self.runs += 1
        command = [sys.executable, "-m", "projector.cli", "api", "--port", "0"]
        settings = self.environment(group, projections) | environment
        with self.running(f"{group}_api{self.runs}", command, "", settings) as process:
            while not (found := re.search(r"serving on (\S+)", process.log.read_text())):
                process.applied()  # raises where it ended
                time.sleep(SECONDS_BETWEEN_LOOKS)
            yield found[1]

    def environment(self, group: str, projections: str) -> dict[str, str]:
        own = {"PREJOIN_GROUP": group, "PREJOIN_PROJECTIONS": projections, "PREJOIN_METRICS_PORT": "0"}
        own["PREJOIN_API_RATE"] = "0"
        return self.endpoints.environment() | own

    @contextmanager
    def running(self, group: str, command: list[str], progress: str, environment: dict[str, str]) -> Iterator[Process]:
        """A process, killed at the end."""
        log = self.folder / f"{group}.log"
        with log.open("ab") as output, self.connect(group) as connection:
            popen = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
            try:
                yield Process(popen, log, connection, progress)
            finally:
                popen.kill()
                popen.wait()


def listening_on(url: str) -> psutil.Process:
    """The process of ours that serves an address."""
    port = int(url.rpartition(":")[2])
    return next(
        child
        for child in psutil.Process().children()
        if any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in child.net_connections())
    )


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time that a process has taken, its own and the system's for it."""
    return float(sum(process.cpu_times()[:2]))


@contextmanager
def place(*more: str) -> Iterator[Place]:
    """Servers with empty data, gone at the end: Postgres, Kafka, and more."""
    with (
        tempfile.TemporaryDirectory(prefix="prejoin-bench-") as root,
        Stack(Path(root), ("postgres", "kafka", *more), cache=JARS) as servers,
    ):
        folder = Path(root) / "bench"
        folder.mkdir()
        yield Place(servers, folder)

"""The embedded servers together: started side by side, stopped side by side, one stack a folder."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from projector.embedded.elasticsearch import Elasticsearch
from projector.embedded.errors import EmbeddedError
from projector.embedded.files import read_json, try_lock, write_json
from projector.embedded.jars import JarCache, default_cache
from projector.embedded.kafka import Kafka
from projector.embedded.ports import claim
from projector.embedded.postgres import READER, WRITER, Postgres
from projector.embedded.process import end, identity, record_of, recorded

SERVICES = ("postgres", "kafka", "elasticsearch")
SUPERVISOR = "supervisor"
SECONDS_FOR_A_SUPERVISOR_TO_STOP = 75.0


@dataclass(frozen=True)
class Endpoints:
    """Where the servers answer; "" for one that was not started."""

    database_url: str = ""
    read_database_url: str = ""
    kafka_brokers: str = ""
    elasticsearch_url: str = ""

    def environment(self) -> dict[str, str]:
        """Name the settings for them, `PREJOIN_DATABASE_URL` and so on; passwords included."""
        return {f"PREJOIN_{name.upper()}": value for name, value in vars(self).items() if value}


class Stack:
    """Real servers on loopback with their data under `root`, kept between runs; `with` starts and stops them.

    `root` belongs to one running stack at a time. `on_progress` gets one line a step, from any thread, one at a time.
    """

    def __init__(
        self,
        root: Path,
        services: Collection[str] = SERVICES,
        on_progress: Callable[[str], None] = lambda _line: None,
        cache: Path | None = None,
    ) -> None:
        """`cache`: the folder of the jars, for all stacks together; default `jars.default_cache()`."""
        unknown = sorted(set(services) - set(SERVICES))
        if unknown or not services:
            raise EmbeddedError(f"no such server: {', '.join(unknown) or 'none'}: choose from {', '.join(SERVICES)}")
        self.root = root.resolve()
        self.services = tuple(name for name in SERVICES if name in services)
        self._on_progress = on_progress
        self._speaking, self._cancelled = threading.Lock(), threading.Event()
        self._lock: IO[str] | None = None
        self._ports: dict[str, int] = {}
        jars = JarCache((cache or default_cache()).resolve(), self._progress, self._cancelled)
        self._postgres = Postgres(self.root, self._cancelled, self._progress)
        self._kafka = Kafka(self.root, self._cancelled, self._progress, jars)
        self._elasticsearch = Elasticsearch(self.root, self._cancelled, self._progress, jars)
        self._servers: dict[str, Postgres | Kafka | Elasticsearch] = {
            "postgres": self._postgres,
            "kafka": self._kafka,
            "elasticsearch": self._elasticsearch,
        }

    def start(self) -> Endpoints:
        """Repair what a crash left, start all servers side by side, and return once all answer.

        Raises EmbeddedError, with nothing left running, where one cannot start or the folder's stack runs already.
        """
        self._lock = try_lock(self.root / "run" / "lock")
        if self._lock is None:
            raise EmbeddedError(f"the stack in {self.root} is already running: stop it with `prejoin stack down`")
        try:
            (self.root / "run" / "endpoints.json").unlink(missing_ok=True)
            write_json(record_of(self.root, SUPERVISOR), {**identity(os.getpid()), "services": self.services})
            self._end_leftovers()
            names = [port for service in self.services for port in self._servers[service].PORTS]
            self._ports = claim(self.root / "ports.json", names)
            self._side_by_side(self.start_service)
            write_json(self.root / "run" / "endpoints.json", vars(self.endpoints))
        except BaseException:
            self.stop()
            raise
        return self.endpoints

    def stop(self) -> None:
        """Stop all servers side by side, within a bounded time: what does not stop is killed."""
        if self._lock is None:
            return
        self._cancelled.set()
        (self.root / "run" / "endpoints.json").unlink(missing_ok=True)
        self._side_by_side(self.stop_service)
        record_of(self.root, SUPERVISOR).unlink(missing_ok=True)
        self._cancelled.clear()
        self._lock.close()
        self._lock = None

    @property
    def endpoints(self) -> Endpoints:
        """Where the servers of a started stack answer."""
        postgres, kafka, elasticsearch = (name in self.services for name in SERVICES)
        return Endpoints(
            database_url=self._postgres.url(WRITER) if postgres else "",
            read_database_url=self._postgres.url(READER) if postgres else "",
            kafka_brokers=self._kafka.address if kafka else "",
            elasticsearch_url=self._elasticsearch.url if elasticsearch else "",
        )

    def start_service(self, name: str) -> None:
        """Start one server with the port and data that it had before; returns once it answers."""
        self._servers[name].start(self._ports)
        self._progress(f"{name}: ready")

    def stop_service(self, name: str) -> None:
        """Stop one server cleanly."""
        self._servers[name].child.stop()

    def kill_service(self, name: str) -> None:
        """Crash one server (SIGKILL)."""
        self._servers[name].child.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.stop()

    def _end_leftovers(self) -> None:
        for name, server in self._servers.items():
            if server.child.end_leftover():
                self._progress(f"{name}: ended the server that a killed run left behind")

    def _progress(self, line: str) -> None:
        with self._speaking:
            self._on_progress(line)

    def _side_by_side(self, act: Callable[[str], None]) -> None:
        """Do it for every server at once; the first failure, or Ctrl-C, cancels the others and is raised."""
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            tasks = [pool.submit(act, name) for name in self.services]
            try:
                for task in wait(tasks, return_when=FIRST_EXCEPTION).done:
                    task.result()
            except BaseException:
                self._cancelled.set()
                raise

    @staticmethod
    def take_down(root: Path, on_progress: Callable[[str], None] = lambda _line: None) -> bool:
        """Stop the stack that another process runs in this folder, or what is left of it; whether there was one.

        Raises EmbeddedError where that process does not let go.
        """
        stack = Stack(root, SERVICES, on_progress)
        supervisor = recorded(record_of(stack.root, SUPERVISOR))
        if supervisor:
            end([supervisor], signal.SIGTERM, seconds=SECONDS_FOR_A_SUPERVISOR_TO_STOP)
        lock = try_lock(stack.root / "run" / "lock")
        if lock is None:
            raise EmbeddedError(f"the stack in {stack.root} is held by a process that is not known: end that first")
        with lock:
            left = [name for name in SERVICES if recorded(record_of(stack.root, name))]
            stack._end_leftovers()
            record_of(stack.root, SUPERVISOR).unlink(missing_ok=True)
        return bool(supervisor or left)


@dataclass(frozen=True)
class ServiceState:
    """One server as another process sees it; state is `running`, `starting` or `stopped`."""

    service: str
    state: str
    address: str
    pid: int | None


def service_states(root: Path) -> list[ServiceState]:
    """Tell each server of the stack in this folder; [] where none was started, or it was stopped."""
    record = read_json(record_of(root, SUPERVISOR)) or {}
    return [_state(root, service) for service in record.get("services", ())]


def _state(root: Path, service: str) -> ServiceState:
    process = recorded(record_of(root, service))
    port = (read_json(root / "ports.json") or {}).get(service, 0)
    state = "stopped" if process is None else "running" if _listens(port) else "starting"
    return ServiceState(service, state, f"127.0.0.1:{port}", process.pid if process else None)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def supervisor_of(root: Path) -> int | None:
    """Tell the pid of the process that runs this folder's stack; None unless all of it was started."""
    supervisor = recorded(record_of(root, SUPERVISOR))
    return supervisor.pid if supervisor and (root / "run" / "endpoints.json").exists() else None


def running_endpoints(root: Path) -> Endpoints:
    """Read the endpoints of the stack that a process runs in this folder; EmbeddedError where none is ready."""
    if supervisor_of(root) is None:
        raise EmbeddedError(f"no stack is running in {root}: start one with `prejoin stack up --detach`")
    return Endpoints(**read_json(root / "run" / "endpoints.json"))

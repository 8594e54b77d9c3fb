"""The workers of a run: started, hit, and looked after as a supervisor would."""

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.integration.running import Running, until
from tests.process import environment_with
from tests.torture.failed import TortureFailed
from tests.torture.plan import MOST_WORKERS

SECONDS_TO_STOP = 15.0  # the promise is 10; a machine under torture gets a little more
SECONDS_TO_JOIN = 60.0
SECONDS_BEFORE_RESTART = 1.0
# What a worker may leave with under these faults, by its last line. A supervisor starts another.
PASSING = {
    "prejoin: positions could not be read for": "positions_unread",
    "prejoin: cannot reach Kafka": "kafka_unreachable",
    "prejoin: the group could not be joined": "group_not_joined",
    "prejoin: cannot connect to Postgres": "postgres_unreachable",
    "prejoin: Postgres (PREJOIN_DATABASE_URL) gave up": "postgres_gave_up",
    "prejoin: the consumer stopped with": "consumer_stopped",
    "prejoin: stuck": "stuck",
}
# How a worker that has not set its own handlers yet answers SIGTERM.
EARLY = (-signal.SIGTERM, -signal.SIGINT, 130)


class Crew:
    """One to three `prejoin worker` processes of one group."""

    def __init__(self, settings: dict[str, str], folder: Path, module: str = "projector.cli") -> None:
        self._environment = environment_with() | settings
        self._folder, self._module = folder, module
        self._all: list[Running] = []
        self._asked: set[int] = set()  # pids whose end is somebody's doing
        self._paused: set[int] = set()
        self.left: Counter[str] = Counter()
        self.slowest_stop = 0.0

    @property
    def alive(self) -> list[Running]:
        return [w for w in self._all if w.process.poll() is None and w.process.pid not in self._asked]

    def start(self) -> None:
        """Another worker, unless there are enough."""
        if len(self.alive) >= MOST_WORKERS:
            return
        log = self._folder / f"worker{len(self._all):02}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", self._module, "worker"],
                env=self._environment | {"TORTURE_WORKER": str(len(self._all))},
                stdout=output,
                stderr=output,
            )
        self._all.append(Running(process, log))

    async def all_joined(self) -> None:
        """Return once each has become a member of the group."""
        await until(lambda: all(worker.said("joined") for worker in self.alive), SECONDS_TO_JOIN)

    def choose(self, pick: int, *, awake: bool = False) -> Running | None:
        """One of those alive; with `awake` none that is paused."""
        able = [w for w in self.alive if not (awake and w.process.pid in self._paused)]
        return able[pick % len(able)] if able else None

    def kill(self, worker: Running) -> None:
        self._asked.add(worker.process.pid)
        worker.process.kill()

    async def pause(self, worker: Running, seconds: float) -> None:
        self._paused.add(worker.process.pid)
        worker.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            worker.process.send_signal(signal.SIGCONT)
            self._paused.discard(worker.process.pid)

    async def stop(self, worker: Running) -> None:
        """SIGTERM; it must leave in time and say that all is well."""
        self._asked.add(worker.process.pid)
        early = not worker.said("starting")
        begin = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        while worker.process.poll() is None:
            if time.monotonic() - begin > SECONDS_TO_STOP:
                raise TortureFailed(f"{worker.log}: still there {SECONDS_TO_STOP:.0f} s after SIGTERM")
            await asyncio.sleep(0.05)
        self.slowest_stop = max(self.slowest_stop, time.monotonic() - begin)
        code = worker.process.returncode
        if code != 0 and not (early and code in EARLY):
            self._note_leaving(worker)

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(worker) for worker in self.alive))

    async def look_after(self) -> None:
        """Start another for each that left for a reason that passes; any other reason fails the run."""
        seen: set[int] = set()
        while True:
            for worker in self._all:
                pid = worker.process.pid
                if pid in self._asked or pid in seen or worker.process.poll() is None:
                    continue
                seen.add(pid)
                self._note_leaving(worker)
                await asyncio.sleep(SECONDS_BEFORE_RESTART)
                self.start()
            await asyncio.sleep(0.1)

    def _note_leaving(self, worker: Running) -> None:
        lines = worker.log.read_text(errors="replace").splitlines() or [""]
        reason = next((name for start, name in PASSING.items() if lines[-1].startswith(start)), None)
        if reason is None or worker.process.returncode != 2:
            raise TortureFailed(
                f"{worker.log}: left with {worker.process.returncode}; its last lines:\n" + "\n".join(lines[-30:])
            )
        self.left[reason] += 1

    def end(self) -> None:
        """Leave no process behind."""
        for worker in self._all:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()

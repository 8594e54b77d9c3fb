"""One server process: started in a session of its own, remembered on disk, stopped within a bounded time."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from projector.embedded.errors import EmbeddedError
from projector.embedded.files import read_json, write_json

SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 20.0
SECONDS_BETWEEN_PROBES = 0.1


def identity(pid: int) -> dict[str, float]:
    """Tell a process from a later one with the same pid; empty where there is no such process."""
    try:
        return {"pid": pid, "created": psutil.Process(pid).create_time()}
    except psutil.NoSuchProcess:
        return {}


def record_of(root: Path, name: str) -> Path:
    """Name the file in which a stack remembers one of its processes."""
    return root / "run" / f"{name}.json"


def recorded(path: Path) -> psutil.Process | None:
    """Find the live process that the file remembers, if it is still that one."""
    record = read_json(path)
    try:
        process = psutil.Process(int(record["pid"]))
        if process.create_time() == record["created"] and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        pass
    return None


def end(processes: Sequence[psutil.Process], *signals: signal.Signals, seconds: float = SECONDS_TO_STOP) -> None:
    """End processes that are not our children: the signals in turn, SIGKILL last, each after `seconds`."""
    left = list(processes)
    for number in (*signals, signal.SIGKILL):
        for process in left:
            _send(process, number)
        _, left = psutil.wait_procs(left, seconds)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


class Child:
    """A process that this one started, such as a server; `root` gets its log and the file that remembers its pid.

    `cancelled`, once set, ends a start; `signals` are what stops it, the politest first.
    """

    def __init__(self, name: str, root: Path, cancelled: threading.Event, *signals: signal.Signals) -> None:
        self.name = name
        self.log = root / "logs" / f"{name}.log"
        self._record = record_of(root, name)
        self._cancelled = cancelled
        self._signals = signals or (signal.SIGTERM,)
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The pid while it runs."""
        return self._popen.pid if self._popen and self._popen.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended by itself; None while it runs, and before it was started."""
        return self._popen.poll() if self._popen else None

    def end_leftover(self) -> bool:
        """End the process that a killed parent left running; whether there was one."""
        leftover = recorded(self._record)
        if leftover:
            end([leftover], *self._signals)
        self._record.unlink(missing_ok=True)
        return leftover is not None

    def spawn(
        self,
        command: Sequence[str | Path],
        cwd: Path,
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it, as system user `user` where given; Ctrl-C in a terminal does not reach it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        write_json(self._record, identity(self._popen.pid))

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Return once it answers; raises EmbeddedError where it ends, takes too long, or the start is cancelled."""
        deadline = time.monotonic() + SECONDS_TO_START
        while not is_ready():
            if self.pid is None:
                raise EmbeddedError(f"{self.name} ended while it started: see {self.log}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} does not answer after {SECONDS_TO_START:.0f} s: see {self.log}")
            if self._cancelled.wait(SECONDS_BETWEEN_PROBES):
                raise EmbeddedError(f"the start of {self.name} was interrupted")

    def stop(self) -> None:
        """Send its signals in turn, SIGKILL last, each after `SECONDS_TO_STOP`, until it has ended."""
        for number in (*self._signals, signal.SIGKILL):
            if self._popen is None:
                break
            self._popen.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(SECONDS_TO_STOP)
                self._popen = None
        self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it as a crash would; its record stays, as after a crash."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None


def run_once(command: Sequence[str | Path], cwd: Path, log: Path, user: int | None = None) -> None:
    """Run a set-up program to its end; raises EmbeddedError, naming the log, where it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    program = Path(command[0]).name
    try:
        with log.open("ab") as file:
            subprocess.run(  # noqa: S603 - our own programs, no shell
                command,
                cwd=cwd,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                timeout=SECONDS_TO_START,
            )
    except subprocess.SubprocessError as error:
        raise EmbeddedError(f"{program} failed ({type(error).__name__}): see {log}") from None
    except OSError as error:
        raise EmbeddedError(f"{program} cannot be run: {error.strerror}") from None

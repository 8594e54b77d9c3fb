"""`prejoin worker --supervise`: a worker as a child process, started again where that may mend what it left for."""

import asyncio
import json
import os
import random
import signal
import socket
import threading
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg

from projector.errors import Passing, PrejoinError, Unreachable
from projector.logs import logger

log = logger(__name__)

FIRST_WAIT, LONGEST_WAIT, SECONDS_WELL = 1.0, 30.0, 60.0
JITTER = 0.2
SECONDS_TO_STOP = 9.5  # a worker leaves by itself within 8.5
AGAIN, UNREACHABLE, FOR_GOOD = "again", "unreachable", "for good"


class Lifeline:
    """The worker's end of the socket to its supervisor, handed over as stdin.

    It ends when the supervisor does, however that comes about: then the worker stops, too.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=0)
        threading.Thread(target=self._stop_with_the_supervisor, name="lifeline", daemon=True).start()

    def tell(self, error: BaseException) -> None:
        """Say what the worker leaves for; the first word counts."""
        with suppress(OSError):
            self._socket.sendall(json.dumps({"verdict": verdict(error), "reason": _reason(error)}).encode() + b"\n")

    def _stop_with_the_supervisor(self) -> None:
        with suppress(OSError):
            self._socket.recv(1)  # nothing ever comes
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS_TO_STOP)
        os._exit(2)


def verdict(error: BaseException) -> str:
    """Whether another start may mend it. A defect may be one of the moment: it is tried again."""
    if isinstance(error, Unreachable):
        return UNREACHABLE
    lasts = isinstance(error, PrejoinError) and not isinstance(error, Passing)
    return FOR_GOOD if lasts or isinstance(error, psycopg.errors.InsufficientPrivilege) else AGAIN


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, PrejoinError) else type(error).__name__  # a driver's may quote a row


class Backoff:
    """How long to wait before the next start: doubling, with jitter; from the beginning again after a good run."""

    def __init__(self) -> None:
        self._wait = FIRST_WAIT

    def after(self, seconds: float) -> float:
        """The wait, after a run of so many seconds."""
        wait = FIRST_WAIT if seconds >= SECONDS_WELL else self._wait
        self._wait = min(2 * wait, LONGEST_WAIT)
        return wait * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret


class Ended(NamedTuple):
    """How a worker ended. `told`: what it said of it; none where it was killed."""

    code: int
    seconds: float
    told: dict[str, str]

    @property
    def reason(self) -> str:
        """Why, in a line."""
        killed = f"killed by {_signal(-self.code)}" if self.code < 0 else f"it left by itself with {self.code}"
        return self.told.get("reason", killed)


class Supervisor:
    """Runs `command`, the first time with the words of `once`, until told to stop, or until it left for good."""

    def __init__(self, command: Sequence[str], once: Sequence[str] = ()) -> None:
        self._command, self._once = command, once

    async def run(self) -> int:
        """The exit code; raises KeyboardInterrupt after SIGINT."""
        loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[signal.Signals] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask, number)
        code = await self._keep_running()
        if self._asked.done() and self._asked.result() == signal.SIGINT:
            raise KeyboardInterrupt
        return code

    async def _keep_running(self) -> int:
        backoff, restarts = Backoff(), 0
        while True:
            ended = await self._run_once([*self._command, *(() if restarts else self._once)])
            said = ended.told.get("verdict", AGAIN)
            if self._asked.done():
                return 0
            if said == FOR_GOOD or (said == UNREACHABLE and not restarts):
                return ended.code  # its own last line says why
            restarts += 1
            wait = backoff.after(ended.seconds)
            log.warning(
                "the worker left; starting it again", action="restarting", reason=ended.reason,
                seconds=round(wait, 1), restarts=restarts,
            )  # fmt: skip
            await asyncio.wait([self._asked], timeout=wait)
            if self._asked.done():
                return 0

    async def _run_once(self, command: Sequence[str]) -> Ended:
        begin = time.monotonic()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                # a process group of its own: Ctrl-C reaches it through here, once
                process = await asyncio.create_subprocess_exec(*command, stdin=theirs.fileno(), process_group=0)
            try:
                await self._wait_for(process)
            finally:
                if process.returncode is None:
                    process.kill()
                code = await process.wait()
            return Ended(code, time.monotonic() - begin, _read(ours))

    async def _wait_for(self, process: Process) -> None:
        ending: asyncio.Future[Any] = asyncio.ensure_future(process.wait())
        await asyncio.wait([ending, self._asked], return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await asyncio.wait([ending], timeout=SECONDS_TO_STOP)
        ending.cancel()

    def _ask(self, number: signal.Signals) -> None:
        if not self._asked.done():
            self._asked.set_result(number)


def _read(ours: socket.socket) -> dict[str, str]:
    """What the worker, which is gone, had said."""
    with suppress(OSError), ours.makefile("rb") as said:
        if line := said.readline():
            told: dict[str, str] = json.loads(line)
            return told
    return {}


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


__all__ = ["Lifeline", "Supervisor"]

"""Event loops that run nothing any more, seen from a thread of its own: the heartbeat would stand still with them."""

import asyncio
import threading
from collections.abc import Callable
from typing import Self

SECONDS_BETWEEN_QUESTIONS = 1.0
UNANSWERED = 15


class Watchdog:
    """Asks each loop once a second for a sign of life; calls `stuck` with the name of one that gave none to 15.

    It counts questions, not time: a process that was stopped for a minute has missed one.
    """

    def __init__(self, stuck: Callable[[str], None]) -> None:
        self._stuck = stuck
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}
        self._unanswered: dict[str, int] = {}
        self._ended = threading.Event()

    def watch(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop, too."""
        self._unanswered[name] = 0
        self._loops[name] = loop

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_QUESTIONS):
            for name, loop in list(self._loops.items()):
                if self._unanswered[name] >= UNANSWERED:
                    self._stuck(name)
                    return
                self._unanswered[name] += 1
                try:
                    loop.call_soon_threadsafe(self._unanswered.__setitem__, name, 0)
                except RuntimeError:  # it is closed: faust's end, which is told as such
                    del self._loops[name]

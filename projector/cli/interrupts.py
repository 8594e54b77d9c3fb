"""Work that Ctrl-C and SIGTERM end tidily."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `work` to its end, as `asyncio.run` does; Ctrl-C or SIGTERM, at any moment, cancels it.

    Raises KeyboardInterrupt once it has ended, even if it took no notice. `asyncio.run` by itself minds SIGINT alone,
    and is interrupted in the middle of making its event loop.
    """
    interrupted = False
    cancel: Callable[[], object] = bool  # nothing yet

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        cancel()

    async def stoppable() -> _Result:
        nonlocal cancel
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
        cancel = lambda: loop.call_soon_threadsafe(task.cancel)  # noqa: E731 - it wakes the loop up as well
        if interrupted:
            task.cancel()
        try:
            return await task
        finally:
            cancel = bool

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = asyncio.run(stoppable())
    except asyncio.CancelledError:
        if not interrupted:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupted:
        raise KeyboardInterrupt
    return result


class Stop:
    """Ctrl-C and SIGTERM end work only where it waits: what it is in the middle of is finished first."""

    def __init__(self) -> None:
        self.told: int | None = None
        self._waiting = False

    @contextmanager
    def minded(self) -> Iterator[None]:
        """Take note of the signals, of both, from here on."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.told = number
        if self._waiting:
            raise KeyboardInterrupt

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raises KeyboardInterrupt, at once, whether the signal came before or comes in here."""
        self._waiting = True
        try:
            if self.told is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._waiting = False

"""Asynchronous work that Ctrl-C and SIGTERM end tidily."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
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

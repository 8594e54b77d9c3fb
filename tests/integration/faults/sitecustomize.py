"""With this folder on PYTHONPATH, SIGUSR1 makes a worker suffer what FAULT names: no server can do these to it.

It logs the action "fault" once that has begun.
"""

import asyncio
import gc
import os
import signal
import sys
import time
from typing import Any

LONG = 600.0


def _begun() -> None:
    print('{"action": "fault"}', file=sys.stderr, flush=True)


def _block() -> None:
    _begun()
    time.sleep(LONG)


def _thread() -> Any:
    return next(each for each in gc.get_objects() if type(each).__name__ == "ChunkThread")


def blocked_loop() -> None:
    """The main event loop runs nothing."""
    _block()


def blocked_thread() -> None:
    """Nor does the consumer's."""
    _thread().thread_loop.call_soon_threadsafe(_block)


def stalled_fetch() -> None:
    """The consumer is a member of the group, and fetches nothing."""

    async def never(*_: Any, **__: Any) -> None:
        _begun()
        await asyncio.Event().wait()

    type(_thread())._fetch_records = never


def broken_delivery() -> None:
    """The agent's body raises."""
    _begun()
    next(each for each in gc.get_objects() if type(each).__name__ == "Inbox")._records = None


def lost_membership() -> None:
    """The consumer left its group, and does not know that it should join again."""
    thread = _thread()
    coordinator = thread._consumer._coordinator

    async def leave() -> None:
        coordinator._coordination_task.cancel()
        await coordinator._maybe_leave_group()
        thread._consumer._subscription.assign_from_subscribed(set())
        _begun()

    def begin() -> None:
        thread.leaving = asyncio.ensure_future(leave())

    thread.thread_loop.call_soon_threadsafe(begin)


if "FAULT" in os.environ:
    signal.signal(signal.SIGUSR1, lambda *_: globals()[os.environ["FAULT"]]())

"""Event loops that run nothing any more."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from projector.ingest import watchdog as module
from projector.ingest.watchdog import UNANSWERED, Watchdog


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_QUESTIONS", 0.02)


@contextmanager
def a_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_loop_that_is_blocked_is_named():
    stuck, told, go = threading.Event(), [], threading.Event()
    with a_loop() as well, a_loop() as blocked, Watchdog(lambda name: (told.append(name), stuck.set())) as watchdog:
        watchdog.watch("well", well)
        watchdog.watch("blocked", blocked)
        blocked.call_soon_threadsafe(go.wait)
        assert stuck.wait(10)
        go.set()
    assert told == ["blocked"]


def test_loops_that_run_or_are_closed_are_not_stuck():
    told = []
    with a_loop() as loop, Watchdog(told.append) as watchdog:
        closed = asyncio.new_event_loop()
        closed.close()
        watchdog.watch("closed", closed)
        watchdog.watch("loop", loop)
        time.sleep(0.02 * UNANSWERED * 2)  # what must not come true cannot be awaited
    assert told == []

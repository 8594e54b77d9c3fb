"""What was fetched and waits to be applied, bounded by records and bytes."""

import asyncio
from typing import Any, NamedTuple

from projector.ingest.chunks import Fetched

MAX_RECORDS = 20_000
MAX_BYTES = 32 << 20


class Waiting(NamedTuple):
    """A chunk, and the faust event to acknowledge once it is applied."""

    fetched: Fetched
    event: Any


class Inbox:
    """One batch's worth of chunks: while the applier works on one batch, the next gathers here.

    So batches grow with the backlog by themselves: one chunk where little comes, up to the bound where much does.
    """

    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_records, self._max_bytes = max_records, max_bytes
        self._waiting: list[Waiting] = []
        self._records = self._bytes = 0
        self._filled, self._taken = asyncio.Event(), asyncio.Event()

    async def put(self, fetched: Fetched, event: Any) -> None:
        """Add a chunk; waits while the bound is reached. A chunk is let in whole, so the bound may be passed by one."""
        while self._records >= self._max_records or self._bytes >= self._max_bytes:
            self._taken.clear()
            await self._taken.wait()
        self._waiting.append(Waiting(fetched, event))
        self._records += len(fetched.chunk.records)
        self._bytes += fetched.bytes
        self._filled.set()

    async def take(self, seconds: float) -> list[Waiting]:
        """Take all that waits, in the order of arrival; [] if nothing comes within so many seconds."""
        if not self._waiting:
            try:
                async with asyncio.timeout(seconds):  # wait_for, in Python 3.11, may forget that it was cancelled
                    await self._filled.wait()
            except TimeoutError:
                return []
        taken, self._waiting = self._waiting, []
        self._records = self._bytes = 0
        self._filled.clear()
        self._taken.set()
        return taken

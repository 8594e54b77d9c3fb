"""What was fetched and waits, decoded, to be applied; bounded by records and bytes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from projector.apply.batch import Chunk
from projector.apply.incoming import Decoded
from projector.ingest.chunks import Fetched

MAX_RECORDS = 12_000
MAX_BYTES = 32 << 20
FEW = 100  # records decoded at once, in a millisecond: handing them to a thread and back takes longer than they do


class Waiting(NamedTuple):
    """A chunk, as it was fetched and decoded, and the faust event to acknowledge once it is applied."""

    fetched: Fetched
    decoded: Decoded
    event: Any


class Inbox:
    """One batch's worth of chunks: while the applier works on one batch, the next gathers here.

    So batches grow with the backlog by themselves: one chunk where little comes, up to the bound where much does.
    It is decoded here, in a thread of its own, while Postgres is at work on the batch before.
    """

    def __init__(
        self, decode: Callable[[Chunk], Decoded], max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._decode, self._max_records, self._max_bytes = decode, max_records, max_bytes
        self._thread = ThreadPoolExecutor(1, "decoder")
        self._waiting: list[Waiting] = []
        self._records = self._bytes = 0
        self._filled, self._taken = asyncio.Event(), asyncio.Event()

    async def put(self, fetched: Fetched, event: Any) -> None:
        """Add a chunk, one call after the other; waits while the bound is reached, which a whole chunk may pass."""
        while self._records >= self._max_records or self._bytes >= self._max_bytes:
            self._taken.clear()
            await self._taken.wait()
        if len(fetched.chunk.records) <= FEW:
            decoded = self._decode(fetched.chunk)
        else:
            decoded = await asyncio.get_running_loop().run_in_executor(self._thread, self._decode, fetched.chunk)
        self._waiting.append(Waiting(fetched, decoded, event))
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

    def close(self) -> None:
        """Decode no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

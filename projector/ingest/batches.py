"""From the inbox to the applier, batch by batch, in one thread of its own."""

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import psycopg
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from projector.apply.batch import Chunk, Outcome, TopicPartition
from projector.apply.incoming import Decoded, Work
from projector.errors import Paused
from projector.ingest.chunks import Fetched
from projector.ingest.inbox import Inbox
from projector.ingest.metrics import Metrics
from projector.logs import logger
from projector.store.connect import DatabaseUnreachable

log = logger(__name__)

# What the applier raises when the same batch may pass later.
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, DatabaseUnreachable)
IDLE_SECONDS = 0.5
SECONDS_PAUSED = 0.4  # between looks whether the group goes on
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
# A call of this length explains that a position does not move (it waits for the group's lock), up to a limit.
LONG_CALL, TOO_LONG_CALL = 1.0, 300.0

Result = TypeVar("Result")


class Applies(Protocol):
    """`projector.apply.applier.Applier`, as far as it is used here."""

    def decode_chunk(self, chunk: Chunk) -> Decoded:
        """What the records of a chunk turn out to be; asked from a thread of its own."""

    def apply_decoded(self, work: Work) -> Outcome:
        """Apply a batch, in one transaction."""

    def drain(self) -> int:
        """Refresh a portion of the pending keys; returns how many are left."""


class Reads(Protocol):
    """The consumer, as far as it is used here."""

    def is_current(self, fetched: Fetched) -> bool:
        """Whether a chunk still continues what was delivered of its partition."""

    async def seek_to_stored(self, partitions: Collection[TopicPartition]) -> None:
        """Read these on from where Postgres is."""


class Batches:
    """Applies what arrives, for ever. Ends by cancellation, or with what the applier raises for good."""

    def __init__(self, applier: Applies, consumer: Callable[[], Reads], inbox: Inbox, metrics: Metrics) -> None:
        self._applier, self._consumer, self._inbox, self._metrics = applier, consumer, inbox, metrics
        self._thread = ThreadPoolExecutor(1, "applier")
        self._call: tuple[float, asyncio.Future[Any]] | None = None  # when it began, and what it will return
        self._retrying = False
        self._paused: str | None = None  # by whom, once a batch was not applied for that
        self.pending = False  # whether keys wait to be refreshed; what others left, the heartbeat sees
        self.held = False  # whether the group is paused, as the heartbeat saw it: then they wait on

    async def run(self) -> None:
        """One batch after the other; between two, one portion of the pending keys, so that neither starves."""
        while True:
            drains = self.pending and not self.held
            waiting = await self._inbox.take(0 if drains else IDLE_SECONDS)
            current = [each for each in waiting if self._consumer().is_current(each.fetched)]
            if current:
                await self._apply([each.decoded for each in current])
                for each in current:
                    each.event.ack()
            if drains:
                left = await self._insist(self._applier.drain)
                self.pending = left > 0
                self._metrics.pending(left)

    async def _apply(self, work: Work) -> None:
        outcome = await self._insist(self._applier.apply_decoded, work)
        self._metrics.applied([chunk for chunk, _ in work], outcome)
        self.pending |= outcome.pending
        if outcome.refused:
            # somebody else was here, or a COMMIT came through whose answer did not: read on from what is stored
            for partition, stored in outcome.refused.items():
                at = f"{partition.topic}/{partition.partition}"
                log.warning(
                    "a chunk did not start at the stored position", action="refused", partition=at, stored=stored
                )
            await self._consumer().seek_to_stored(outcome.refused)

    async def _insist(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call it in the applier's thread, again and again while Postgres is away or the group is paused."""
        while True:
            try:
                return await self._again(function, *args)
            except Paused as paused:
                if self._paused is None:
                    log.info(str(paused), action="paused")
                self._paused = str(paused)
                await asyncio.sleep(SECONDS_PAUSED)

    async def _again(self, function: Callable[..., Result], *args: Any) -> Result:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(PASSING),
            wait=wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
            before_sleep=self._log_retry,
            reraise=True,
        ):
            with attempt:
                result = await self._in_thread(function, *args)
        self._retrying = False
        if self._paused is not None:
            log.info("resumed", action="resumed")
        self._paused = None
        return result

    async def _in_thread(self, function: Callable[..., Result], *args: Any) -> Result:
        future = asyncio.get_running_loop().run_in_executor(self._thread, function, *args)
        self._call = time.monotonic(), future
        # shielded: when the worker stops, the call under way goes on, and `finish` waits for it
        return await asyncio.shield(future)

    def _log_retry(self, state: RetryCallState) -> None:
        self._retrying = True
        self._metrics.retried()
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "Postgres does not take the batch; trying again",
            action="retry",
            error=type(error).__name__,  # alone: a driver's message may quote a row
            attempt=state.attempt_number,
            seconds=round(state.upcoming_sleep, 2),
        )

    def excuse(self) -> str | None:
        """Tell the known reason for which positions do not move at present, if there is one."""
        if self._paused is not None:
            return self._paused
        if self._retrying:
            return "Postgres does not take the batch; it is tried again"
        if self._call and not self._call[1].done():
            lasts = time.monotonic() - self._call[0]
            if LONG_CALL < lasts < TOO_LONG_CALL:
                return f"a batch has been running for {lasts:.0f} s"
        return None

    async def finish(self, seconds: float) -> bool:
        """Wait for the call under way, once `run` is cancelled; returns whether the applier's thread is free."""
        if self._call and not self._call[1].done():
            await asyncio.wait([self._call[1]], timeout=seconds)
        self._inbox.close()
        self._thread.shutdown(wait=False)
        return not self._call or self._call[1].done()

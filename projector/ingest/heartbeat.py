"""Twice a second: say that the worker lives, store the broker's ends, move As-Of on, and look for what is stuck."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from projector.apply.batch import TopicPartition
from projector.errors import PrejoinError
from projector.ingest import broker as kafka
from projector.ingest import ledger as postgres
from projector.ingest.batches import Batches
from projector.ingest.broker import Broker, Topic
from projector.ingest.freshness import SECONDS_WITHOUT_PROGRESS, Capture, Freshness, Watchdog
from projector.ingest.ledger import Ledger, Stored
from projector.ingest.logs import logger
from projector.ingest.metrics import Metrics
from projector.ingest.positions import check_topics

log = logger(__name__)

INTERVAL = 0.5
SECONDS_BETWEEN_REMINDERS = 30.0
SECONDS_BEHIND = 5.0  # As-Of older than this is "lagging"; under steady traffic some offsets are always left


class Stuck(PrejoinError):
    """There is something to apply, and nothing moves."""


class Heartbeat:
    """Sees all partitions of all consumed topics. Ends by cancellation or with a PrejoinError."""

    def __init__(
        self,
        group: str,
        topics: Collection[str],
        broker: Broker,
        ledger: Ledger,
        batches: Batches,
        metrics: Metrics,
        assigned: Callable[[], Collection[TopicPartition]],
    ) -> None:
        self._group, self._topics, self._broker, self._ledger = group, sorted(topics), broker, ledger
        self._batches, self._metrics, self._assigned = batches, metrics, assigned
        self._freshness, self._watchdog = Freshness(), Watchdog()
        self._as_of: datetime | None = None
        self._reminded: dict[str, float] = {}

    async def run(self) -> None:
        """Beat for ever. Raises TopicReplaced or Stuck; a broker or a database that is away only delays it."""
        while True:
            try:
                await self._beat()
            except postgres.PASSING as error:
                self._remind("heartbeat_failed", "no heartbeat: Postgres is away", error=type(error).__name__)
            await asyncio.sleep(INTERVAL)

    async def _beat(self) -> None:
        try:
            state, detail = await self._look()
        except kafka.PASSING as error:
            self._remind("kafka_away", "As-Of stands still: Kafka does not answer", error=type(error).__name__)
            state, detail = "lagging", "Kafka does not answer"
        except Stuck as stuck:
            await self._ledger.beat("stuck", str(stuck))
            raise
        await self._ledger.beat(state, detail)

    async def _look(self) -> tuple[str, str | None]:
        """See where everything is, store it, move As-Of on; returns this worker's state and a detail. Raises Stuck."""
        at = datetime.now(UTC)  # before the ends are asked for: they hold at least what was there by then
        topics = await self._broker.topics(self._topics)
        ends = await self._broker.ends(topics)
        stored, pending = await self._ledger.read()
        check_topics(self._group, stored, topics)
        await self._ledger.keep_topic_ids(topics.values())
        await self._ledger.keep_ends(ends)
        starts = await self._starts(topics, ends, stored)
        positions = {tp: stored[tp].next if tp in stored else starts.get(tp, 0) for tp in ends}
        await self._move_as_of(Capture(at, ends), positions, pending)
        self._raise_if_stuck(positions, ends)
        return self._state(at, topics)

    def _raise_if_stuck(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        excused = self._batches.excuse() is not None
        stuck = self._watchdog.stalled(time.monotonic(), self._assigned(), positions, ends, excused)
        if stuck is not None:
            raise Stuck(
                f"stuck: {stuck.topic}/{stuck.partition} stands at {positions[stuck]} of {ends[stuck]} and nothing was "
                f"applied for {SECONDS_WITHOUT_PROGRESS:.0f} s, for no known reason; start the worker again"
            )

    async def _starts(
        self, topics: Mapping[str, Topic], ends: Mapping[TopicPartition, int], stored: Mapping[TopicPartition, Stored]
    ) -> dict[TopicPartition, int]:
        """Where the partitions without a position begin: one that ends there holds nothing to apply."""
        unknown = [tp for tp, end in ends.items() if end > 0 and tp not in stored]
        return await self._broker.starts(topics, unknown) if unknown else {}

    async def _move_as_of(self, capture: Capture, positions: Mapping[TopicPartition, int], pending: bool) -> None:
        self._batches.pending = pending or self._batches.pending
        if not pending:
            self._metrics.pending(0)
        self._metrics.lag({tp: max(0, end - positions[tp]) for tp, end in capture.ends.items()})
        self._freshness.note(capture)
        reached = self._freshness.reached(positions, pending)
        if reached is not None:
            self._as_of = reached
            await self._ledger.advance_as_of(reached)
            self._metrics.as_of(reached)

    def _state(self, at: datetime, topics: Mapping[str, Topic]) -> tuple[str, str | None]:
        missing = [topic for topic in self._topics if topic not in topics]
        if missing:
            self._remind("topics_missing", "waiting for topics that do not exist yet", topics=missing)
        detail = self._batches.excuse() or (f"waiting for topics: {', '.join(missing)}" if missing else None)
        behind = self._as_of is None or (at - self._as_of).total_seconds() > SECONDS_BEHIND
        return ("lagging" if behind else "live"), detail

    def _remind(self, action: str, event: str, **values: object) -> None:
        """Log it, but not at every beat."""
        now = time.monotonic()
        if now - self._reminded.get(action, -SECONDS_BETWEEN_REMINDERS) >= SECONDS_BETWEEN_REMINDERS:
            self._reminded[action] = now
            log.warning(event, action=action, **values)

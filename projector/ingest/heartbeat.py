"""Twice a second: say that the worker lives, store the broker's ends, move As-Of on, and look for what is stuck."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from projector.apply.batch import TopicPartition
from projector.errors import Passing
from projector.ingest import broker as kafka
from projector.ingest import ledger as postgres
from projector.ingest.batches import Batches
from projector.ingest.broker import Broker, Topic
from projector.ingest.freshness import Capture, Freshness, Stall, Watchdog
from projector.ingest.ledger import Ledger, Stored
from projector.ingest.metrics import Metrics
from projector.ingest.positions import check_topics
from projector.logs import logger

log = logger(__name__)

INTERVAL = 0.5
SECONDS_BETWEEN_REMINDERS = 30.0
SECONDS_BEHIND = 5.0  # As-Of older than this is "lagging"; under steady traffic some offsets are always left


class Stuck(Passing):
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
        assigned: Callable[[], Collection[TopicPartition] | None],
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
        # behind an open transaction there may be events of others, acknowledged and not to be read yet: not applied
        held, ends = await asyncio.gather(self._broker.held(topics), self._broker.ends(topics))
        stored, pending, paused, alone = await self._ledger.read()
        check_topics(stored, topics)
        await self._ledger.keep_topic_ids(topics.values())
        await self._ledger.keep_ends(ends)
        starts = await self._starts(topics, ends, stored)
        positions = {tp: stored[tp].next if tp in stored else starts.get(tp, 0) for tp in ends}
        self._batches.held = paused is not None
        self._note(ends, positions, pending)
        if paused is None:
            await self._move_as_of(Capture(at, held), positions, pending)
        stall = self._stall(positions, ends, alone)
        if stall is not None and stall.is_stuck:
            raise Stuck(f"{self._stands(stall, positions, ends)}, for no known reason; start the worker again")
        if stall is not None and stall.is_suspect:
            return "stuck", self._stands(stall, positions, ends)
        if paused is not None:
            return "paused", f"paused by {paused}"
        return self._state(at, topics)

    def _stall(
        self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], alone: bool
    ) -> Stall | None:
        """What does not move though it should. Where no other worker is, that may be a partition that nobody has."""
        watched = self._assigned()
        if watched is None:
            return None  # not a member yet
        excused = self._batches.held or self._batches.excuse() is not None
        return self._watchdog.stalled(time.monotonic(), ends if alone else watched, positions, ends, excused)

    def _stands(self, stall: Stall, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> str:
        at, ours = stall.partition, stall.partition in (self._assigned() or ())
        return (
            f"stuck: {at.topic}/{at.partition}{'' if ours else ', which no worker has,'} stands at {positions[at]} "
            f"of {ends[at]} and nothing was applied for {stall.its_own:.0f} s"
        )

    async def _starts(
        self, topics: Mapping[str, Topic], ends: Mapping[TopicPartition, int], stored: Mapping[TopicPartition, Stored]
    ) -> dict[TopicPartition, int]:
        """Where the partitions without a position begin: one that ends there holds nothing to apply."""
        unknown = [tp for tp, end in ends.items() if end > 0 and tp not in stored]
        return await self._broker.starts(topics, unknown) if unknown else {}

    def _note(self, ends: Mapping[TopicPartition, int], positions: Mapping[TopicPartition, int], pending: bool) -> None:
        self._batches.pending = pending or self._batches.pending
        if not pending:
            self._metrics.pending(0)
        self._metrics.lag({tp: max(0, end - positions[tp]) for tp, end in ends.items()})

    async def _move_as_of(self, capture: Capture, positions: Mapping[TopicPartition, int], pending: bool) -> None:
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

"""Where each partition is to be read from, asked of both servers; what is lost is told, or accepted at the start."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from projector.apply.batch import TopicPartition
from projector.errors import Passing, Unreachable
from projector.ingest import broker as kafka
from projector.ingest import ledger as postgres
from projector.ingest import losses
from projector.ingest.broker import Broker
from projector.ingest.chunks import REQUEST_TIMEOUT, Start
from projector.ingest.ledger import Ledger
from projector.ingest.positions import check_ends, check_starts, check_topics
from projector.store.connect import connect

# faust's recovery gives perform_seek the request timeout, and is then stuck for ever without saying so.
SECONDS_FOR_POSITIONS = REQUEST_TIMEOUT / 2

Result = TypeVar("Result")


class NotReachable(Passing):
    """Postgres or Kafka did not answer when positions were needed."""


class LossNotAccepted(Unreachable):
    """What was asked for with --accept-loss was not done: another start would not ask for it."""


class Starts:
    """Positions in Postgres, held against the broker. Raises NotReachable, TopicReplaced and EventsGone."""

    def __init__(self, url: str, group: str, ledger: Ledger, broker: Broker) -> None:
        self._url, self._group, self._ledger, self._broker = url, group, ledger, broker

    async def of(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Start]:
        """Where to read each from; those that no longer exist are left out."""
        return await self._insist(self._of, partitions)

    async def _of(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Start]:
        stored = (await self._ledger.read()).stored
        topics = await self._broker.topics({tp.topic for tp in partitions})
        check_topics(stored, topics)
        there = [tp for tp in partitions if tp.topic in topics and tp.partition in topics[tp.topic].leaders]
        positions = {tp: stored[tp].next for tp in there if tp in stored}
        starts = await self._broker.starts(topics, there)
        check_starts(positions, starts)
        return {tp: Start(positions.get(tp), positions.get(tp, start)) for tp, start in starts.items()}

    async def explain(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Look into offsets that the broker does not have; returns where they may be there by now."""
        starts = await self.of(offsets)
        topics = await self._broker.topics({tp.topic for tp in offsets})
        ends = await self._broker.ends(topics)
        check_ends({tp: offset for tp, offset in offsets.items() if tp in starts}, ends)

    async def accept_losses(self, topics: Iterable[str]) -> None:
        """Go on without what is lost by now. Raises LossNotAccepted where a server is away, or the lock not free."""
        try:
            await self._insist(self._accept_losses, topics)
        except NotReachable:
            raise LossNotAccepted(
                f"no loss was accepted in {SECONDS_FOR_POSITIONS:.0f} s: are Postgres (PREJOIN_DATABASE_URL) and Kafka "
                "(PREJOIN_KAFKA_BROKERS) up, and does no `prejoin migrate` hold the group's lock? Start it again"
            ) from None

    async def _accept_losses(self, topics: Iterable[str]) -> None:
        found = await losses.find(self._ledger, self._broker, topics)
        await asyncio.to_thread(self._accept, found)

    def _accept(self, found: losses.Losses) -> None:
        with connect(self._url, self._group, name="prejoin losses") as connection:
            losses.accept(connection, self._group, found)

    async def _insist(self, ask: Callable[..., Awaitable[Result]], *args: Any) -> Result:
        """Ask again while a server is away: no longer than faust waits for a seek."""
        passing = (*kafka.PASSING, *postgres.PASSING)
        again = AsyncRetrying(
            retry=retry_if_exception_type(passing), wait=wait_random_exponential(multiplier=0.1, max=1.0)
        )
        try:
            async with asyncio.timeout(SECONDS_FOR_POSITIONS):
                return await again(ask, *args)
        except TimeoutError:
            raise NotReachable(
                f"positions could not be read for {SECONDS_FOR_POSITIONS:.0f} s: "
                "is Postgres (PREJOIN_DATABASE_URL) up, and Kafka (PREJOIN_KAFKA_BROKERS)?"
            ) from None

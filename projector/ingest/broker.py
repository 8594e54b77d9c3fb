"""What the broker says of the consumed topics: which there are, their ids, where each partition begins and ends."""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    StaleMetadata,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest

from projector.apply.batch import TopicPartition
from projector.errors import Unreachable
from projector.ingest.topic_ids import TopicIdRequest

SECONDS_TO_CONNECT = 10.0
SECONDS_BETWEEN_TRIES = 0.5
SECONDS_TO_ANSWER = 5.0
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
EARLIEST, LATEST = -2, -1

# What a call to the broker may raise for reasons that pass.
PASSING = (KafkaError, OSError, TimeoutError)


class KafkaUnreachable(Unreachable):
    """No broker of PREJOIN_KAFKA_BROKERS answers."""


@dataclass(frozen=True)
class Topic:
    """A topic as the broker knows it now. `leaders`: partition → the broker that leads it."""

    name: str
    id: str
    leaders: Mapping[int, int]


class Broker:
    """A connection of its own, beside the consumer's: it sees all partitions, whoever consumes them."""

    def __init__(self, brokers: list[str]) -> None:
        self._addresses = brokers
        self._client: Any = None

    async def connect(self) -> None:
        """Connect; raises KafkaUnreachable after some ten seconds of trying."""
        self._client = AIOKafkaClient(
            bootstrap_servers=self._addresses,
            client_id="prejoin-heartbeat",
            request_timeout_ms=int(SECONDS_TO_ANSWER * 1000),
        )
        try:
            with quiet("aiokafka"):
                async with asyncio.timeout(SECONDS_TO_CONNECT):
                    await self._bootstrap()
        except TimeoutError:
            await self._client.close()
            raise KafkaUnreachable(
                f"cannot reach Kafka at {', '.join(self._addresses)} (PREJOIN_KAFKA_BROKERS): "
                f"no answer in {SECONDS_TO_CONNECT:.0f} s; is it running?"
            ) from None

    async def _bootstrap(self) -> None:
        while True:
            try:
                await self._client.bootstrap()
                return
            except KafkaConnectionError:
                await asyncio.sleep(SECONDS_BETWEEN_TRIES)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def topics(self, names: Iterable[str]) -> dict[str, Topic]:
        """Look up those of the topics named that exist; none is made by asking. Raises what is in PASSING."""
        async with asyncio.timeout(SECONDS_TO_ANSWER):
            response = await self._client.send(self._client.get_random_node(), TopicIdRequest(sorted(names)))
        found = {}
        for code, name, topic_id, _internal, partitions, *_ in response.topics:
            error = for_code(code)
            if error in (UnknownTopicOrPartitionError, InvalidTopicError):
                continue
            if code:
                raise error(name)
            found[name] = Topic(name, str(topic_id), {partition: leader for _, partition, leader, *_ in partitions})
        return found

    async def ends(self, topics: Mapping[str, Topic]) -> dict[TopicPartition, int]:
        """Ask for the end of each partition, for one who reads what is committed. Raises what is in PASSING."""
        return await self._offsets(topics, partitions_of(topics), LATEST)

    async def held(self, topics: Mapping[str, Topic]) -> dict[TopicPartition, int]:
        """Ask for the end of each partition with all that is behind an open transaction. Raises what is in PASSING."""
        return await self._offsets(topics, partitions_of(topics), LATEST, READ_UNCOMMITTED)

    async def starts(
        self, topics: Mapping[str, Topic], partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Ask for the first offset that each of the partitions still has. Raises what is in PASSING."""
        return await self._offsets(topics, partitions, EARLIEST)

    async def _offsets(
        self,
        topics: Mapping[str, Topic],
        partitions: Iterable[TopicPartition],
        which: int,
        isolation: int = READ_COMMITTED,
    ) -> dict[TopicPartition, int]:
        asked: dict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        for topic, partition in partitions:
            asked[topics[topic].leaders[partition]][topic].append((partition, which))
        async with asyncio.timeout(SECONDS_TO_ANSWER):
            answers = await asyncio.gather(
                *(
                    self._client.send(node, OffsetRequest(-1, isolation, list(of_topic.items())))
                    for node, of_topic in asked.items()
                )
            )
        return dict(_read_offsets(answers))


def partitions_of(topics: Mapping[str, Topic]) -> list[TopicPartition]:
    """All partitions of the topics."""
    return [TopicPartition(topic.name, partition) for topic in topics.values() for partition in topic.leaders]


def _read_offsets(answers: Iterable[Any]) -> Iterator[tuple[TopicPartition, int]]:
    for answer in answers:
        for topic, partitions in answer.topics:
            for partition, code, _timestamp, offset in partitions:
                if code:
                    raise for_code(code)(f"{topic}/{partition}")
                if offset < 0:
                    raise StaleMetadata(f"{topic}/{partition}")
                yield TopicPartition(topic, partition), offset


_quieting = threading.Lock()
_quiet: dict[str, tuple[int, int]] = {}  # library → how many hold it back, and its level before


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Hold a library's own error lines back: what it fails at is told in one line of ours.

    Those who do so at the same time, in whatever threads, begin and end as they like: the last lets it speak again.
    """
    logger = logging.getLogger(name)
    with _quieting:
        depth, before = _quiet.get(name, (0, logger.level))
        _quiet[name] = depth + 1, before
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        with _quieting:
            depth, before = _quiet[name]
            _quiet[name] = depth - 1, before
            if depth == 1:
                del _quiet[name]
                logger.setLevel(before)

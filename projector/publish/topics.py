"""Reaching the brokers, and creating topics."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, TopicAlreadyExistsError, for_code

from projector.errors import PrejoinError

REQUEST_SECONDS = 8  # so that a command gives up within 10


class PublishError(PrejoinError):
    """Kafka is not there, or did not take what was published."""


class _Client(Protocol):
    async def start(self) -> None: ...


async def connect(client: _Client, brokers: Sequence[str]) -> None:
    """Start a client of aiokafka; raises PublishError where no broker answers within REQUEST_SECONDS."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            await client.start()
    except (KafkaError, TimeoutError):
        raise PublishError(
            f"Kafka at {','.join(brokers)} does not answer: start it, or set PREJOIN_KAFKA_BROKERS to where it is"
        ) from None


@contextmanager
def naming(topic: str, brokers: Sequence[str]) -> Iterator[None]:
    """Turn Kafka's errors into PublishErrors that name topic and brokers."""
    try:
        yield
    except MessageSizeTooLargeError:
        raise PublishError(
            f"an event of topic {topic} is larger than Kafka takes: raise the topic's max.message.bytes"
        ) from None
    except (KafkaError, TimeoutError) as error:
        reason = (
            "it does not answer any more" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        )
        raise PublishError(
            f"Kafka at {','.join(brokers)} did not take events of topic {topic}: {reason}; see whether it still runs"
        ) from None


async def ensure_topics(
    brokers: Sequence[str], names: Sequence[str], partitions: int = 4, replication: int = 1
) -> list[str]:
    """Create those of the topics that do not exist, and return their names; raises PublishError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=list(brokers), request_timeout_ms=REQUEST_SECONDS * 1000)
    try:
        await connect(admin, brokers)
        with naming(", ".join(names), brokers):
            existing = set(await admin.list_topics())
            missing = [name for name in names if name not in existing]
            return await _create(admin, [NewTopic(name, partitions, replication) for name in missing])
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> list[str]:
    if not topics:
        return []
    created = []
    for name, code, *detail in (await admin.create_topics(topics)).topic_errors:
        kind = for_code(code)
        if code == 0:
            created.append(name)
        elif kind is not TopicAlreadyExistsError:  # somebody else was quicker: just as well
            raise PublishError(f"Kafka did not create topic {name}: {next(filter(None, detail), kind.__name__)}")
    return created

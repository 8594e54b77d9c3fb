"""Where the topics end, as the broker has it now."""

from projector.ingest.broker import Broker
from projector.store.status import End, Ends


async def broker_ends(brokers: list[str], topics: list[str]) -> Ends:
    """The end of each partition of the topics that exist. Raises KafkaUnreachable and what is in PASSING."""
    broker = Broker(brokers)
    try:
        await broker.connect()
        there = await broker.topics(topics)
        ends = await broker.ends(there)
        return {(at.topic, at.partition): End(end, there[at.topic].id) for at, end in ends.items()}
    finally:
        await broker.close()

"""Where the topics end, as the broker has it now."""

from projector.ingest.broker import Broker
from projector.store.status import Ends


async def broker_ends(brokers: list[str], topics: list[str]) -> Ends:
    """The end of each partition of the topics that exist. Raises KafkaUnreachable and what is in PASSING."""
    broker = Broker(brokers)
    try:
        await broker.connect()
        ends = await broker.ends(await broker.topics(topics))
        return {(place.topic, place.partition): end for place, end in ends.items()}
    finally:
        await broker.close()

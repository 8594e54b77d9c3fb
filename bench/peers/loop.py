"""A careful loop, as one writes it by hand: one transaction an event, its offset in the same transaction."""

import asyncio
import json

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.peers import one_event, tables


async def main() -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=tables.BROKERS, isolation_level="read_committed")
    await consumer.start()
    # one plan for all events: planning the joined row takes longer than reading it
    options = f"{tables.OPTIONS} -c plan_cache_mode=force_generic_plan"
    with psycopg.connect(tables.DATABASE_URL, options=options) as connection:
        stored = {(t, p): n for t, p, n in connection.execute("SELECT topic, partition, next FROM positions")}
        connection.commit()
        consumer.assign([TopicPartition(*partition) for partition in tables.PARTITIONS])
        for partition in tables.PARTITIONS:
            consumer.seek(TopicPartition(*partition), stored.get(partition, 0))
        async for record in consumer:
            with connection.transaction(), connection.cursor() as cursor:
                one_event.apply(cursor, record.topic, json.loads(record.value))
                cursor.execute(tables.POSITION, [[record.topic], [record.partition], [record.offset + 1]])


if __name__ == "__main__":
    asyncio.run(main())

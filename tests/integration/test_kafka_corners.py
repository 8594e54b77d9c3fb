"""What Kafka may do with a topic, and what a producer may put into it. Lost events: test_accept_loss.py."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewPartitions

from tests.integration.running import Place, note, places, until
from tests.integration.topics import COMPACTED, send_any_headers


@pytest.fixture
def place(database_url: str, read_database_url: str, kafka_brokers: str, tmp_path: Path) -> Iterator[Place]:
    yield from places(database_url, read_database_url, kafka_brokers, tmp_path)


async def stored_offsets(place: Place, end: int) -> list[int]:
    """The offsets that the broker still has, of so many."""
    consumer = AIOKafkaConsumer(bootstrap_servers=place.brokers)
    await consumer.start()
    try:
        partition = TopicPartition(place.topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        offsets: list[int] = []
        while await consumer.position(partition) < end:
            found = await consumer.getmany(partition, timeout_ms=200)
            offsets += [record.offset for record in found.get(partition, ())]
        return offsets
    finally:
        await consumer.stop()


async def no_lag(place: Place, end: int, seconds: float = 30.0) -> None:
    """Wait until the group stands at the broker's end, exactly, and says so."""
    lag = "SELECT next, end_offset FROM positions JOIN ends USING (topic, partition)"
    await until(lambda: place.query(lag) == [(end, end)], seconds)
    await until(lambda: place.query("SELECT state FROM workers") == [("live",)])


async def test_a_compacted_topic_is_read_over_its_holes_to_a_lag_of_none(place):
    await place.make_topic(1, **COMPACTED)
    async with place.producer() as producer:
        for n in range(60):
            await producer.send_and_wait(place.topic, note(place.topic, n), key=b"%d" % (n % 3))
        # a segment is compacted once another has begun
        await asyncio.sleep(0.2)
        await producer.send_and_wait(place.topic, note(place.topic, 60), key=b"last")

    async def holes() -> list[int]:
        offsets = await stored_offsets(place, 61)
        return offsets if len(offsets) < 61 else []

    before = await until(holes, 100)
    worker = place.start()
    await no_lag(place, 61, 60)
    told = place.told()
    assert set(await stored_offsets(place, 61)) <= set(told) <= set(before)  # the cleaner may still be at it
    assert set(told.values()) == {1}
    assert worker.said("refused") == []


async def test_an_open_transaction_holds_back_what_is_behind_it_and_nothing_else(place):
    await place.make_topic(2)
    worker = place.start()
    await place.joined(worker)
    await place.notes(range(5), partition=0)
    async with place.producer(transactional_id=place.name) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(place.topic, note(place.topic, 100), partition=0)
        await place.notes(range(10, 15), partition=0)
        await place.notes(range(5, 10), partition=1)
        await place.has_told(10)
        await until(lambda: place.query("SELECT end_offset FROM ends WHERE partition = 0") == [(5,)])
        assert place.positions() == {(place.topic, 0): 5, (place.topic, 1): 5}
        await producer.commit_transaction()
    await until(lambda: set(place.told()) == {*range(15), 100})
    assert set(place.told().values()) == {1}
    await until(lambda: place.positions()[place.topic, 0] == 12)  # the marker is passed


async def test_a_partition_added_while_the_worker_runs_is_picked_up(place):
    await place.make_topic(1)
    worker = place.start()
    await place.joined(worker)
    async with place._admin() as admin:
        await admin.create_partitions({place.topic: NewPartitions(3)})
    await until(lambda: _has_partitions(place, 3))
    for partition in range(3):
        await place.notes(range(partition * 10, partition * 10 + 10), partition=partition)
    await place.has_told(30, seconds=60)
    assert worker.process.poll() is None


async def _has_partitions(place: Place, count: int) -> bool:
    async with place._admin() as admin:
        (told,) = await admin.describe_topics([place.topic])
        return len(told["partitions"]) == count


async def test_records_of_more_than_a_megabyte_are_applied_and_bad_ones_kept_whole(place):
    await place.make_topic(1, **{"max.message.bytes": str(4 << 20)})
    worker = place.start()
    await place.joined(worker)
    padding = "x" * (3 << 19)
    bad = b"not JSON " + padding.encode()
    async with place.producer(max_request_size=4 << 20) as producer:
        for n in range(8):
            event = json.loads(note(place.topic, n))
            event["data"]["of a later version"] = padding
            await producer.send_and_wait(place.topic, json.dumps(event).encode())
        await producer.send_and_wait(place.topic, bad)
    await place.has_told(8, seconds=60)
    await until(lambda: place.query("SELECT value FROM dead_letters") == [(bad,)])
    await no_lag(place, 9)


def poisoned(place: Place, n: int, **changes: Any) -> bytes:
    event = json.loads(note(place.topic, n))
    event["data"] |= changes.pop("data", {})
    return json.dumps(event | changes).encode()


async def test_poison_becomes_dead_letters_byte_by_byte_and_what_is_around_it_is_applied(place):
    await place.make_topic(1)
    worker = place.start()
    poison = [
        poisoned(place, 100, data={"text": "a\0b"}),
        poisoned(place, 100, data={"text": "\ud800"}),
        poisoned(place, 100, data={"note_id": "n\0"}),
        poisoned(place, 100, id="\udfff"),
        note(place.topic, 100).replace(b'"t"', b'"\xff\xfe"'),
        poisoned(place, 100, sequence=10**19),
        poisoned(place, 100, sequence="9" * 20),
        poisoned(place, 100, data={"text": 10**20}),
        b"\0",
        b"",
        b"[" * 100_000,
    ]
    async with place.producer() as producer:
        for n, value in enumerate(poison):
            await producer.send_and_wait(place.topic, note(place.topic, n), headers=[("\u20ac", b"\0\xff")])
            await producer.send_and_wait(place.topic, value)
        await producer.send_and_wait(place.topic, None, key=b"a tombstone")
        names = [b"plain", b"\xff\xfe", b"a \xed\xa0\x80", b"plain"]
        await send_any_headers(
            producer, place.topic, [(note(place.topic, len(poison) + n), name) for n, name in enumerate(names)]
        )
    await place.has_told(len(poison) + len(names))
    await no_lag(place, 2 * len(poison) + 1 + len(names))
    kept = place.query('SELECT "offset", value FROM dead_letters ORDER BY "offset"')
    assert kept == [(2 * n + 1, value) for n, value in enumerate(poison)] + [(2 * len(poison), None)]
    assert worker.process.poll() is None


async def test_where_most_records_are_bad_the_worker_stops_and_commits_nothing_behind(place):
    await place.make_topic(1)
    await place.notes(range(600))
    async with place.producer() as producer:
        sent = [await producer.send(place.topic, b"bad %d" % n) for n in range(2_000)]
        await asyncio.gather(*sent)
    supervisor = place.start("--supervise")
    code, last = await asyncio.to_thread(supervisor.ended, 60)
    assert code == 2
    assert "more than 50% of the last 1,000 records were bad" in last
    # of the last 1,000 records, the 501st bad one crosses the limit
    assert place.query("SELECT count(*) FROM dead_letters") == [(501,)]
    assert place.positions() == {(place.topic, 0): 600 + 501}
    assert supervisor.said("restarting") == []

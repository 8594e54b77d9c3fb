"""The past in Kafka as a bounded log: exact ends, whole over transactions and compaction; what is lost is told."""

import asyncio
import threading

import pytest
from aiokafka import AIOKafkaProducer

from projector.apply.batch import TopicPartition
from projector.history import kafka
from projector.history.kafka import KafkaHistory
from projector.ingest.broker import KafkaUnreachable
from projector.ingest.positions import EventsGone, TopicReplaced
from schemas.envelope import RawRecord
from tests.integration.past import all_of, own_topic, plain, read, send, sent
from tests.integration.topics import COMPACTED, OwnTopic, send_any_headers, until


@pytest.fixture
def topic(kafka_brokers: str) -> OwnTopic:
    return own_topic(kafka_brokers)


@pytest.fixture
def small_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch an answer, and nothing read ahead: what happens to the topic is noticed in the middle."""
    for name in ("MAX_AHEAD", "MAX_PARTITION_BYTES", "MAX_FETCH_BYTES"):
        monkeypatch.setattr(kafka, name, 1)


def history_of(topic: OwnTopic, **options: bool) -> KafkaHistory:
    return KafkaHistory([topic.brokers], [topic.topic, "there_is_no_such_topic"], **options)


def test_what_was_published_is_read_field_by_field_from_all_partitions(topic):
    asyncio.run(topic.make_topic(2))
    records = sent(topic, 40, partition=0) + sent(topic, 7, partition=1)
    history = history_of(topic)
    first, second = TopicPartition(topic.topic, 0), TopicPartition(topic.topic, 1)
    there = history.look()
    assert (there.starts, there.ends) == ({first: 0, second: 0}, {first: 40, second: 7})
    assert all_of(history) == records
    assert read(history, {first: 13, second: 7}, {first: 29, second: 7}) == records[13:29]
    assert list(history.read({}, there.ends)) == []
    (chunk,) = history_of(topic, exact=True).read({first: 3}, {first: 4})
    assert chunk.records[0].headers[2] == ("null", None)


@pytest.mark.parametrize("codec", [0, 1])  # none, gzip
def test_a_header_whose_name_is_not_utf_8_is_read_as_kafkas_own_clients_read_it(topic, codec):
    names = [b"plain", b"a \xff", b"caf\xc3\xa9", b"\xed\xa0\x80"]

    async def publish() -> None:
        await topic.make_topic(1)
        async with topic.producer() as producer:
            await send_any_headers(producer, topic.topic, [(b"%d" % n, name) for n, name in enumerate(names)], codec)
            await send(producer, topic, 7)

    asyncio.run(publish())
    found = all_of(history_of(topic))
    assert [record.offset for record in found] == [0, 1, 2, 3, 4]
    assert [(r.value, r.headers) for r in found[:4]] == [
        (b"%d" % n, ((name.decode(errors="replace"), b"1"),)) for n, name in enumerate(names)
    ]


async def transactions(topic: OwnTopic) -> tuple[list[RawRecord], AIOKafkaProducer]:
    """Records that are committed, among such as are not; the last transaction is left open."""
    await topic.make_topic(1)
    transactional = topic.producer(transactional_id=topic.topic)
    await transactional.start()
    kept = []
    async with topic.producer() as producer:
        for n in (0, 10, 20):
            kept += [await send(producer, topic, n + i) for i in range(3)]
            async with transactional.transaction():
                kept += [await send(transactional, topic, n + 3 + i) for i in range(2)]
            await transactional.begin_transaction()
            for i in range(2):
                await send(transactional, topic, n + 5 + i)
            await transactional.abort_transaction()
        await transactional.begin_transaction()
        await send(transactional, topic, 30)
        await send(producer, topic, 31)
    return kept, transactional


async def test_between_any_two_offsets_exactly_what_is_committed_is_read(topic):
    kept, open_one = await transactions(topic)
    partition = TopicPartition(topic.topic, 0)
    history = history_of(topic)
    try:
        (end,) = (await asyncio.to_thread(history.look)).ends.values()
        assert end == 27, "three times three records, and two transactions of two with their markers"
        bounds = [(0, end), (0, 0), (0, 1), (4, 6), (5, 6), (6, 8), (8, 9), (5, 9), (7, 14), (17, end), (26, end)]
        for start, stop in bounds:
            found = await asyncio.to_thread(read, history, {partition: start}, {partition: stop})
            assert found == [record for record in kept if start <= record.offset < stop], (start, stop)
        await open_one.commit_transaction()
        assert (await asyncio.to_thread(history.look)).ends == {partition: 30}
    finally:
        await open_one.stop()


async def test_a_compacted_topic_is_read_over_its_holes(topic):
    await topic.make_topic(1, **COMPACTED)
    async with topic.producer() as producer:
        for n in range(60):
            await producer.send_and_wait(topic.topic, b"%d" % n, key=b"%d" % (n % 3))
        await asyncio.sleep(0.2)  # a segment is compacted once another has begun
        await producer.send_and_wait(topic.topic, b"60", key=b"last")
    history = history_of(topic)

    async def holes() -> list[int]:
        offsets = [record.offset for record in await asyncio.to_thread(all_of, history)]
        return offsets if len(offsets) < 61 else []

    offsets = await until(holes, 100)
    assert {57, 58, 59, 60} <= set(offsets)
    partition = TopicPartition(topic.topic, 0)
    inside = await asyncio.to_thread(read, history, {partition: 3}, {partition: 59})
    assert {57, 58} <= {record.offset for record in inside} <= {n for n in offsets if 3 <= n < 59}


def test_what_kafka_drops_before_it_is_read_is_named(topic, small_fetches):
    asyncio.run(topic.make_topic(1))
    records = sent(topic, 20)
    history = history_of(topic)
    starts, ends, *_ = history.look()
    chunks = history.read(starts, ends)
    assert [plain(record) for record in next(chunks).records] == records[:1]
    asyncio.run(topic.delete_records({0: 15}))
    with pytest.raises(EventsGone, match=rf"^{topic.topic}/0: offsets \d+ to 14 \(\d+\) are gone from Kafka"):
        list(chunks)
    with pytest.raises(EventsGone, match=rf"^{topic.topic}/0: offsets 0 to 14 \(15\) are gone from Kafka"):
        list(history.read(starts, ends))
    assert read(history, history.look().starts, ends) == records[15:]


def test_a_topic_made_again_in_the_middle_is_told_by_its_id(topic, small_fetches):
    asyncio.run(topic.make_topic(1))
    sent(topic, 20)
    history = history_of(topic)
    starts, ends, *_ = history.look()
    chunks = history.read(starts, ends)
    next(chunks)
    asyncio.run(topic.delete_topic())
    asyncio.run(topic.make_topic(1))
    sent(topic, 30)
    with pytest.raises(TopicReplaced, match=rf"^{topic.topic}: deleted and made again"):
        list(chunks)


def test_a_topic_that_is_gone_or_shorter_is_told(topic):
    asyncio.run(topic.make_topic(1))
    sent(topic, 3)
    partition = TopicPartition(topic.topic, 0)
    history = history_of(topic)
    with pytest.raises(EventsGone, match=rf"{topic.topic}/0 to offset 4, but Kafka ends at 3"):
        list(history.read({partition: 0}, {partition: 4}))
    asyncio.run(topic.delete_topic())
    with pytest.raises(EventsGone, match=rf"^{topic.topic}/0: Kafka has no such partition"):
        list(history.read({partition: 0}, {partition: 3}))


def test_closed_early_it_leaves_no_thread_behind(topic, small_fetches):
    asyncio.run(topic.make_topic(1))
    sent(topic, 20)
    history = history_of(topic)
    starts, ends, *_ = history.look()
    chunks = history.read(starts, ends)
    next(chunks)
    assert "history" in {thread.name for thread in threading.enumerate()}
    chunks.close()
    assert "history" not in {thread.name for thread in threading.enumerate()}


def test_a_broker_that_is_not_there_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr("projector.ingest.broker.SECONDS_TO_CONNECT", 0.3)
    history = KafkaHistory(["127.0.0.1:9"], ["orders"])
    with pytest.raises(KafkaUnreachable, match="cannot reach Kafka at"):
        history.look()
    with pytest.raises(KafkaUnreachable, match="cannot reach Kafka at"):
        list(history.read({TopicPartition("orders", 0): 0}, {TopicPartition("orders", 0): 1}))

"""Publishing to a real Kafka: what arrives, in which order, and what is told when it cannot."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from projector.publish import EventLines, Message, Published, Publisher, PublishError, ensure_topics, publish
from projector.tpch import events
from tests.process import environment_with


@pytest.fixture
def brokers(kafka_brokers: str) -> list[str]:
    return kafka_brokers.split(",")


@pytest.fixture
def topic() -> str:
    return f"t{uuid.uuid4().hex}"


async def arrived(brokers: list[str], topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """All records of a topic, each partition's in its order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, p) for p in await partitions_of(brokers, topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord[bytes, bytes]] = []
        while sum(ends.values()) > len(records):
            for batch in (await consumer.getmany(timeout_ms=1_000)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def partitions_of(brokers: list[str], topic: str) -> list[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        return [partition["partition"] for partition in (await admin.describe_topics([topic]))[0]["partitions"]]
    finally:
        await admin.close()


def event(topic: str, subject: str, number: int = 1) -> bytes:
    return json.dumps({"type": f"{topic}.Happened", "subject": subject, "number": number}).encode()


def prejoin(brokers: Sequence[str], *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = environment_with(KAFKA_BROKERS=",".join(brokers))
    return subprocess.run(
        [sys.executable, "-m", "projector.cli", *arguments],
        input=stdin,
        capture_output=True,
        env=environment,
        check=False,
    )


async def test_lines_arrive_as_they_are_keyed_by_subject_in_structured_mode(
    brokers: list[str], topic: str, tmp_path: Path
) -> None:
    lines = [event(topic, f"s{n}", n) for n in range(50)]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(lines) + b"\r\n\n")
    published = await publish(brokers, EventLines([str(file)]))
    records = await arrived(brokers, topic)
    assert (published.count, dict(published.topics), published.created) == (50, {topic: 50}, [topic])
    assert {(r.key, r.value) for r in records} == {(json.loads(line)["subject"].encode(), line) for line in lines}
    assert {r.headers for r in records} == {(("content-type", b"application/cloudevents+json"),)}


async def test_events_of_a_key_are_in_one_partition_in_order_over_many_batches(brokers: list[str], topic: str) -> None:
    messages = [Message(topic, f"s{n % 97}".encode(), event(topic, f"s{n % 97}", n)) for n in range(60_000)]
    published = await publish(brokers, messages, partitions=3)
    records = await arrived(brokers, topic)
    assert published.count == len(records) == 60_000
    assert {r.partition for r in records} == {0, 1, 2}
    by_key: dict[bytes, list[ConsumerRecord[bytes, bytes]]] = {}
    for record in records:
        by_key.setdefault(record.key or b"", []).append(record)
    for records_of_key in by_key.values():
        assert len({r.partition for r in records_of_key}) == 1
        numbers = [json.loads(r.value or b"")["number"] for r in records_of_key]
        assert numbers == sorted(numbers)


async def test_keys_go_where_kafkas_own_clients_put_them(brokers: list[str], topic: str) -> None:
    await publish(brokers, [Message(topic, f"s{n}".encode(), b"{}") for n in range(40)])
    async with AIOKafkaProducer(bootstrap_servers=brokers) as other:
        for n in range(40):
            await other.send_and_wait(topic, b"{}", key=f"s{n}".encode())
    places = {(r.key, r.partition) for r in await arrived(brokers, topic)}
    assert len(places) == 40


async def test_a_topic_that_exists_keeps_its_partitions(brokers: list[str], topic: str) -> None:
    assert await ensure_topics(brokers, [topic], 2) == [topic]
    assert await ensure_topics(brokers, [topic], 7) == []
    published = await publish(brokers, [Message(topic, f"s{n}".encode(), b"{}") for n in range(100)], partitions=7)
    assert published.created == []
    assert {r.partition for r in await arrived(brokers, topic)} == {0, 1}


async def test_messages_that_come_one_by_one_are_published_as_they_come(brokers: list[str], topic: str) -> None:
    acknowledged: list[int] = []

    async def trickle() -> AsyncIterator[Message]:
        for n in range(3):
            yield Message(topic, b"s", event(topic, "s", n))

    published = await publish(brokers, trickle(), on_progress=acknowledged.append)
    assert acknowledged == [1, 1, 1]
    assert published.count == 3


async def test_what_comes_before_a_pause_is_published_before_the_pause_ends(brokers: list[str], topic: str) -> None:
    progress: list[int] = []

    def slow() -> Iterator[Message | None]:
        yield Message(topic, b"s", b"{}")
        while not progress:
            yield None

    published = await publish(brokers, slow(), on_progress=progress.append)
    assert published.count == 1


async def test_a_publisher_counts_what_kafka_acknowledged(brokers: list[str], topic: str) -> None:
    async with Publisher(brokers) as publisher:
        await publisher.send([Message(topic, b"a", b"{}"), Message(topic, b"b", b"{}")])
        await publisher.flush()
        assert publisher.published == Published(publisher.published.topics, [topic])
        assert publisher.published.count == 2


async def test_an_event_larger_than_kafka_takes_is_told(brokers: list[str], topic: str) -> None:
    with pytest.raises(PublishError, match=rf"an event of topic {topic} is larger than Kafka takes"):
        await publish(brokers, [Message(topic, b"a", os.urandom(3_000_000))])


async def test_brokers_that_are_down_are_named_within_ten_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(PublishError, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        await publish(["127.0.0.1:1"], [Message("t", b"a", b"{}")])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("[1]", "Expected `object`, got `array`"),
        ("{", "Input data was truncated"),
        ('{"subject": "s"}', "missing required field `type`"),
        ('{"type": "t.X"}', "missing required field `subject`"),
        ('{"type": "t.X", "subject": 1}', "Expected `str`, got `int`"),
        ('{"type": "t.X", "subject": ""}', "`subject`, which is the key, is empty"),
        ('{"type": "t/t.X", "subject": "s"}', "must be letters, digits"),
    ],
)
async def test_a_bad_line_is_named_and_all_before_it_is_published(
    brokers: list[str], topic: str, tmp_path: Path, line: str, wrong: str
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(event(topic, "a") + b"\n" + event(topic, "b") + b"\n" + line.encode() + b"\n" + event(topic, "c"))
    lines = EventLines([str(file)])
    published = await publish(brokers, lines)
    assert published.topics == {topic: 2}
    assert lines.problem is not None
    assert lines.problem.startswith(f"{file}, line 3 is not an event to publish: ")
    assert wrong in lines.problem


def test_the_command_reports_one_json_object(brokers: list[str], topic: str) -> None:
    run = prejoin(brokers, "publish", "--json", "-", stdin=event(topic, "a") + b"\n" + event(topic, "b"))
    assert run.returncode == 0
    report = json.loads(run.stdout)
    assert (report["published"], report["topics"]) == (2, {topic: 2})
    assert report["seconds"] > 0
    assert f"created topic {topic} with 4 partitions" in run.stderr.decode()


def test_the_command_exits_with_2_and_tells_how_many_lines_were_published(brokers: list[str], topic: str) -> None:
    run = prejoin(brokers, "publish", "-", stdin=event(topic, "a") + b"\nnonsense\n")
    assert run.returncode == 2
    assert "stdin, line 2 is not an event to publish" in run.stderr.decode()
    assert run.stderr.decode().endswith("1 lines published before it\n")


def test_a_missing_file_is_told_before_anything_is_published(brokers: list[str], topic: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(event(topic, "a"))
    run = prejoin(brokers, "publish", str(file), str(tmp_path / "missing"))
    assert run.returncode == 2
    assert "missing does not exist" in run.stderr.decode()
    assert "created topic" not in run.stderr.decode()


def test_generated_events_are_what_a_demo_publishes(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    run = prejoin(["unused:1"], "generate", "tpch", "--scale", "0.001", "--output", str(file), "--json")
    assert run.returncode == 0
    lines = file.read_bytes().splitlines()
    assert lines == [message.value for message in events(0.001)]
    assert json.loads(run.stdout)["events"] == len(lines)
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]

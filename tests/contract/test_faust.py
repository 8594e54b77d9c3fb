"""What we lean on in faust 0.15.3 and aiokafka 0.14 without being promised it.

A failure here after an upgrade says: read what changed, then `projector/ingest/chunks.py`, and only then mend the test.
"""

import hashlib
import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiokafka import ConsumerRecord
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher, subscription_state
from aiokafka.protocol.offset import OffsetRequest
from faust.app.base import App
from faust.tables.recovery import Recovery
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import QueueServiceThread

from projector.apply.batch import Chunk, TopicPartition
from projector.ingest.app import ChunkApp, make_app
from projector.ingest.chunks import ChunkConsumer, ChunkThread, ChunkTransport, Start

A, B = TopicPartition("a", 0), TopicPartition("b", 0)

# What our overrides and calls look like from outside.
SIGNATURES: list[tuple[Callable[..., Any], str]] = [
    (driver.AIOKafkaConsumerThread._fetch_records, "self consumer active_partitions timeout max_records"),
    (driver.AIOKafkaConsumerThread._create_worker_consumer, "self transport"),
    (driver.AIOKafkaConsumerThread._commit, "self offsets"),
    (driver.AIOKafkaConsumerThread.verify_event_path, "self now tp"),
    (base.ConsumerThread.on_partitions_revoked, "self revoked"),
    (driver.Consumer._new_consumer_thread, "self"),
    (driver.Consumer._to_message, "self tp record"),
    (base.Consumer.getmany, "self timeout"),
    (base.Consumer._wait_next_records, "self timeout"),
    (base.Consumer.perform_seek, "self"),
    (base.Consumer.on_buffer_full, "self tp"),
    (base.Consumer._add_gap, "self tp offset_from offset_to"),
    (base.Consumer._new_offset, "self tp"),
    (App._new_transport, "self"),
    (QueueServiceThread.call_thread, "self fun args kwargs"),
    (fetcher.Fetcher.fetched_records, "self partitions timeout max_records"),
    (AIOKafkaClient.send, "self node_id request group"),
    (AIOKafkaClient.get_random_node, "self"),
    (OffsetRequest.__init__, "self replica_id isolation_level topics"),
]

# What happens inside, where our reasoning depends on each line.
SOURCES: list[tuple[Callable[..., Any], str]] = [
    (base.Consumer.getmany, "hands each message on, unless flow stopped or the generation changed"),
    (base.Consumer._drain_messages, "drops what lies before the offset read; suspends while a rebalance begins"),
    (base.Consumer.ack, "notes offsets in _acked and _acked_index"),
    (base.ThreadDelegateConsumer.threadsafe_partitions_assigned, "calls the main loop from the thread"),
    (driver.AIOKafkaConsumerThread._fetch_records, "nothing after fetched_records that could move a position"),
    (Recovery._resume_streams, "seeks by perform_seek, after every rebalance"),
    (fetcher.Fetcher.fetched_records, "raises errors only when no records were taken"),
    (fetcher.FetchResult.getall, "moves the position behind the records, and over what it skips"),
    (fetcher.FetchResult.check_assignment, "drops what was fetched before a seek"),
    (fetcher.PartitionRecords._unpack_records, "passes control batches and aborted ones"),
]
KNOWN = {
    "Consumer.getmany": "4b168d84882a",
    "Consumer._drain_messages": "44a2500309e8",
    "Consumer.ack": "5fcf41cf4515",
    "ThreadDelegateConsumer.threadsafe_partitions_assigned": "50fac26841ad",
    "AIOKafkaConsumerThread._fetch_records": "39a2c6c79fc1",
    "Recovery._resume_streams": "d986a6710c1a",
    "Fetcher.fetched_records": "be4348896b9b",
    "FetchResult.getall": "3e717e30de50",
    "FetchResult.check_assignment": "b5340df67e3f",
    "PartitionRecords._unpack_records": "b803e6d46480",
}


@pytest.mark.parametrize(("function", "parameters"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", None))
def test_a_private_method_takes_what_it_took(function, parameters):
    assert " ".join(inspect.signature(function).parameters) == parameters


@pytest.mark.parametrize(("function", "why"), SOURCES, ids=lambda value: getattr(value, "__qualname__", None))
def test_a_private_method_does_what_it_did(function, why):
    digest = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]
    assert digest == KNOWN[function.__qualname__], f"{function.__qualname__} changed; we rely on: {why}"


def test_our_overrides_override_something():
    for ours, theirs in ((ChunkThread, driver.AIOKafkaConsumerThread), (ChunkConsumer, driver.Consumer)):
        own = {"seek_to", "_seek_to", "is_current", "seek_to_stored", "ask_host_about", "_chunks", "_out_of_range"}
        methods = {name for name, value in vars(ours).items() if inspect.isfunction(value)} - own
        assert {name for name in methods if not hasattr(theirs, name)} == set()
    assert driver.Transport.Consumer is not ChunkTransport.Consumer


def test_a_record_of_aiokafka_is_what_the_applier_takes():
    fields = set(ConsumerRecord.__dataclass_fields__)
    assert {"topic", "partition", "offset", "key", "value", "headers", "timestamp", "serialized_value_size"} <= fields


class Consumer:
    """aiokafka's own subscription state, as its consumer holds it, and no broker."""

    def __init__(self) -> None:
        self._subscription = subscription_state.SubscriptionState()
        self._subscription.subscribe({"a", "b"})
        self._subscription.assign_from_subscribed({A, B})

    def assignment(self) -> set[TopicPartition]:
        return set(self._subscription.assigned_partitions())

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._subscription.seek(partition, offset)

    def read_to(self, partition: TopicPartition, position: int) -> None:
        self._subscription.subscription.assignment.state_value(partition).consumed_to(position)


@pytest.fixture
async def thread() -> ChunkThread:
    thread = ChunkThread.__new__(ChunkThread)
    thread._count, thread._seeks, thread._next = iter(range(1, 100)), {}, {}
    thread._consumer = Consumer()
    return thread


def read(thread: ChunkThread, **records: list[Any]) -> list[Chunk]:
    found = thread._chunks(thread._consumer, {TopicPartition(topic, 0): its for topic, its in records.items()})
    return [fetched.chunk for fetched in (one for (one,) in found.values())]


def record(offset: int) -> ConsumerRecord[Any, Any]:
    return ConsumerRecord("a", 0, offset, 0, 0, b"k", b"v", None, 1, 1, ())


async def test_chunks_follow_each_other_over_holes_in_the_offsets(thread):
    await thread._seek_to({A: Start(None, 3)})
    thread._consumer.read_to(A, 10)  # 5 and 6 and the marker behind them
    first = [record(5), record(6)]
    assert read(thread, a=first) == [Chunk(A, None, 10, first)]
    thread._consumer.read_to(A, 12)
    assert read(thread) == [Chunk(A, 10, 12, [])], "nothing but markers moves the position"
    assert read(thread) == []


async def test_a_partition_that_was_not_sought_delivers_nothing(thread):
    thread._consumer.seek(B, 0)
    thread._consumer.read_to(B, 5)
    assert read(thread, b=[record(4)]) == []


async def test_after_a_seek_the_chunks_before_it_are_stale(thread):
    await thread._seek_to({A: Start(0, 0)})
    thread._consumer.read_to(A, 5)
    ((before,),) = thread._chunks(thread._consumer, {A: [record(4)]}).values()
    assert thread.is_current(before)
    await thread._seek_to({A: Start(2, 2)})
    assert not thread.is_current(before)
    thread._consumer.read_to(A, 5)
    ((after,),) = thread._chunks(thread._consumer, {A: [record(4)]}).values()
    assert thread.is_current(after)
    assert after.chunk.start == 2


async def test_null_header_values_become_empty_ones(thread):
    await thread._seek_to({A: Start(0, 0)})
    thread._consumer.read_to(A, 1)
    odd = ConsumerRecord("a", 0, 0, 0, 0, None, None, None, -1, -1, (("h", None), ("i", b"v")))
    assert read(thread, a=[odd])[0].records[0].headers == (("h", b""), ("i", b"v"))


def test_what_is_committed_to_kafka_is_behind_the_newest_acknowledged_chunk():
    consumer = ChunkConsumer.__new__(ChunkConsumer)
    consumer._acked, consumer._acked_index = {A: [9, 4]}, {A: {9, 4}}
    assert consumer._new_offset(A) == 10
    assert consumer._new_offset(A) is None


# How faust and its consumer are set up, where a default is a hazard (docs/faust.md).


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[ChunkApp]:
    async def deliver(*_: Any) -> None: ...

    made = make_app("g", ["127.0.0.1:1"], ["a"], str(tmp_path), Mock(), deliver)
    yield made
    made.consumer.thread_loop.close()


async def test_the_app_keeps_away_from_what_hangs_or_freezes(app):
    assert isinstance(app.transport, ChunkTransport)  # not confluent's
    assert app.conf.stream_wait_empty is False
    assert [agent.isolated_partitions for agent in app.agents.values()] == [False]


async def test_the_consumer_reads_what_is_committed_never_resets_and_does_not_wait_for_more(app):
    consumer = app.consumer._thread._create_worker_consumer(app.transport)
    assert consumer._isolation_level == "read_committed"
    assert consumer._auto_offset_reset == "none"
    assert consumer._enable_auto_commit is False
    assert consumer._fetch_max_wait_ms <= 100
    assert consumer._max_poll_interval_ms >= 86_400_000  # an idle standby would leave the group for good
    assert consumer._session_timeout_ms <= 15_000  # the successor of a killed worker waits so long
    await consumer.stop()


async def test_a_full_buffer_sets_no_partition_aside(app):
    stock, ours = driver.Consumer.on_buffer_full, type(app.consumer).on_buffer_full
    partition = TP(*A)
    for function, active in ((ours, {partition}), (stock, set())):
        app.consumer._active_partitions = {partition}
        function(app.consumer, partition)
        assert app.consumer._active_partitions == active

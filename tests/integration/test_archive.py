"""Topics kept as files: every record as it was published, whatever happens to archiver and topic meanwhile."""

import asyncio
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from projector.apply.batch import TopicPartition
from projector.history import archiver, kafka
from projector.history.archive import Archive
from projector.history.archiver import Archiver, Rotation
from projector.history.kafka import KafkaHistory
from projector.history.lock import ArchiveBusy, locked
from projector.history.seam import ArchiveFirst
from projector.ingest.positions import EventsGone, TopicReplaced
from tests.integration.past import all_of, own_topic, read, send, sent
from tests.integration.topics import OwnTopic, until

SMALL = Rotation(bytes=3_000)


@pytest.fixture
def topic(kafka_brokers: str) -> OwnTopic:
    return own_topic(kafka_brokers)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def archived(topic: OwnTopic, folder: Path, rotation: Rotation = SMALL, accept_loss: bool = False) -> Archive:
    Archiver([topic.brokers], [topic.topic], folder, rotation).run(once=True, accept_loss=accept_loss)
    return archive_of(topic, folder)


def archive_of(topic: OwnTopic, folder: Path) -> Archive:
    return Archive(folder, [topic.topic])


def names(folder: Path, pattern: str = "*/*/*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def bounds(offsets: list[int]) -> list[str]:
    return [f"{first:020}-{last:020}.parquet" for first, last in pairwise(offsets)]


def test_what_was_published_is_archived_field_by_field_and_goes_on_where_it_ended(topic, folder):
    asyncio.run(topic.make_topic(2))
    records = sent(topic, 30, partition=0) + sent(topic, 3, partition=1)
    archive = archived(topic, folder, Rotation())
    assert all_of(archive) == records
    assert archive.look().ids == KafkaHistory([topic.brokers], [topic.topic]).look().ids
    more = sent(topic, 4, partition=0, first=30)
    assert all_of(archived(topic, folder, Rotation())) == records[:30] + more + records[30:]
    assert all_of(archived(topic, folder, Rotation())) == records[:30] + more + records[30:]
    partition = folder / topic.topic / "0"
    assert names(folder, "*/0/*") == bounds([0, 30, 34])
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, partition.parent, partition)} == {0o700}
    table = pq.read_table(partition / names(folder, "*/0/*")[0])
    assert table["headers"].to_pylist()[3][2] == {"name": "null", "value": None}, "in the file it is what it was"
    group = pq.ParquetFile(partition / names(folder, "*/0/*")[0]).metadata.row_group(0)
    assert group.column(3).path_in_schema == "value"
    assert group.column(3).statistics is None
    assert group.column(3).compression == "ZSTD"


def test_files_end_at_their_size_and_age(topic, folder, monkeypatch):
    monkeypatch.setattr(kafka, "MAX_POLL_RECORDS", 5)
    monkeypatch.setattr(archiver, "ALL_GROUPS_BYTES", 1)
    monkeypatch.setattr(archiver, "FEWEST_GROUP_BYTES", 1)
    asyncio.run(topic.make_topic(1))
    records = sent(topic, 20, size=500)
    assert all_of(archived(topic, folder, Rotation(bytes=3_000))) == records
    sizes = [path.stat().st_size for path in sorted(folder.glob("*/*/*"))]
    assert len(sizes) > 2
    assert all(3_000 < size < 9_000 for size in sizes[:-1])
    assert all_of(archived(topic, folder.with_name("by age"), Rotation(seconds=0))) == records
    assert names(folder.with_name("by age")) == bounds([0, 5, 10, 15, 20])


async def test_transactions_leave_holes_that_names_cover(topic, folder):
    await topic.make_topic(1)
    async with topic.producer(transactional_id=topic.topic) as producer:
        async with producer.transaction():
            kept = [await send(producer, topic, n) for n in range(3)]
        await producer.begin_transaction()
        await send(producer, topic, 3)
        await producer.abort_transaction()
    archive = await asyncio.to_thread(archived, topic, folder)
    assert all_of(archive) == kept
    assert names(folder) == bounds([0, 6])
    await topic.delete_records({0: 6})
    both = ArchiveFirst(archive, KafkaHistory([topic.brokers], [topic.topic]))
    assert await asyncio.to_thread(all_of, both) == kept


def test_what_kafka_dropped_comes_from_the_archive_and_a_gap_is_told(topic, folder):
    asyncio.run(topic.make_topic(1))
    records = sent(topic, 12)
    history = KafkaHistory([topic.brokers], [topic.topic])
    archive = archived(topic, folder)
    records += sent(topic, 8, first=12)
    both = ArchiveFirst(archive, history)
    for dropped in (0, 5, 12):
        asyncio.run(topic.delete_records({0: dropped}))
        assert all_of(both) == records
        partition = TopicPartition(topic.topic, 0)
        assert read(both, {partition: 7}, {partition: 15}) == records[7:15]
    asyncio.run(topic.delete_records({0: 14}))
    with pytest.raises(EventsGone, match=rf"^{topic.topic}/0: the archive ends at offset 12 and Kafka begins at 14"):
        all_of(both)
    with pytest.raises(EventsGone, match=rf"^{topic.topic}/0: offsets 12 to 13 \(2\) are gone .*archive --accept-loss"):
        archived(topic, folder)
    assert names(folder) == bounds([0, 12])
    archived(topic, folder, accept_loss=True)
    assert [str(loss) for loss in archive.lost()] == [f"{topic.topic}/0: offsets 12 to 13 (2)"]
    assert all_of(both) == records[:12] + records[14:]
    assert all_of(archived(topic, folder)) == records[:12] + records[14:]


def test_an_archive_that_is_begun_late_says_so_and_begins_there(topic, folder):
    asyncio.run(topic.make_topic(1))
    records = sent(topic, 5)
    asyncio.run(topic.delete_records({0: 2}))
    with pytest.raises(EventsGone, match=rf"^{topic.topic}/0: offsets 0 to 1 \(2\) are gone .*archive --accept-loss"):
        archived(topic, folder)
    archive = archived(topic, folder, accept_loss=True)
    assert (list(archive.look().starts.values()), archive.lost()) == ([2], [])
    assert all_of(archived(topic, folder)) == records[2:]


def test_a_topic_that_was_made_again_goes_into_no_archive_of_the_one_before(topic, folder):
    asyncio.run(topic.make_topic(1))
    records = sent(topic, 5)
    archive = archived(topic, folder)
    asyncio.run(topic.delete_topic())
    assert all_of(archived(topic, folder)) == records, "of a topic that is gone there is nothing more"
    asyncio.run(topic.make_topic(1))
    sent(topic, 9)
    with pytest.raises(TopicReplaced, match=rf"^{topic.topic}: deleted and made again since it was archived"):
        archived(topic, folder, accept_loss=True)
    assert all_of(archive) == records
    assert names(folder) == bounds([0, 5])


def test_what_was_read_of_a_topic_made_again_meanwhile_is_not_kept(topic, folder, monkeypatch):
    monkeypatch.setattr(archiver, "SECONDS_BETWEEN_LOOKS", 0.1)
    asyncio.run(topic.make_topic(1))
    sent(topic, 5)
    read_so_far = list[int]()

    def run() -> None:
        with pytest.raises(TopicReplaced, match="deleted and made again"):
            Archiver([topic.brokers], [topic.topic], folder, tell=read_so_far.append).run()

    thread = threading.Thread(target=run)
    thread.start()
    asyncio.run(until(lambda: sum(read_so_far) == 5))
    asyncio.run(topic.delete_topic())
    asyncio.run(topic.make_topic(1))
    thread.join(30)
    assert not thread.is_alive()
    assert names(folder) == []


def test_of_two_archivers_of_one_folder_the_second_is_refused(topic, folder):
    with locked(folder), pytest.raises(ArchiveBusy, match=r"is being written by process \d+ on .+ since 2\d{3}-"):
        archived(topic, folder)
    archived(topic, folder)


def test_killed_at_any_moment_it_goes_on_without_loss_or_repeat(topic, folder):
    asyncio.run(topic.make_topic(2))
    command = [sys.executable, "-m", "tests.integration.killed", topic.brokers, topic.topic, str(folder)]
    records, left = [], set()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as archivers:

        def run(moment: int) -> int:
            archivers.stdin.write(f"{moment}\n")
            return int(archivers.stdout.readline())

        for moment in range(1, 11):  # each finds what the one before has left, and more records
            records = sorted(records + sent(topic, 10, partition=moment % 2, size=2_000), key=lambda r: r[:3])
            assert run(moment) == -signal.SIGKILL
            found = all_of(archive_of(topic, folder))
            for partition in (0, 1):
                held = [r for r in found if r.partition == partition]
                assert held == [r for r in records if r.partition == partition][: len(held)]
            left.update(names(folder))
        assert "~unfinished" in left
        assert run(10_000) == 0
    assert all_of(archive_of(topic, folder)) == records
    assert "~unfinished" not in names(folder)

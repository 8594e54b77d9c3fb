"""The seam of two histories, over files as an archiver writes them: wherever it is, each record is read once."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projector.apply.batch import Chunk, TopicPartition
from projector.history.archive import Archive, NoArchive
from projector.history.files import ArchiveBroken, named
from projector.history.seam import ArchiveFirst
from projector.history.writing import Writing
from projector.ingest.positions import EventsGone, TopicReplaced
from projector.operate.copied_log import CopiedLog
from schemas.envelope import RawRecord
from tests.integration.past import all_of, read

PARTITION = TopicPartition("orders", 0)
END = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def record(offset: int) -> RawRecord:
    headers = (("h", b"\xff\0"), ("h", b""))[: offset % 3]
    return RawRecord("orders", 0, offset, b"\0%d" % offset or None, b"v" * (offset % 7) or None, headers, offset - 1)


def written(folder: Path, offsets: Sequence[int], bounds: Sequence[int], topic_id: str = "one") -> Archive:
    """Files from each bound to the next, with the records at these offsets."""
    folder.mkdir(exist_ok=True)
    for first, last in pairwise(bounds):
        writing = Writing(folder / "orders" / "0", first, topic_id, 0.0, group_bytes=8)
        middle = (first + last) // 2
        for start, end in ((first, middle), (middle, last)):
            if start < end:
                writing.add(Chunk(PARTITION, start, end, [record(n) for n in offsets if start <= n < end]))
        writing.finish()
    return Archive(folder, ["orders", "payments"])


class Cuts(NamedTuple):
    """A log of END offsets, of which some hold records: archived in files between these bounds, kept from `kept` on."""

    offsets: list[int]
    archived: list[int]
    kept: int
    start: int
    end: int


@st.composite
def cuts(draw: st.DrawFn) -> Cuts:
    at = st.integers(0, END)
    offsets = sorted(draw(st.sets(st.integers(0, END - 1))))
    archived = sorted(draw(st.sets(at, min_size=2, max_size=5)))
    kept = draw(st.integers(0, min(archived[-1], END - 1)))
    start = draw(st.integers(min(archived[0], kept), END))
    return Cuts(offsets, archived, kept, start, draw(st.integers(start, END)))


@settings(deadline=None, max_examples=60)
@given(cuts())
def test_every_record_between_two_offsets_is_read_once_wherever_it_lies(cut: Cuts) -> None:
    with tempfile.TemporaryDirectory() as name:
        archive = written(Path(name) / "archive", cut.offsets, cut.archived)
        kept = written(Path(name) / "kept", cut.offsets, [cut.kept, END])
        both = ArchiveFirst(archive, kept)
        there = both.look()
        assert (there.starts, there.ends) == ({PARTITION: min(cut.archived[0], cut.kept)}, {PARTITION: END})
        assert there.gap == ""
        found = read(both, {PARTITION: cut.start}, {PARTITION: cut.end})
        assert found == [record(n) for n in cut.offsets if cut.start <= n < cut.end]


def test_what_is_in_neither_is_told_with_both_offsets(folder: Path) -> None:
    both = ArchiveFirst(written(folder / "a", [], [0, 5, 12]), written(folder / "b", [], [15, 20]))
    told = r"^orders/0: the archive ends at offset 12 and Kafka begins at 15: 3 offsets are in neither$"
    assert re.match(told, both.look().gap)
    log = CopiedLog(both, allow_truncated=False, note=[].append)
    with pytest.raises(EventsGone, match=told):
        log.begin({}, {})
    assert log.ends() == {PARTITION: 20}  # for one who has read on past it
    with pytest.raises(EventsGone, match=told):
        next(both.read({PARTITION: 3}, {PARTITION: 13}))
    assert read(both, {PARTITION: 3}, {PARTITION: 12}) == []
    assert read(both, {PARTITION: 15}, {PARTITION: 20}) == []


def test_what_an_archiver_adds_meanwhile_is_read_from_there(folder: Path) -> None:
    archive = written(folder / "a", range(20), [0, 5])
    both = ArchiveFirst(archive, written(folder / "b", range(20), [0, 20]))
    chunks = both.read({PARTITION: 0}, {PARTITION: 20})

    def growing() -> Iterator[Chunk]:
        yield next(chunks)
        written(folder / "a", range(20), [5, 15])
        for file in (folder / "b" / "orders" / "0").iterdir():  # and Kafka drops what is archived
            file.unlink()
        written(folder / "b", range(20), [15, 20])
        yield from chunks

    assert [found.offset for chunk in growing() for found in chunk.records] == list(range(20))


def test_another_topic_of_that_name_is_not_taken_for_the_one_that_was_archived(folder: Path) -> None:
    archive = written(folder / "a", [1], [0, 5], topic_id="one")
    both = ArchiveFirst(archive, written(folder / "b", [1], [0, 5], topic_id="other"))
    for ask in (both.look, lambda: next(both.read({PARTITION: 0}, {PARTITION: 5}))):
        with pytest.raises(TopicReplaced, match=r"^orders: deleted and made again since it was archived"):
            ask()
    unknown = ArchiveFirst(archive, written(folder / "c", [1], [0, 5], topic_id=""))
    assert all_of(unknown) == [record(1)]


def test_a_log_that_ends_before_its_archive_is_told(folder: Path) -> None:
    both = ArchiveFirst(written(folder / "a", [], [0, 5]), written(folder / "b", [], [0, 4]))
    with pytest.raises(EventsGone, match=r"archived is orders/0 up to offset 5, but Kafka ends at 4"):
        both.look()


def test_a_topic_that_kafka_has_no_more_is_read_from_the_archive(folder: Path) -> None:
    (folder / "b").mkdir()
    both = ArchiveFirst(written(folder / "a", range(5), [0, 5]), Archive(folder / "b", ["orders"]))
    assert all_of(both) == [record(n) for n in range(5)]


def test_files_that_are_missing_broken_or_not_its_own(folder: Path) -> None:
    with pytest.raises(NoArchive, match="prejoin archive --to"):
        Archive(folder / "nowhere", ["orders"])
    archive = written(folder / "a", range(20), [0, 5, 10, 20])
    partition = folder / "a" / "orders" / "0"
    (partition / "~unfinished").write_bytes(b"half")
    (folder / "a" / "orders" / "notes").mkdir()
    assert all_of(archive) == [record(n) for n in range(20)]
    with pytest.raises(EventsGone, match=r"^orders/0: asked for offsets 3 up to 21, but the archive holds 0 up to 20$"):
        next(archive.read({PARTITION: 3}, {PARTITION: 21}))
    middle = named(partition, 5, 10)
    whole = middle.read_bytes()
    middle.write_bytes(whole[:-40])
    with pytest.raises(ArchiveBroken, match=rf"{middle.name} cannot be read"):
        list(archive.read({PARTITION: 0}, {PARTITION: 20}))
    middle.unlink()
    with pytest.raises(ArchiveBroken, match=r"ends at offset 5, but the next file begins at 10: put back"):
        archive.look()
    named(partition, 5, 10, lost=True).touch()
    assert [tuple(loss) for loss in archive.lost()] == [(PARTITION, 5, 9)]
    assert all_of(archive) == [record(n) for n in (*range(5), *range(10, 20))]

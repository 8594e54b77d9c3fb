"""The topics as archive files hold them."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from projector.apply.batch import Chunk, TopicPartition
from projector.errors import PrejoinError
from projector.history.files import ArchiveFile, chunks_of, files_of, topic_id
from projector.history.log import Chunks, Look
from projector.ingest.positions import EventsGone, Loss, name_of


class NoArchive(PrejoinError):
    """There is no such folder."""


class Archive:
    """The named topics in a folder that `prejoin archive` writes, a `History`; an archiver may be at it meanwhile.

    Every method raises ArchiveBroken where files are missing or cannot be read.
    """

    def __init__(self, directory: Path, topics: Collection[str]) -> None:
        if not directory.is_dir():
            raise NoArchive(f"{directory}: no such folder; `prejoin archive --to {directory}` makes and fills one")
        self._directory, self._topics = directory, topics

    def look(self) -> Look:
        """What is archived, with each topic's id when it was; an empty one where a file does not say."""
        there = self._files()
        newest = {tp.topic: file for tp, files in there.items() for file in files if not file.is_lost}
        return Look(
            {tp: files[0].start for tp, files in there.items()},
            {tp: files[-1].next for tp, files in there.items()},
            {topic: topic_id(file) for topic, file in newest.items()},
        )

    def lost(self) -> list[Loss]:
        """Offsets between others that Kafka lost before they were archived; whoever archived accepted that."""
        files = sorted(self._files().items())
        return [Loss(tp, file.start, file.next - 1) for tp, held in files for file in held if file.is_lost]

    def read(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> Chunks:
        """See `History`: chunks are row groups. What was lost is passed over, in a chunk without records."""
        files = self._files()
        turns = deque(
            _partition(tp, files.get(tp, []), position, ends[tp])
            for tp, position in positions.items()
            if position < ends[tp]
        )
        while turns:
            turn = turns.popleft()
            if (chunk := next(turn, None)) is not None:
                turns.append(turn)
                yield chunk

    def _files(self) -> dict[TopicPartition, list[ArchiveFile]]:
        found = {}
        for topic in self._topics:
            folders = [folder for folder in (self._directory / topic).glob("*") if folder.name.isdecimal()]
            for folder in sorted(folders, key=lambda folder: int(folder.name)):
                if files := files_of(folder):
                    found[TopicPartition(topic, int(folder.name))] = files
        return found


def _partition(tp: TopicPartition, files: list[ArchiveFile], position: int, end: int) -> Iterator[Chunk]:
    if not files or position < files[0].start or end > files[-1].next:
        held = f"{files[0].start} up to {files[-1].next}" if files else "nothing"
        raise EventsGone(f"{name_of(tp)}: asked for offsets {position} up to {end}, but the archive holds {held}")
    for file in files:
        first, last = max(position, file.start), min(end, file.next)
        if first < last:
            yield from chunks_of(tp, file, first, last)

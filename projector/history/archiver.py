"""Keeps topics in an archive: reads what Kafka has, writes files, and goes on where the last file ends."""

import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from projector.apply.batch import Chunk, TopicPartition
from projector.errors import PrejoinError
from projector.history.archive import Archive
from projector.history.files import named
from projector.history.kafka import KafkaHistory
from projector.history.lock import locked
from projector.history.writing import GROUP_BYTES, UNFINISHED, Writing, make_folder, sync_folder
from projector.ingest.positions import EventsGone, Loss, TopicReplaced, cut, gone, name_of
from projector.outages import PATIENCE, Insisting
from projector.store.topic_ids import other_ids

SECONDS_BETWEEN_LOOKS = 2.0
ALL_GROUPS_BYTES = 64 << 20  # of row groups that are gathered, of all partitions
FEWEST_GROUP_BYTES = 128 << 10
RECORDS_OF_A_STEP = 100_000  # behind so many more an outage is another one


class NotArchived(PrejoinError):
    """The folder cannot be written."""


class Rotation(NamedTuple):
    """When a file is finished and the next one begun: its size, or the age of what it begins with."""

    bytes: int = 64 << 20
    seconds: float = 300.0


class Archived(NamedTuple):
    """What a partition is archived from and up to; the records and files of this run."""

    topic: str
    partition: int
    start: int
    next: int
    records: int
    files: int


class _Stopped(Exception):
    """Somebody said stop, at a moment when what is being written is whole."""


class Archiver:
    """Writes all partitions of some topics into a folder; one process a folder.

    A file has its name once all of it is on the disk, and the next one begins at its end: killed at any moment, an
    archiver has lost nothing but unfinished files, which are read again. `tell` gets how many more records were
    written, `say` a line where something is worth it. KeyboardInterrupt, raised inside of `waiting()`, ends the run.
    """

    def __init__(
        self,
        brokers: list[str],
        topics: Collection[str],
        directory: Path,
        rotation: Rotation = Rotation(),  # noqa: B008 - it cannot be changed
        tell: Callable[[int], object] = lambda _: None,
        say: Callable[[str], object] = lambda _: None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._kafka = KafkaHistory(brokers, topics, exact=True)
        self._topics, self._directory, self._rotation = topics, directory, rotation
        self._tell, self._say, self._waiting = tell, say, waiting
        self._ids = dict[str, str]()
        self._positions = dict[TopicPartition, int]()
        self._writing = dict[TopicPartition, Writing]()
        self._records, self._files = dict[TopicPartition, int](), dict[TopicPartition, int]()
        self._group_bytes = GROUP_BYTES

    def run(self, once: bool = False, accept_loss: bool = False) -> list[Archived]:
        """Archive until stopped; `once`: up to the ends of now. Without a first answer of Kafka, KafkaUnreachable.

        A later outage is waited for: for PATIENCE seconds with `once`, else until it ends.

        Raises ArchiveBusy, ArchiveBroken, NotArchived, TopicReplaced, and EventsGone: what Kafka lost before it was
        archived. With `accept_loss`, what is lost by now is noted in the archive and passed over.
        """
        try:
            with locked(self._directory):
                self._resume()
                with self._finishing():
                    self._rounds(once, accept_loss)
                return self._archived()
        except OSError as error:
            at = error.filename or self._directory
            raise NotArchived(f"{at}: {error.strerror or error}: see that it can be written, and has room") from error

    def _resume(self) -> None:
        for topic in self._topics:
            for left in (self._directory / topic).glob(f"*/{UNFINISHED}"):
                left.unlink()
        _, self._positions, self._ids, _ = Archive(self._directory, self._topics).look()

    @contextmanager
    def _finishing(self) -> Iterator[None]:
        """Name what was written, whatever ended the run; but nothing that was interrupted halfway."""
        try:
            try:
                with suppress(_Stopped):
                    yield
            except PrejoinError:
                with suppress(PrejoinError):
                    self._finish(list(self._writing))
                raise
            self._finish(list(self._writing))
        finally:
            for writing in self._writing.values():
                writing.discard()

    def _rounds(self, once: bool, accept_loss: bool) -> None:
        self._look(accept_loss)
        while True:
            self._insisting = Insisting(self._say, PATIENCE if once else math.inf, self._sleep)
            self._insisting.run(lambda: self._round(once))
            if once:
                return
            self._sleep(SECONDS_BETWEEN_LOOKS)

    def _round(self, once: bool) -> None:
        self._copy(self._look())
        self._finish([tp for tp, writing in self._writing.items() if once or self._is_old(writing)])

    def _sleep(self, seconds: float) -> None:
        with self._stoppable():
            time.sleep(seconds)

    def _look(self, accept_loss: bool = False) -> dict[TopicPartition, int]:
        """The ends of now, once topics and offsets are found to be what they were."""
        with self._stoppable():
            starts, ends, ids, _ = self._kafka.look()
        self._check_ids(ids)
        self._ids = {**ids, **self._ids}
        if short := cut(self._positions, ends):
            told = (f"{name_of(tp)} to offset {self._positions[tp]}, but Kafka ends at {ends[tp]}" for tp in short)
            raise EventsGone(
                f"archived is {', '.join(told)}: its log was cut, or the topic made again; archive into another folder"
            )
        losses = gone({tp: self._positions.get(tp, 0) for tp in ends}, starts)
        if losses and not accept_loss:
            raise EventsGone(
                f"{', '.join(map(str, losses))} are gone from Kafka before they were archived (retention, or deleted "
                "records); to go on without them: `prejoin archive --accept-loss`"
            )
        self._pass_over(losses)
        for tp in ends:
            self._positions.setdefault(tp, 0)
        self._group_bytes = max(FEWEST_GROUP_BYTES, min(GROUP_BYTES, ALL_GROUPS_BYTES // max(len(ends), 1)))
        return ends

    def _check_ids(self, ids: Mapping[str, str]) -> None:
        if others := other_ids(self._ids, ids):
            raise TopicReplaced(
                f"{', '.join(others)}: deleted and made again since it was archived (Kafka tells another topic id): "
                f"archive it into another folder than {self._directory}"
            )

    def _pass_over(self, losses: Iterable[Loss]) -> None:
        for loss in losses:
            if loss.partition in self._positions:  # else the archive begins behind it
                folder = self._folder(loss.partition)
                make_folder(folder)
                path = named(folder, loss.first, loss.last + 1, lost=True)
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                sync_folder(folder)
            self._positions[loss.partition] = loss.last + 1
            self._say(f"lost: {loss}")

    def _copy(self, ends: Mapping[TopicPartition, int]) -> None:
        positions = {tp: self._positions[tp] for tp in ends}
        with closing(self._kafka.read(positions, ends)) as chunks:
            while True:
                with self._stoppable():
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                self._add(chunk)

    def _add(self, chunk: Chunk) -> None:
        tp = chunk.partition
        writing = self._writing.get(tp)
        if writing is None:
            folder, topic_id = self._folder(tp), self._ids[tp.topic]
            writing = Writing(folder, self._positions[tp], topic_id, time.monotonic(), self._group_bytes)
            self._writing[tp] = writing
        writing.add(chunk)
        self._positions[tp] = chunk.next
        self._records[tp] = self._records.get(tp, 0) + len(chunk.records)
        self._tell(len(chunk.records))
        self._insisting.moved(sum(self._records.values()) // RECORDS_OF_A_STEP)
        if writing.bytes >= self._rotation.bytes or self._is_old(writing):
            self._finish([tp])

    def _is_old(self, writing: Writing) -> bool:
        return time.monotonic() - writing.since >= self._rotation.seconds

    def _finish(self, partitions: Collection[TopicPartition]) -> None:
        """Name the files. What was read is of the topics that were asked about only if those are there still."""
        if not partitions:
            return
        ids = self._kafka.look().ids
        for topic in other_ids(self._ids, ids):
            for tp in [tp for tp in self._writing if tp.topic == topic]:
                self._writing.pop(tp).discard()
        for tp in partitions:
            if writing := self._writing.pop(tp, None):
                writing.finish()
                self._files[tp] = self._files.get(tp, 0) + 1
        self._check_ids(ids)

    def _archived(self) -> list[Archived]:
        there = Archive(self._directory, self._topics).look()
        return [
            Archived(*tp, there.starts[tp], end, self._records.get(tp, 0), self._files.get(tp, 0))
            for tp, end in sorted(there.ends.items())
        ]

    def _folder(self, tp: TopicPartition) -> Path:
        return self._directory / tp.topic / str(tp.partition)

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        try:
            with self._waiting():
                yield
        except KeyboardInterrupt:
            raise _Stopped from None

"""One archive file on its way: under a name of its own until it is whole and on the disk."""

import contextlib
import os
from pathlib import Path

import pyarrow.parquet as pq

from projector.apply.batch import Chunk, Record
from projector.history.files import SCHEMA, TOPIC_ID, named, to_table
from projector.history.log import record_bytes

GROUP_BYTES = 4 << 20  # of keys, values and headers in one row group, which is read at once
UNFINISHED = "~unfinished"
_HEADERS = ["headers.list.element.name", "headers.list.element.value"]


class Writing:
    """What a partition has from `start` on. The file appears, whole, with `finish`; until then there is none."""

    def __init__(self, folder: Path, start: int, topic_id: str, since: float, group_bytes: int = GROUP_BYTES) -> None:
        make_folder(folder)
        self.start = self.next = start
        self.since = since  # of any clock that only grows
        self._folder, self._group_bytes = folder, group_bytes
        self._waiting: list[Record] = []
        self._waiting_bytes = 0
        path = folder / UNFINISHED
        path.unlink(missing_ok=True)
        self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
        self._parquet = pq.ParquetWriter(
            self._file,
            SCHEMA.with_metadata({TOPIC_ID: topic_id.encode()}),
            compression="zstd",
            use_dictionary=_HEADERS,  # keys and values differ
            write_statistics=["offset", "timestamp"],  # of the others it would be personal data, and no use
            column_encoding={"offset": "DELTA_BINARY_PACKED", "timestamp": "DELTA_BINARY_PACKED"},
        )

    @property
    def bytes(self) -> int:
        """The file's size so far."""
        return self._file.tell()

    def add(self, chunk: Chunk) -> None:
        """Add what comes next."""
        if chunk.start != self.next:
            raise AssertionError(f"{self._folder} is at offset {self.next}, not {chunk.start}")
        self.next = chunk.next
        for record in chunk.records:
            self._waiting.append(record)
            self._waiting_bytes += record_bytes(record)
            if self._waiting_bytes >= self._group_bytes:
                self._write()

    def _write(self) -> None:
        if self._waiting:
            self._parquet.write_table(to_table(self._waiting))
        self._waiting, self._waiting_bytes = [], 0

    def finish(self) -> Path:
        """Give the file its name, once all of it is on the disk."""
        self._write()
        self._parquet.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        path = named(self._folder, self.start, self.next)
        (self._folder / UNFINISHED).rename(path)
        sync_folder(self._folder)
        return path

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # there may be no room for what it still writes
            self._parquet.close()
            self._file.close()
        (self._folder / UNFINISHED).unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, with those above it, to be found after a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in it on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
